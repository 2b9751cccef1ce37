# One entry for each job of a developer.
.PHONY: help check test bench docs site wheel format

help:            ## what there is
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*##/\t/'

test:            ## the whole suite
	pytest

check:           ## lint, format, types, layers, index, documents
	ci/check

format:          ## let ruff arrange the code
	ruff format . && ruff check --fix .

bench:           ## what the harness costs beside a plain loop
	python ci/bench/harness.py

docs:            ## write the pages that are generated from the code
	python ci/docs.py

site:            ## build the documentation site into site/
	ci/site

wheel:           ## build the wheel and try it, with the examples, in a clean environment
	ci/wheel
