"""Formats of exported networks. Each file is read back and compared with the network it came from."""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo_core.errors import MachineError, PluginError, UsageError
from zoo_export.networks import Network

TOLERANCE = 1e-4
"""Largest difference of an output from the network's, relative to its scale."""
CANCELED = 0.02
"""Fraction of max |x| in the scale of a denoiser's output; `TOLERANCE` of it is 34 roundings of float32.

x0 = x - sigma eps is a difference of terms that are as large as x, and carries their rounding."""
SUFFIXES = {"state_dict": ".safetensors", "pt2": ".pt2", "onnx": ".onnx"}
"""Format -> ending of its file."""
OUTPUT = "output"
"""Name of the output of an ONNX model."""


def export(network: Network, to: str, path: Path) -> float:
    """Write a network in a format of `SUFFIXES`, and return its largest relative difference when read back.

    Outputs are compared at 1, 2 and 7 rows, and those of a denoiser at three noise levels.

    Raises:
        UsageError: for a network that the format can't hold.
        MachineError: where a library for the format is missing.
        PluginError: where an output differs by more than `TOLERANCE`.
    """
    write = {"state_dict": _state_dict, "pt2": _pt2, "onnx": _onnx}[to]
    call = write(network, path)
    if call is None:
        return 0.0
    worst = max(
        difference(network.module(*given), call(given), network.canceled(given)) for given in network.probes()
    )
    if not worst <= TOLERANCE:
        path.unlink(missing_ok=True)
        raise PluginError(
            f"the exported {network.part} differs from the network by {worst:.2g}, relative",
            f"expected: at most {TOLERANCE:g}; the file was removed",
        )
    return worst


def difference(expected: Tensor, found: Tensor, canceled: float = 0.0) -> float:
    """Return the largest difference of an output, relative to max |expected| + `CANCELED` canceled.

    Args:
        canceled: magnitude of the terms whose difference the output is; 0 where it is none.
    """
    if expected.shape != found.shape:
        return float("inf")
    scale = float(expected.abs().max()) + CANCELED * canceled
    return float((expected - found).abs().max()) / max(scale, 1e-12)


Call = Callable[[tuple[Tensor, ...]], Tensor]


def _state_dict(network: Network, path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = {name: tensor.contiguous().clone() for name, tensor in network.module.state_dict().items()}
    save_file(weights, path, {"zoo": json.dumps(network.facts, sort_keys=True)})
    read = load_file(path)
    if any(not torch.equal(read[name], tensor) for name, tensor in weights.items()):
        raise MachineError(f"{path} does not hold the weights that were written")


def _shapes(network: Network) -> dict[str, Any] | tuple[Any, ...]:
    batch = torch.export.Dim("batch", min=1, max=1 << 20)
    return tuple({0: batch} for _ in network.inputs)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the progress and advice that torch's exporters print and log."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _traced(network: Network) -> Any:
    with _quiet(), torch.no_grad():
        try:
            return torch.export.export(
                network.module, network.batch(2), dynamic_shapes=_shapes(network), strict=False
            )
        except Exception as error:  # whatever a model's own code raises while it is traced
            raise _refused(network, "torch.export", error) from error


def _refused(network: Network, by: str, error: Exception) -> UsageError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return UsageError(
        f"{by} can't hold the {network.part} of {network.facts['plugin']}",
        f"reason: {reason}",
        "next: --to state_dict",
    )


def _pt2(network: Network, path: Path) -> Call:
    program = _traced(network)
    facts = json.dumps(network.facts, sort_keys=True)
    with _quiet():
        torch.export.save(program, path, extra_files={"zoo.json": facts})
        module = torch.export.load(path).module()
    return lambda given: module(*given)


def _bucketize(values: Any, boundaries: Any, out_int32: bool = False, right: bool = False) -> Any:
    """Return the number of boundaries below each value (`right`: or equal to it): ONNX has no bucketize."""
    from onnxscript import opset18 as op

    last = op.Constant(value_ints=[-1])
    column = op.Unsqueeze(values, last)
    below = op.GreaterOrEqual(column, boundaries) if right else op.Greater(column, boundaries)
    return op.ReduceSum(op.Cast(below, to=6 if out_int32 else 7), last, keepdims=0)


def _onnx(network: Network, path: Path) -> Call:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise MachineError(
            f"ONNX needs {error.name}, which is not installed", "next: pip install 'genzoo[onnx]'"
        ) from error
    program = _traced(network)
    with _quiet():
        try:
            torch.onnx.export(
                program,
                f=str(path),
                input_names=list(network.inputs),
                output_names=[OUTPUT],
                dynamo=True,
                external_data=False,
                custom_translation_table={torch.ops.aten.bucketize.Tensor: _bucketize},
                verbose=False,
            )
        except Exception as error:  # an operator that ONNX does not have
            raise _refused(network, "ONNX", error) from error
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"zoo": json.dumps(network.facts, sort_keys=True)})
    onnx.save(model, path)
    onnx.checker.check_model(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def call(given: tuple[Tensor, ...]) -> Tensor:
        named = dict(zip(network.inputs, (value.numpy() for value in given), strict=True))
        return torch.from_numpy(session.run([OUTPUT], named)[0])

    return call
