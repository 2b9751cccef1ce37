"""Statistics after AdaIN, and that a batch matters to batch normalization only."""

from __future__ import annotations

import pytest
import torch

from zoo_core.nn.adain import adain, statistics
from zoo_course.adain import TOPIC, batch_normalized, photographs, transferred


def test_the_result_has_the_statistics_of_the_style_and_a_batch_does_not_matter() -> None:
    content, style = photographs()
    result = adain(content, *statistics(style))
    for one, other in zip(statistics(result), statistics(style), strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=0)
    together = adain(torch.cat((content, style)), *(part.repeat(2, 1, 1, 1) for part in statistics(style)))
    torch.testing.assert_close(together[:1], result)
    batch = batch_normalized(torch.cat((content, style)))[:1]
    assert float((batch - batch_normalized(content)).abs().max()) > 0.5


def test_a_value_is_moved_as_in_an_image() -> None:
    content = torch.tensor([[[[-2.0, 6.0]]]], dtype=torch.float64)  # mean 2, standard deviation 4
    style = (torch.full((1, 1, 1, 1), 10.0).double(), torch.full((1, 1, 1, 1), 2.0).double())
    assert transferred(6.0, (2.0, 4.0), (10.0, 2.0)) == pytest.approx(
        float(adain(content, *style)[0, 0, 0, 1]), abs=1e-4
    )


def test_the_answer() -> None:
    assert TOPIC.exercises[0].answer() == pytest.approx(12.0)
