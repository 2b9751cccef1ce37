"""The operators and methods of this distribution, as specs: torch-free."""

from __future__ import annotations

from typing import Any

from zoo_restore.spec import MethodSpec, OperatorSpec

_OPERATOR = "zoo_restore.operators:{}".format
_OPTIONS = "zoo_restore.options:{}".format
_LINEAR: Any = {"linear": True, "pseudo_inverse": True, "differentiable": True}

OPERATORS: list[OperatorSpec] = [
    OperatorSpec(
        "inpaint",
        _OPERATOR("Inpaint"),
        _OPTIONS("InpaintConfig"),
        "some pixels are hidden: the middle, random ones, or those of a mask file",
        **_LINEAR,
        mask=True,
    ),
    OperatorSpec(
        "uncrop",
        _OPERATOR("Uncrop"),
        summary="only the middle half of each side is kept",
        **_LINEAR,
        mask=True,
    ),
    OperatorSpec(
        "lowres",
        _OPERATOR("Lowres"),
        _OPTIONS("LowresConfig"),
        "blocks of pixels are averaged",
        **_LINEAR,
    ),
    OperatorSpec(
        "blur",
        _OPERATOR("Blur"),
        _OPTIONS("BlurConfig"),
        "a Gaussian blur",
        **_LINEAR,
    ),
    OperatorSpec(
        "gray",
        _OPERATOR("Gray"),
        summary="the luminance of color images",
        **_LINEAR,
    ),
    OperatorSpec(
        "jpeg",
        _OPERATOR("JPEG"),
        summary="JPEG of quality 10",
        pseudo_inverse=True,
        tolerance=2.0,
    ),
]

METHODS: list[MethodSpec] = [
    MethodSpec(
        "repaint",
        "zoo_restore.replacement:repaint",
        _OPTIONS("RepaintConfig"),
        50,
        "replaces the known pixels in each step, which it repeats",
        "arXiv:2201.09865",
        needs=("mask",),
    ),
    MethodSpec(
        "ddrm",
        "zoo_restore.replacement:ddrm",
        _OPTIONS("DDRMConfig"),
        50,
        "replaces the measured components of the singular value decomposition in each step",
        "arXiv:2201.11793",
        needs=("linear", "pseudo_inverse"),
    ),
    MethodSpec(
        "pigdm",
        "zoo_restore.guidance:pigdm",
        _OPTIONS("PiGDMConfig"),
        50,
        "adds the score of the measurement under a Gaussian of x0 given x",
        "OpenReview 9_gsMA8MRKQ",
        needs=("linear", "pseudo_inverse"),
        exact=("linear",),
    ),
    MethodSpec(
        "dps",
        "zoo_restore.guidance:dps",
        _OPTIONS("DPSConfig"),
        200,
        "follows the gradient of the residual of the denoised image in each step",
        "arXiv:2209.14687",
        needs=("differentiable",),
    ),
    MethodSpec(
        "sdedit",
        "zoo_restore.replacement:sdedit",
        _OPTIONS("SDEditConfig"),
        50,
        "adds noise to the pseudo-inverse and samples from there",
        "arXiv:2108.01073",
        needs=("pseudo_inverse",),
        latent=True,
    ),
]
