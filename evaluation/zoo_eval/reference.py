"""The reference of a score without a run: data, feature network, protocol, noise floor."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from pydantic import create_model

from zoo_core.config import Config, RunConfig, canonical, validate
from zoo_core.errors import Mistakes, NotFoundError, UsageError, guess
from zoo_core.registry.manager import load_entry, manager
from zoo_core.registry.resolution import with_folder
from zoo_core.runs import choose_device, load_data
from zoo_eval.context import Context
from zoo_eval.metrics.frechet import expected_floor
from zoo_eval.pipeline import prepare
from zoo_eval.protocol import PLANS, unknown_plan, with_protocol
from zoo_eval.sampling import Sampled, source_of_rows

FREE = ("data", "eval", "device")
"""Sections of a run's options that concern its scoring."""


def scoring_config(words: Mapping[str, str], name: str) -> RunConfig:
    """Return the config of a score without a run.

    Args:
        words: options of data, eval and device; `protocol=` is short for `eval.protocol=`, and `data=` takes
            the path of a folder of images, too.
        name: of what is scored.

    Raises:
        Mistakes, NotFoundError: everything that is wrong with the words.
        UsageError: for a protocol that scores nothing.
    """
    whole = with_protocol(words)
    given: dict[str, Any] = {canonical(RunConfig, key, value): value for key, value in whole.items()}
    if "data.name" not in given:
        raise UsageError("no data are named", "expected: data=NAME, or data=FOLDER", "see: zoo datasets")
    if os.path.isdir(os.path.expanduser(given["data.name"])) and not _registered(given["data.name"]):
        given |= {"data.name": "folder", "data.path": given["data.name"]}
    foreign = [key for key in given if key.split(".")[0] not in FREE]
    if foreign:
        raise Mistakes(
            [
                UsageError(
                    f"{key!r} is not an option of scoring",
                    guess(key, ("protocol", "device", "levels"), "{}=..."),
                    f"expected: {'.*, '.join(FREE)}, protocol; `zoo score` also takes levels",
                )
                for key in foreign
            ]
        )
    try:
        entry = manager().find("dataset", given["data.name"])
    except NotFoundError as error:
        raise with_folder(error, "dataset", given["data.name"]) from None
    options: type[Config] = load_entry("dataset", entry, "config")
    kind = create_model(
        "RunConfig", __base__=RunConfig, data=(options, options.model_validate({"name": entry.spec.name}))
    )
    made, mistakes = validate(kind, {"plugin": name} | given, "scoring", "see: zoo datasets")
    if made is None:
        raise Mistakes(mistakes)
    if made.eval.protocol not in PLANS:
        raise unknown_plan(made.eval.protocol, *PLANS)
    return made


def _registered(name: str) -> bool:
    return any(entry.spec.name == name for entry in manager().entries("dataset"))


def statistics(words: Mapping[str, str], say: Callable[[str], None] = print) -> dict[str, Any]:
    """Compute the reference features of a dataset and cache them under ZOO_HOME/stats; return a description.

    Args:
        words: see `scoring_config`.
        say: tells the user how things go.

    Returns:
        data, sha256, n_train, n_test, extractor, extractor_sha256, dim, and floors: protocol -> expected
        Frechet distance of as many new real examples, of the protocols that take this extractor.
    """
    config = scoring_config(words, "reference")
    data = load_data(config)
    for line in data.report:
        say(line)
    source = source_of_rows(torch.empty(0), config, data, choose_device(config.device), say)
    protocol, extractor = prepare(source)
    ctx = Context(source, protocol, extractor, Sampled(torch.empty(0), None, 0, 0.0, 0.0))
    train, test = ctx.train.main, ctx.test.main
    return {
        "data": data.info.name,
        "sha256": data.sha256,
        "n_train": len(data.train),
        "n_test": len(data.test),
        "extractor": extractor.name,
        "extractor_sha256": extractor.sha256,
        "dim": ctx.train.values.shape[1],
        "floors": {
            name: expected_floor(train, test, plan.n_generated).value
            for name, plan in PLANS.items()
            if plan.extractor in ("", extractor.name)
        },
    }
