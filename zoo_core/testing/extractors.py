"""Checks of a feature network: its form, and that an image's features are its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from zoo_core.config import EvalConfig
from zoo_core.data.loading import Dataset
from zoo_core.errors import UsageError, ZooError
from zoo_core.home import OURS
from zoo_core.interfaces import Extractor
from zoo_core.registry.manager import Entry, load_entry, manager
from zoo_core.registry.resolution import resolve
from zoo_core.runs import load_data
from zoo_core.testing.results import Failed, NotApplicable

N = 8


class ExtractorSubject:
    """A registered feature network on one dataset."""

    kind = "extractor"

    def __init__(self, entry: Entry, data: str) -> None:
        self.entry = entry
        self.case = data

    @cached_property
    def dataset(self) -> Dataset:
        """What it is shown."""
        return load_data(resolve(["plugin=noise", f"data={self.case}"]))

    @cached_property
    def rows(self) -> Tensor:
        """A few test examples, as they are stored."""
        return self.dataset.test.examples(torch.arange(N))

    @cached_property
    def _made(self) -> Extractor | str:
        config = EvalConfig(extractor=self.entry.spec.name)
        try:
            made: Extractor = load_entry("extractor", self.entry)(config, torch.device("cpu"))
        except ZooError as error:
            return error.what
        return made

    @property
    def made(self) -> Extractor:
        """The network.

        Raises:
            NotApplicable: where its weights are not on this machine.
        """
        if isinstance(self._made, str):
            raise NotApplicable(f"it can't be made here: {self._made}")
        return self._made

    def features(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return features and logits.

        Raises:
            NotApplicable: where it refuses such images.
        """
        try:
            with torch.no_grad():
                return self.made(rows, self.dataset.info)
        except UsageError as error:
            raise NotApplicable(f"it refuses {self.case}: {error.what}") from error


def subjects(entry: Entry, data: tuple[str, ...] = ()) -> Iterator[ExtractorSubject]:
    """Yield the network on the first dataset that names it and is here, or on the digits."""
    fitting = [e.spec.name for e in manager().entries("dataset") if e.spec.extractor == entry.spec.name]
    for name in (*data, *fitting, "digits"):
        subject = ExtractorSubject(entry, name)
        try:
            subject.rows  # noqa: B018 - whether it is here
        except ZooError:
            continue
        yield subject
        return


def it_names_itself_and_its_weights(subject: ExtractorSubject) -> None:
    """It has a name, the sha256 of its weights, and a number of features: they stand beside every figure."""
    made = subject.made
    if not isinstance(made, Extractor):
        raise Failed(f"it is a {type(made).__name__}", "give it name, sha256, dim and __call__(levels, info)")
    if not re.fullmatch(r"[0-9a-f]{64}|none", made.sha256):
        raise Failed(f"its sha256 is {made.sha256!r}", "hash its weights; 'none' where it has none")
    if made.name == "inception" and subject.entry.distribution != OURS:
        raise Failed(
            "it calls itself 'inception'", "only the literature's network may print FID: take a name"
        )


def features_have_its_form(subject: ExtractorSubject) -> None:
    """(n, dim) finite float32, and (n, K) logits or None."""
    features, logits = subject.features(subject.rows)
    dim = subject.made.dim or features.shape[-1]
    if features.dtype != torch.float32 or tuple(features.shape) != (N, dim):
        raise Failed(
            f"features are {features.dtype} of {tuple(features.shape)}", f"expected: float32 of ({N}, {dim})"
        )
    if not bool(torch.isfinite(features).all()):
        raise Failed("features are not finite", "look at its preprocessing: levels are integers, 0 to L - 1")
    if logits is not None and (logits.ndim != 2 or len(logits) != N):
        raise Failed(f"logits have shape {tuple(logits.shape)}", f"expected: ({N}, K), or None")


def a_images_features_are_its_own(subject: ExtractorSubject) -> None:
    """They depend on no other image of the batch, and are the same again; the levels are left alone."""
    kept = subject.rows.clone()
    whole, _ = subject.features(subject.rows)
    alone = torch.cat([subject.features(row)[0] for row in subject.rows.split(1)])
    if not torch.allclose(whole, alone, rtol=1e-3, atol=1e-4):
        raise Failed("features change with the batch", "put the network in eval mode")
    if not torch.equal(whole, subject.features(subject.rows)[0]):
        raise Failed("features differ from call to call", "put the network in eval mode")
    if not torch.equal(subject.rows, kept):
        raise Failed("it changed the levels that it was given", "copy before you scale")
    if bool((whole == whole[0]).all()):
        raise Failed("all images have the same features", "look at its preprocessing")


CHECKS = (it_names_itself_and_its_weights, features_have_its_form, a_images_features_are_its_own)
