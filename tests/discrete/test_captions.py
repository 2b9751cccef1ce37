"""MDLM of captions: the bound by enumeration alone and given an image, samples, and the image's dropout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.discrete.worlds import agrees, by_masks, by_orders, everything, frequencies_agree, images
from tests.making import settings
from zoo_core.cli import invoke
from zoo_core.data.strokes import WORDS as STROKES
from zoo_core.errors import UsageError
from zoo_core.events.trackers import read_metrics
from zoo_core.results import read_result
from zoo_core.seeds import Seeds, generator
from zoo_core.types import Batch, Cond, Context, DataInfo, SampleRequest
from zoo_discrete.mdlm import MDLM, MDLMConfig

WORDS, D = 3, 3
EVERY = everything(WORDS, D)
IMAGE = torch.tensor([-0.5, 1.0], dtype=torch.float64).reshape(2, 1, 1, 1).expand(2, 1, 4, 4)
"""Two images of one gray level each."""


def world(**options: object) -> MDLM:
    """Return a model of captions of 3 places and 3 tokens, all of whose weights are random, in float64."""
    small = {"model.width": 8, "model.layers": 2, "model.heads": 2}
    config = settings(MDLMConfig, "", **{**small, **options})
    data = DataInfo("few-words", (D,), WORDS, vocabulary=WORDS, caption_length=D, task="caption",
                    image_channels=1, image_levels=256)  # fmt: skip
    recipe = MDLM(config, data).double().eval()  # type: ignore[arg-type]
    rng = generator(0, "captions")
    with torch.no_grad():
        for parameter in recipe.parameters():
            parameter.copy_(0.7 * torch.randn(parameter.shape, generator=rng))
    return recipe


def given(row: int, n: int) -> Cond:
    """Return one of the images for each of n captions."""
    return Cond(image=IMAGE[row : row + 1].expand(n, -1, -1, -1))


CONDS = pytest.mark.parametrize("row", [None, 0, 1])


@CONDS
def test_the_bound_is_the_mean_over_all_orders(row: int | None) -> None:
    """The terms over all masks, for all 27 captions, padding like every other token.

    Catches padding that is left out of the sum, an image that some evaluations do not see, and places that
    the network can't tell apart.
    """
    recipe = world()
    cond = None if row is None else given(row, len(EVERY))
    orders = by_orders(recipe, EVERY, cond)
    assert float(orders.std(0).min()) > 1e-3
    assert float((orders.logsumexp(0)).exp().sum()) / 6 == pytest.approx(1, abs=1e-9)
    torch.testing.assert_close(by_masks(recipe, EVERY, cond), orders.mean(0), rtol=1e-9, atol=1e-9)


@CONDS
def test_the_reported_bound_is_unbiased(row: int | None) -> None:
    """The mean over 2,000 streams of noise; catches an image that only one of the two bounds reads."""
    recipe = world()
    x = torch.tensor([[1, 2, 0]])
    n = 2000
    cond = None if row is None else given(row, n)
    expected = float(by_orders(recipe, x, None if row is None else given(row, 1)).mean())
    many, noise = images(x, (D,), WORDS).expand(n, D), Seeds(0, range(n))
    if cond is None:
        (found,) = recipe.likelihoods(many, noise=noise, k=1)
    else:
        (found,) = recipe.likelihoods_given(many, cond, noise=noise, k=1)
    assert found.kind == "elbo"
    assert agrees(found.log_prob, expected)


def test_images_differ_and_an_image_of_zeros_is_none() -> None:
    """With equal noise the masks are equal, so the bound given no image is that of the caption alone."""
    recipe = world()
    x, noise = images(EVERY, (D,), WORDS), Seeds(0, range(len(EVERY)))
    (alone,) = recipe.likelihoods(x, noise=noise, k=1)
    none = Cond(image=torch.zeros(len(EVERY), 1, 4, 4, dtype=torch.float64))
    (same,) = recipe.likelihoods_given(x, none, noise=noise, k=1)
    torch.testing.assert_close(same.log_prob, alone.log_prob)
    one, other = (recipe.likelihoods_given(x, given(k, len(x)), noise=noise, k=1)[0] for k in (0, 1))
    assert float((one.log_prob - other.log_prob).abs().max()) > 0.1
    assert float((one.log_prob - alone.log_prob).abs().max()) > 0.1


@pytest.mark.parametrize("dropout", [0.25, 0.75])
def test_the_loss_leaves_the_image_out_at_the_rate_that_is_asked_for(dropout: float) -> None:
    """The loss is a mixture of both bounds; catches a rate of keeping in place of one of leaving out."""
    recipe = world(**{"model.cond_dropout": dropout})
    x, n = torch.tensor([[1, 2, 0]]), 4000
    alone, shown = (-float(by_orders(recipe, x, cond).mean()) for cond in (None, given(1, 1)))
    assert abs(alone - shown) > 0.5
    batch = Batch(images(x, (D,), WORDS).expand(n, D), given(1, n), torch.arange(n))
    context = Context(0, 0.0, 0, generator(0))
    with torch.no_grad():
        losses = torch.stack([recipe.loss(batch, context).loss for _ in range(12)])
    expected = dropout * alone + (1 - dropout) * shown
    assert agrees(losses * D * torch.log(torch.tensor(2.0)), expected)


@CONDS
def test_samples_have_the_law_of_all_orders(row: int | None) -> None:
    """27 captions among 4,000 samples; catches an image that sampling drops or gives to another sample."""
    recipe = world()
    n = 4000
    cond = None if row is None else given(row, n)
    p = by_orders(recipe, EVERY, None if row is None else given(row, len(EVERY))).exp().mean(0)
    with torch.no_grad():
        drawn = recipe.sample(SampleRequest(Seeds(0, range(n)), cond=cond))
    assert frequencies_agree(recipe.encode_flat(drawn.x), EVERY, p)


def test_captions_alone_read_no_image() -> None:
    """`model.cond_dropout=1` has no part that reads images, and no likelihood given one."""
    recipe = world(**{"model.cond_dropout": 1})
    assert not any("reader" in name for name, _ in recipe.named_parameters())
    x, noise = images(EVERY[:4], (D,), WORDS), Seeds(0, range(4))
    assert recipe.likelihoods_given(x, given(0, 4), noise=noise, k=1) == []
    with torch.no_grad():
        one, other = (recipe.sample(SampleRequest(noise, cond=c)).x for c in (None, given(0, 4)))
    assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("options", "match"),
    [({"model.net": "unet"}, "examples are captions"), ({"model.heads": 3}, "do not divide")],
)
def test_networks_of_images_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        world(**options)


@pytest.mark.slow(depends=("plugins/zoo_discrete", "zoo_core", "evaluation/zoo_eval"))
def test_a_run_on_captions_is_scored_drawn_and_written(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole job on digits: bits per token on both splits held out, samples as text, and `zoo sample`."""
    words = ["plugin=mdlm", "data.task=caption", "preset=tiny", "run_dir=told", "eval.baselines=false"]
    assert invoke(["run", *words, "data.validation=0.2", "eval.every=60", "track.wandb=off"]) == 0
    result = read_result(Path("told/result.json"))
    assert result.data.task == "caption"
    bits = result.metrics["bits_per_token[elbo]"]
    assert 1 < bits.value < 6.2  # the uniform law has 6.2 bits
    assert 1 < result.metrics["bits_per_token[elbo, given image]"].value < 6.2
    assert {"copied captions", "memorization[captions]"} <= set(result.metrics)
    assert result.not_applicable["frechet"].reason == "the examples are captions"
    (curve,) = [r for r in read_metrics(Path("told/metrics.jsonl")) if "validation/bits_per_token[elbo]" in r]
    assert 1 < curve["validation/bits_per_token[elbo]"] < 6.2
    known = {"", *STROKES.words}
    drawn = Path("told/plots/samples.txt").read_text().splitlines()
    assert len(drawn) == 64
    assert known.issuperset(" ".join(drawn).split())
    assert invoke(["sample", "told", "-n", "5", "--out", "some.txt"]) == 0
    assert Path("some.txt").read_text().splitlines() == drawn[:5]
    Image.new("L", (8, 8), 90).save(_folder("images") / "one.png")
    assert invoke(["sample", "told", "cond=images", "--out", "one.txt"]) == 0
    assert len(Path("one.txt").read_text().splitlines()) == 1
    assert invoke(["sample", "told", "--out", "some.png"]) == 2
    assert "expected: --out a .txt file" in capsys.readouterr().err


def _folder(name: str) -> Path:
    Path(name).mkdir()
    return Path(name)
