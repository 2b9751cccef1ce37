"""`python -m zoo_core.cli` is `zoo`."""

from zoo_core.cli import main

main()
