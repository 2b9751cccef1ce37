"""Where a figure came from: versions, code, machine; an allow-list, so that no secret is ever recorded."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from zoo_core.config.privacy import redacted_words
from zoo_core.machine.distributed import world

PACKAGES = (
    "genzoo",
    "torch",
    "torchvision",
    "torchmetrics",
    "torch-fidelity",
    "timm",
    "numpy",
    "scikit-learn",
)


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Return the installed version of each package that is there."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git() -> dict[str, Any]:
    """Return the commit of the checkout this code runs from, and whether it was changed; {} for a wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return {}
    try:
        ask = ["git", "-C", str(root)]
        commit = subprocess.run(
            [*ask, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
        dirty = subprocess.run(
            [*ask, "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": commit.stdout.strip(), "changed": bool(dirty.stdout.strip())}


def hardware(device: str) -> dict[str, Any]:
    """Return what the run stands on."""
    import torch

    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": world().size,
        "system": f"{platform.system()} {platform.machine()}",
    }
    return found


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def provenance(device: str, plugin_package: str) -> dict[str, Any]:
    """Return all of it for one run.

    Args:
        device: torch's name of the training device.
        plugin_package: distribution the model came from.
    """
    return {
        "versions": versions((*PACKAGES, plugin_package)),
        "git": git(),
        "hardware": hardware(device),
        "command": ["zoo", *redacted_words(sys.argv[1:])] if Path(sys.argv[0]).name == "zoo" else [],
        "plugin_package": plugin_package,
    }
