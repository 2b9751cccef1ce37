"""Specs of operators and methods, and what decides whether they fit: torch-free."""

from __future__ import annotations

from typing import Literal, NamedTuple

CAPABILITIES = ("linear", "pseudo_inverse", "differentiable", "mask")
"""What an operator may be: see `OperatorSpec`."""


class OperatorSpec(NamedTuple):
    """A degradation y = A(x0).

    Attributes:
        name: what `operator=` takes.
        target: "module:Class" of a `zoo_restore.operator.Operator`, called as `Class(config, data)` with a
            `zoo_core.types.DataInfo`.
        config: "module:Class" of a `zoo_core.config.Config`; its fields are the options `operator.NAME`.
        summary: one line.
        linear: A is a matrix; methods may use its singular value decomposition.
        pseudo_inverse: `inverse` exists, with A(inverse(A(x))) = A(x) up to the stated tolerance.
        differentiable: gradients with respect to x flow through A.
        mask: A keeps some pixels and hides the others; `kept` says which.
        tolerance: greatest difference of A(inverse(A(x))) from A(x), of images in [-1, 1].
    """

    name: str
    target: str
    config: str = "zoo_core.config:Config"
    summary: str = ""
    linear: bool = False
    pseudo_inverse: bool = False
    differentiable: bool = False
    mask: bool = False
    tolerance: float = 1e-4

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Names of the capabilities that the operator has."""
        return tuple(name for name in CAPABILITIES if getattr(self, name))


class MethodSpec(NamedTuple):
    """A method that restores images with a denoiser.

    Attributes:
        name: what `method=` takes.
        target: "module:function" with the signature of `zoo_restore.problem.Method`.
        config: "module:Class" of a `zoo_core.config.Config`; its fields are the options `method.NAME`.
        steps: of the noise schedule where none are asked for.
        summary: one line.
        paper: "arXiv:...".
        needs: capabilities of the operator, one of which is enough.
        exact: capabilities of the operator, with one of which the method samples from the posterior if the
            data are Gaussian and the denoiser is exact, as the number of steps grows; () for none.
        latent: whether a denoiser of an autoencoder's codes is enough.
    """

    name: str
    target: str
    config: str
    steps: int
    summary: str
    paper: str
    needs: tuple[str, ...]
    exact: tuple[str, ...] = ()
    latent: bool = False


class DenoiserFacts(NamedTuple):
    """What decides whether a denoiser can restore.

    Attributes:
        space: as in `interfaces.Denoiser`.
        coupling: as in `interfaces.coupling_of`.
        source: whether it needs a source image beside the noisy one.
    """

    space: Literal["data", "latent"] = "data"
    coupling: Literal["independent", "dependent"] = "independent"
    source: bool = False


class Verdict(NamedTuple):
    """Whether a method fits an operator and a denoiser.

    Attributes:
        kind: "exact" as in `MethodSpec.exact`; "heuristic" for samples of another distribution than the
            posterior; "refused".
        reason: why it is refused; "" where it is not.
    """

    kind: Literal["exact", "heuristic", "refused"]
    reason: str = ""


def denoiser_problem(denoiser: DenoiserFacts) -> str:
    """Return why no method can use a denoiser, or ""."""
    if denoiser.coupling == "dependent":
        return (
            "the model was trained on pairs of noise and data that depend on each other: it has a "
            "probability flow and no score, so its denoiser does not estimate E[x0 | x0 + sigma eps]"
        )
    if denoiser.source:
        return "the model translates a source image, and has no denoiser without one"
    return ""


def verdict(method: MethodSpec, operator: OperatorSpec, denoiser: DenoiserFacts) -> Verdict:
    """Return whether a method fits an operator and a denoiser, from their capabilities alone."""
    problem = denoiser_problem(denoiser)
    if problem:
        return Verdict("refused", problem)
    if denoiser.space == "latent" and not method.latent:
        return Verdict("refused", "the denoiser is one of codes, and the method needs a score of images")
    if not set(method.needs) & set(operator.capabilities):
        return Verdict("refused", f"the method needs an operator that is {' or '.join(method.needs)}")
    exact = denoiser.space == "data" and bool(set(method.exact) & set(operator.capabilities))
    return Verdict("exact" if exact else "heuristic")
