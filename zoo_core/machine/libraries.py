"""Versions of installed libraries, and the torch/torchvision mismatch."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from zoo_core.errors import MachineError

FIX_TORCH = "pip install --upgrade torch torchvision"


def installed(name: str) -> str:
    """Return a distribution's version, or "missing"."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def is_clash(error: BaseException) -> bool:
    """Return whether an import failed because torchvision was built for another torch."""
    text = str(error)
    return "torchvision::" in text or ("torchvision" in text and "undefined symbol" in text)


def explain_import(error: BaseException) -> None:
    """Raise the plain sentence for an import error whose cause is that clash; else return.

    Raises:
        MachineError: with the command that fixes it.
    """
    if is_clash(error):
        both = f"torch {installed('torch')} and torchvision {installed('torchvision')}"
        raise MachineError(
            f"{both} do not fit together ({error})",
            f"next: {FIX_TORCH}",
        ) from error
