"""Networks as JSON: arrays of float32 in base64, which the script of the page and Python read alike."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zoo_core.nn.perceptron import perceptron
from zoo_course.browser.networks import RATES, SmallDenoiser
from zoo_course.browser.training import Digits, Latents, Models, Plane

Plain = dict[str, Any]


def array(x: Tensor) -> Plain:
    """Return an array as its shape and the base64 of its float32 values, little-endian."""
    values = x.detach().cpu().numpy().astype("<f4")
    return {"shape": list(values.shape), "data": base64.b64encode(values.tobytes()).decode()}


def tensor(plain: Plain) -> Tensor:
    """Return the tensor of an encoded array, float32."""
    values = np.frombuffer(base64.b64decode(plain["data"]), "<f4").reshape(plain["shape"])
    return torch.from_numpy(values.copy())


def layers(net: nn.Sequential) -> list[Plain]:
    """Return weight and bias of each linear layer of a perceptron."""
    linear = [one for one in net if isinstance(one, nn.Linear)]
    return [{"weight": array(one.weight), "bias": array(one.bias)} for one in linear]


def put_layers(net: nn.Sequential, plain: list[Plain]) -> None:
    """Set the linear layers of a perceptron from encoded ones."""
    linear = [one for one in net if isinstance(one, nn.Linear)]
    with torch.no_grad():
        for one, found in zip(linear, plain, strict=True):
            one.weight.copy_(tensor(found["weight"]))
            one.bias.copy_(tensor(found["bias"]))


def denoiser(model: SmallDenoiser) -> Plain:
    """Return a denoiser as plain data."""
    return {
        "classes": model.classes,
        "sigmaMin": model.sigma_min,
        "sigmaMax": model.sigma_max,
        "rates": list(RATES),
        "mean": array(model.mean),
        "basis": array(model.basis),
        "std": array(model.std),
        "layers": layers(model.net),
    }


def read_denoiser(plain: Plain) -> SmallDenoiser:
    """Return the denoiser of plain data."""
    dims, width = plain["mean"]["shape"][0], plain["layers"][0]["bias"]["shape"][0]
    model = SmallDenoiser(
        torch.zeros(dims, dims), plain["classes"], width, plain["sigmaMin"], plain["sigmaMax"]
    )
    for name in ("mean", "basis", "std"):
        getattr(model, name).copy_(tensor(plain[name]))
    put_layers(model.net, plain["layers"])
    return model.requires_grad_(False).eval()


def encode(models: Models) -> Plain:
    """Return all networks of the page as plain data."""
    return {
        "planes": {
            name: {"denoiser": denoiser(one.denoise), "points": array(one.points)}
            for name, one in models.planes.items()
        },
        "latents": {
            "layers": layers(models.latents.decoder),
            "codes": array(models.latents.codes),
            "labels": models.latents.labels.tolist(),
        },
        "digits": {"denoiser": denoiser(models.digits.denoise), "spread": models.digits.spread},
    }


def decode(plain: Plain) -> Models:
    """Return the networks of plain data: the inverse of `encode`."""
    latents = plain["latents"]
    shapes = [one["weight"]["shape"] for one in latents["layers"]]
    decoder = perceptron([shapes[0][1], *(outputs for outputs, _ in shapes)], nn.ReLU)
    put_layers(decoder, latents["layers"])
    return Models(
        {
            name: Plane(read_denoiser(one["denoiser"]), tensor(one["points"]))
            for name, one in plain["planes"].items()
        },
        Latents(
            decoder.requires_grad_(False).eval(), tensor(latents["codes"]), torch.tensor(latents["labels"])
        ),
        Digits(read_denoiser(plain["digits"]["denoiser"]), plain["digits"]["spread"]),
    )
