"""Our figures beside torch-fidelity's: on the same features, and on the same images and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from zoo_core.types import DataInfo
from zoo_eval.extractors.inception import to_rgb_bytes
from zoo_eval.features import Features
from zoo_eval.metrics.frechet import frechet_distance
from zoo_eval.metrics.inception_score import inception_score
from zoo_eval.metrics.kernel import kernel_distance
from zoo_eval.metrics.prdc import prdc


class Agreement(NamedTuple):
    """One quantity, twice.

    Attributes:
        name: of the quantity, and of what both were given.
        ours, theirs: the figures.
        tolerance: relative, or absolute where `absolute`; what the difference is held to.
        absolute: whether the tolerance is one.
    """

    name: str
    ours: float
    theirs: float
    tolerance: float
    absolute: bool = False

    @property
    def difference(self) -> float:
        """Of ours from theirs, relative or absolute as the tolerance is."""
        size = 1.0 if self.absolute else max(abs(self.theirs), 1e-12)
        return abs(self.ours - self.theirs) / size

    @property
    def agrees(self) -> bool:
        return self.difference <= self.tolerance

    def record(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**self._asdict(), "difference": self.difference, "agrees": self.agrees}


def on_features(real: Features, fake: Features) -> list[Agreement]:
    """Compare FD, KD, IS, precision and recall on equal features.

    IS is of one split, where no order of the images matters; KD is of random subsets on both sides, and
    held to three standard errors of their means.
    """
    from torch_fidelity import metric_fid, metric_isc, metric_kid, metric_prc

    k, size, subsets = 3, min(len(real), len(fake), 1000) // 2, 50
    moments = [metric_fid.fid_features_to_statistics(one.values) for one in (fake, real)]
    theirs = metric_fid.fid_statistics_to_metric(*moments, verbose=False)
    made = [
        Agreement(
            "FD, same features",
            frechet_distance(real.values, fake.values),
            theirs["frechet_inception_distance"],
            1e-6,
        )
    ]
    kid = metric_kid.kid_features_to_metric(
        fake.values, real.values, kid_subsets=subsets, kid_subset_size=size, verbose=False
    )
    mean, spread = kernel_distance(real.values, fake.values, subsets=subsets, subset_size=size)
    error = (spread**2 + kid["kernel_inception_distance_std"] ** 2) ** 0.5 / subsets**0.5
    theirs = kid["kernel_inception_distance_mean"]
    made.append(Agreement("KD, same features", mean, theirs, 3 * error, absolute=True))
    # theirs counts an image on the rim of a neighborhood as inside; distances are in float64 on both sides
    prc = metric_prc.prc_features_to_metric(
        fake.values, real.values, prc_neighborhood=k, prc_batch_size=10_000, save_cpu_ram=False, verbose=False
    )
    ours = prdc(real.values, fake.values, precision_k=k)
    made += [
        Agreement(f"{name}, same features", ours[name], prc[name], 1e-7, absolute=True)
        for name in ("precision", "recall")
    ]
    if fake.logits is not None:
        isc = metric_isc.isc_features_to_metric(fake.logits, splits=1, shuffle=False)
        score = inception_score(fake.logits, splits=1)[0]
        made.append(Agreement("IS, same logits", score, isc["inception_score_mean"], 1e-4))
    return made


def end_to_end(real: Tensor, fake: Tensor, info: DataInfo, weights: Path, ours: float) -> Agreement:
    """Compare FID of the same images through the same Inception weights, preprocessing included.

    Args:
        real, fake: levels (n, 1 or 3, H, W).
        weights: file in torch-fidelity's format.
        ours: our distance of them.
    """
    from torch_fidelity import calculate_metrics

    found = calculate_metrics(
        input1=_Images(to_rgb_bytes(fake, info)),
        input2=_Images(to_rgb_bytes(real, info)),
        fid=True,
        cuda=torch.cuda.is_available(),
        feature_extractor_weights_path=str(weights),
        batch_size=50,
        cache=False,
        save_cpu_ram=True,  # no worker processes
        verbose=False,
    )
    return Agreement("FID, same images and weights", ours, found["frechet_inception_distance"], 1e-3)


class _Images(TensorDataset):
    def __getitem__(self, row: int) -> Tensor:  # type: ignore[override]
        return super().__getitem__(row)[0]
