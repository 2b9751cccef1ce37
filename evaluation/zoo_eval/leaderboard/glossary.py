"""What the words of a table mean: one definition for each metric, state, mark and abbreviation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from zoo_core.registry.metrics import base_name, kind_of
from zoo_eval.leaderboard.facts import Facts
from zoo_eval.numbers import LIKELIHOODS


class Term(NamedTuple):
    """A definition.

    Attributes:
        about: one or two sentences.
        see: page and section of the documentation: "evaluation/#metrics".
    """

    about: str
    see: str


_METRICS = "evaluation/#metrics"
_OPTIONAL = "optional-metrics/"
_ORACLES = "oracles/#metrics"
_LIKELIHOOD = "evaluation/#likelihood"
_STATES = "submitting/#verification-states"
_AUDIT = "audited-training/#states"
_RANKS = "evaluation/#ranks"
_COST = "evaluation/#cost"

DISTANCE, DIVERSITY, TRANSLATION = "Distance to the data", "Fidelity and diversity", "Translation"
LIKELIHOOD, DENSITY, OTHER = "Likelihood", "Against the known density", "Other"
CAPTIONS = "Agreement with the caption"

GROUPS: Mapping[str, tuple[str, ...]] = {
    DISTANCE: (
        "FD", "FID", "FD-inf", "FID-inf", "FD-full", "FID-full", "sFD", "sFID", "KD", "KID", "SW", "MMD",
    ),
    DIVERSITY: (
        "precision", "recall", "density", "coverage", "clipped-density", "clipped-coverage", "FLD", "vendi",
        "modes", "balance", "on-modes", "accuracy",
    ),
    TRANSLATION: ("L1", "LPIPS", "effnet distance", "PSNR", "SSIM", "FD to source", "FID to source", "cycle"),
    CAPTIONS: (
        "retrieval", "caption rank", "new caption rank", "captioning", "captioning rank",
        "neighbor captioning", "neighbor captioning rank",
    ),
    LIKELIHOOD: ("bits_per_dim", "bits_per_token", "nats"),
    DENSITY: (
        "KL from truth", "log-likelihood error", "score error", "true density", "sample bits", "implausible",
    ),
}  # fmt: skip
"""Heading in the menu of metrics -> base names, in order; every other column is under OTHER."""

METRICS: Mapping[str, Term] = {
    "FD": Term(
        "Fréchet distance between the features of the samples and of the training images (Heusel et al. "
        "2017). The feature network is in brackets. 0 is a perfect match.",
        _METRICS,
    ),
    "FID": Term("Fréchet distance with the published Inception features (Heusel et al. 2017).", _METRICS),
    "FD-inf": Term(
        "Fréchet distance extrapolated to infinitely many samples, which removes the bias of a finite "
        "number (Chong and Forsyth 2020). It can be slightly below 0.",
        "evaluation/#fd-inf",
    ),
    "FD-full": Term("Fréchet distance on all features, not only on the 64 fixed axes.", _METRICS),
    "FD to test": Term("Fréchet distance to the test split. Shown, never ranked.", _METRICS),
    "FD to train part": Term(
        "Fréchet distance to random parts of the training split, each as large as the test split: mean of "
        "five. Shown, never ranked.",
        _METRICS,
    ),
    "generalization gap": Term(
        "Fréchet distance to the test split minus that to equally large random parts of the training "
        "split. Around 0 the model is as near to new examples as to its training examples; well above 0 it "
        "is fitted to the latter. Shown, never ranked.",
        _METRICS,
    ),
    "FD to source": Term("Fréchet distance of images translated back to the source domain.", _METRICS),
    "FD by class": Term(
        "Fréchet distance of the samples of one class to the training images of that class, mean over "
        "classes. Shown, never ranked.",
        _METRICS,
    ),
    "sFD": Term("Fréchet distance of spatial features (Nash et al. 2021): layout counts more.", _METRICS),
    "KD": Term(
        "Kernel distance: unbiased squared MMD of features with a cubic kernel (as KID). Unbiased, so it can "
        "be below 0 for samples that match the data.",
        _METRICS,
    ),
    "KID": Term("Kernel Inception distance: KD with the published Inception features.", _METRICS),
    "IS": Term("Inception Score. Shown, never ranked: ten repeated images reach its maximum.", _METRICS),
    "precision": Term(
        "Fraction of samples that lie in the neighborhood of a real image: how realistic samples are.",
        "evaluation/#precision-recall-density-coverage",
    ),
    "recall": Term(
        "Fraction of real images that lie in the neighborhood of a sample: how much of the data is covered.",
        "evaluation/#precision-recall-density-coverage",
    ),
    "density": Term(
        "Mean number of real neighborhoods that a sample lies in, relative to the data (Naeem et al. 2020).",
        "evaluation/#precision-recall-density-coverage",
    ),
    "coverage": Term(
        "Fraction of real images whose neighborhood holds a sample (Naeem et al. 2020).",
        "evaluation/#precision-recall-density-coverage",
    ),
    "clipped-density": Term(
        "Density in which no neighborhood is wider than the median and no sample counts more than once, "
        "relative to real images: about the fraction of good samples (Salvy et al. 2025).",
        _OPTIONAL,
    ),
    "clipped-coverage": Term(
        "Fraction of good samples that covers the real images as well as all samples do (Salvy et al. 2025).",
        _OPTIONAL,
    ),
    "FLD": Term(
        "Nats per dimension, times 100, that the test images lose under Gaussians around the samples, "
        "fitted to the training images, compared with Gaussians around real images (Jiralerspong et al. "
        "2023). 0 is a good match; copies have large values.",
        _OPTIONAL,
    ),
    "vendi": Term(
        "Effective number of different samples, by the cosine of their features (Friedman and Dieng 2023). "
        "Shown, never ranked: it does not compare the samples with the data.",
        _OPTIONAL,
    ),
    "C_T": Term(
        "Test of copying (Meehan et al. 2020): about 0 for new images, far below 0 for copies of training "
        "images, far above 0 for samples that are farther from them than new images. Never ranked.",
        _OPTIONAL,
    ),
    "modes": Term("Number of classes, or of modes of the true density, that the samples reach.", _METRICS),
    "balance": Term("Agreement of the class frequencies of samples and data; 1 is equal.", _METRICS),
    "on-modes": Term("Fraction of points within three standard deviations of a mode.", _METRICS),
    "accuracy": Term("Fraction of samples that a classifier assigns to the requested class.", _METRICS),
    "SW": Term("Sliced Wasserstein-2 distance of points over 128 directions.", _METRICS),
    "MMD": Term("Unbiased squared maximum mean discrepancy of points, Gaussian kernel.", _METRICS),
    "memorization": Term(
        "Fraction of samples close to a training image, minus the fraction expected of new images. Above "
        "0.1 memorization is detected and the entry is not ranked.",
        "evaluation/#memorization",
    ),
    "authenticity": Term(
        "Fraction of samples farther from their nearest training image than that image is from its own "
        "nearest neighbor (Alaa et al. 2022).",
        "evaluation/#memorization",
    ),
    "noise floor": Term(
        "Expected distance of as many new real images: a model that matches the data scores this.",
        _METRICS,
    ),
    "bits_per_dim": Term(
        "Negative log-likelihood of the test images in bits per dimension; the kind is in brackets. "
        "Kinds are ranked only among themselves.",
        _LIKELIHOOD,
    ),
    "bits_per_token": Term(
        "Code length of the held-out captions over the number of their words; the bits of padding, which "
        "tells where a caption ends, are counted. The kind is in brackets.",
        _LIKELIHOOD,
    ),
    "nats": Term("Log-likelihood of the test split in nats; the kind is in brackets.", _LIKELIHOOD),
    "KL": Term("KL divergence of the latent from its prior, in nats.", _LIKELIHOOD),
    "active": Term("Number of latent parts that carry at least 0.05 nats.", _LIKELIHOOD),
    "true density": Term("Likelihood of the test split under the known density.", _LIKELIHOOD),
    "KL from truth": Term(
        "KL divergence from the known distribution of the images to the model, in nats per image. 0 is a "
        "perfect model; of a bound it is an upper bound.",
        _ORACLES,
    ),
    "sample bits": Term(
        "Mean code length of the samples under the known distribution of the images, in bits per value. "
        "Samples of the truth have its entropy. Shown, never ranked: samples that miss part of the data can "
        "have it too.",
        _ORACLES,
    ),
    "implausible": Term(
        "Fraction of samples that are less likely under the known distribution than 95 % of the test images; "
        "0.05 for samples of the truth. Shown, never ranked.",
        _ORACLES,
    ),
    "log-likelihood error": Term("Absolute difference from the true log-likelihood, in nats.", _METRICS),
    "score error": Term("Relative squared error of the learned score against the known density.", _METRICS),
    "L1": Term("Mean absolute difference between a translated image and its target.", _METRICS),
    "PSNR": Term("Peak signal-to-noise ratio of a translated image against its target, in dB.", _METRICS),
    "SSIM": Term("Structural similarity of a translated image and its target; 1 is equal.", _METRICS),
    "LPIPS": Term("Perceptual distance of a translated image to its target (Zhang et al. 2018).", _METRICS),
    "effnet distance": Term(
        "Distance of a translated image to its target in the features of EfficientNet-Lite0, layer by layer; "
        "0 is equal.",
        _METRICS,
    ),
    "retrieval": Term(
        "Fraction of samples that are nearer to another artist's drawing of their caption than to the "
        "drawings of 99 other captions; chance is 1 %.",
        _METRICS,
    ),
    "caption rank": Term(
        "Mean rank of a sample's own caption among 100 captions, by the distance to another artist's "
        "drawings; 1 is best, chance is 50.5.",
        _METRICS,
    ),
    "captioning": Term(
        "Fraction of held-out images whose own caption has the largest gain in log-likelihood by the image, "
        "among up to 100 held-out captions.",
        _METRICS,
    ),
    "captioning rank": Term("Mean rank of an image's own caption by that gain; 1 is the best.", _METRICS),
    "neighbor captioning": Term(
        "The same fraction for the caption of the nearest training image, which ranks captions by the words "
        "that they share with it. Shown, never ranked.",
        _METRICS,
    ),
    "neighbor captioning rank": Term(
        "Mean rank of an image's own caption by the words that it shares with the caption of the nearest "
        "training image. Shown, never ranked.",
        _METRICS,
    ),
    "copied captions": Term(
        "Fraction of samples that are captions of the training split. Shown, never ranked.", _METRICS
    ),
    "new caption rank": Term(
        "As caption rank, for captions whose combination of words is not in the training split.", _METRICS
    ),
    "cycle": Term("Mean absolute difference after translation to the other domain and back.", _METRICS),
    "reconstruction FD": Term(
        "Fréchet distance of the test split to its reconstructions. Shown, never ranked.", _METRICS
    ),
}
"""By the base name of a column."""

KINDS: Mapping[str, str] = {
    "exact": "the exact likelihood",
    "elbo": "the evidence lower bound, so the true value is at least as good",
    "iwae": "the importance-weighted bound with this many samples (Burda et al. 2016)",
    "vlb": "the variational bound over this many diffusion steps (Ho et al. 2020)",
    "ode": "the likelihood of the probability-flow ODE (Song et al. 2021)",
}
"""Kinds of likelihood, in the brackets of their columns."""

TERMS: Mapping[str, Term] = {
    "reported": Term("Self-reported: the values are the author's and were not verified.", _STATES),
    "resampled": Term("Samples were drawn again from the checkpoint and agree with the values.", _STATES),
    "reproduced": Term(
        "Samples were drawn again from the checkpoint, bit for bit, and every value was computed again.",
        _STATES,
    ),
    "consistent": Term(
        "Reproduced, and segments of the training were executed again, the same within tolerance.",
        _AUDIT,
    ),
    "audited": Term(
        "Reproduced, and segments of the training were executed again, bit for bit.",
        _AUDIT,
    ),
    "rank": Term(
        "Place among the tested entries. =2 is a tie: no two entries of a rank differ significantly "
        "(moderated t-test over seeds, all pairs, Holm's correction, 5 %). ? is not tested: one seed or a "
        "baseline. ~ is within twice the noise floor. – is not ranked.",
        _RANKS,
    ),
    "interval": Term(
        "95 % interval: over training seeds (±), or over the samples of a single run in brackets.",
        "evaluation/#intervals-and-ranks",
    ),
    "seeds": Term("Training runs of the same configuration with different random seeds.", _RANKS),
    "state": Term("Whether somebody other than the author repeated the run.", _STATES),
    "NFE": Term("Number of function evaluations: network evaluations per sample.", _COST),
    "train": Term("Wall-clock time of training, on the hardware that the entry names.", _COST),
    "params": Term("Parameters of the networks that sampling needs.", _COST),
    "given": Term("What each sample is made from besides noise.", "evaluation/#the-leaderboard"),
    "protocol": Term(
        "Everything other than the model that affects a score: number of samples, feature network, version "
        "of the metrics. Entries of different protocols never share a table.",
        "evaluation/#protocols",
    ),
    "baseline": Term("A model that is not trained, as a reference. Not tested.", "evaluation/#baselines"),
    "outside": Term("Samples of another program, scored with zoo score.", "submitting/"),
    "Pareto front": Term("Entries that no other placed entry beats in both score and cost.", _COST),
}
"""Every other word of a table."""


def group_of(column: str) -> str:
    """Return the heading in the menu of metrics under which a column is."""
    base = base_name(column)
    return next((heading for heading, names in GROUPS.items() if base in names), OTHER)


def definition(column: str, facts: Facts) -> Term:
    """Return what a column is; of a metric of another distribution, its own summary."""
    base = base_name(column)
    found = METRICS.get(base) or METRICS.get(base.replace("FID", "FD").replace("KID", "KD"))
    if found is None:
        return Term(facts.summaries.get(base, ""), "")
    if base in LIKELIHOODS:
        kind = kind_of(column)
        about = KINDS.get(kind.partition("-")[0])
        return Term(f"{found.about} {kind}: {about}." if about else found.about, found.see)
    return found
