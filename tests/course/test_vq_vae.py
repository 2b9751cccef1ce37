"""The codebook of the figure, the copied gradient, and the cost of a code."""

from __future__ import annotations

import math

import pytest
import torch

from zoo_course.oracle import normals
from zoo_course.vq_vae import TOPIC, code_length, fit_codebook, gradients
from zoo_vae.quantizer import nearest_code


def test_the_gradient_at_the_encoder_is_that_at_the_code() -> None:
    codebook = normals(4, 2, seed=0)
    at_encoder, at_code = gradients(normals(10, 2, seed=1), codebook)
    torch.testing.assert_close(at_encoder, at_code)
    assert float(at_encoder.abs().sum()) > 0


def test_each_code_is_the_mean_of_its_cell() -> None:
    x = torch.cat((normals(100, 2, seed=0) * 0.1, normals(100, 2, seed=1) * 0.1 + 5))
    book = fit_codebook(x, 2)
    nearest = nearest_code(x, book)
    for k in range(2):
        torch.testing.assert_close(book[k], x[nearest == k].mean(0))
    assert sorted(nearest.bincount().tolist()) == [100, 100]


def test_more_codes_have_a_smaller_error() -> None:
    x = normals(500, 2, seed=2)
    errors = [
        float((x - (b := fit_codebook(x, k))[nearest_code(x, b)]).square().sum(1).mean()) for k in (2, 8, 32)
    ]
    assert errors == sorted(errors, reverse=True)


def test_the_answer() -> None:
    posterior = torch.zeros(512, dtype=torch.float64)
    posterior[3] = 1
    prior = torch.full((512,), 1 / 512, dtype=torch.float64)
    one = float(torch.special.xlogy(posterior, posterior / prior).sum())
    assert code_length(1, 512) == pytest.approx(one)
    assert TOPIC.exercises[0].answer() == pytest.approx(49 * 9 * math.log(2))
