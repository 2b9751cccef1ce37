"""Networks under conditions: each is told apart, padding is not read, and a new block changes nothing."""

from __future__ import annotations

import pytest
import torch

from tests.making import randomized
from zoo_core.errors import UsageError
from zoo_core.nn.backbone import Backbone, NetworkConfig, build_backbone
from zoo_core.nn.conditioning import ConditionEmbedding
from zoo_core.nn.dit import DiTBlock, DiTConfig
from zoo_core.nn.unet import UNet, UNetConfig
from zoo_core.types import Cond, DataInfo

SMALL = Backbone(channels=8, width=16, layers=2, attention=(8,))
T = torch.tensor([10.0, 400.0, 900.0])


def digits(task, **more):
    return DataInfo("digits", (1, 8, 8), levels=17, classes=10, vocabulary=12, task=task, **more)


def options(**more):
    return SMALL.model_copy(update=more)


@pytest.mark.parametrize("kind", ["unet", "dit"])
@pytest.mark.parametrize("task", ["class", "text"])
def test_each_condition_is_told_apart(kind, task):
    """Catches a condition that does not reach the output, and a null that is one of the classes."""
    net = randomized(build_backbone(options(net=kind), digits(task))).eval()
    x = torch.randn(1, 1, 8, 8).repeat(3, 1, 1, 1)
    t = torch.full((3,), 50.0)
    cond = (
        Cond(label=torch.tensor([0, 1, 10]))
        if task == "class"
        else Cond(tokens=torch.tensor([[1, 2, 0], [1, 3, 0], [0, 0, 0]]))
    )
    out = net(x, t, cond)
    assert out.shape == x.shape
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not torch.allclose(out[a], out[b], atol=1e-4)
    torch.testing.assert_close(net(x, t)[0], out[2])  # no condition at all is the null condition


@pytest.mark.parametrize("kind", ["unet", "dit"])
def test_the_order_of_words_counts_and_padding_does_not(kind):
    """Catches a bag of words, and a caption that changes with the length it is padded to."""
    net = randomized(build_backbone(options(net=kind), digits("text"))).eval()
    x, t = torch.randn(1, 1, 8, 8), torch.tensor([50.0])
    said = net(x, t, Cond(tokens=torch.tensor([[3, 4]])))
    padded = net(x, t, Cond(tokens=torch.tensor([[3, 4, 0, 0]])))
    turned = net(x, t, Cond(tokens=torch.tensor([[4, 3]])))
    torch.testing.assert_close(said, padded, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(said, turned, atol=1e-4)


def test_a_condition_of_nothing_has_no_parameters():
    """Catches parameters that no gradient ever reaches, and a count that is no longer the paper's."""
    assert list(ConditionEmbedding(0, 0, 16).parameters()) == []
    vector, context = ConditionEmbedding(0, 0, 16)(Cond(label=torch.tensor([1])), torch.ones(1, 16))
    assert torch.equal(vector, torch.ones(1, 16))
    assert context is None


def test_a_image_is_read_as_channels():
    """Catches a source image that is not looked at; none is a image of zeros."""
    for kind in ("unet", "dit"):
        net = randomized(build_backbone(options(net=kind), digits("paired", image_channels=1))).eval()
        x, image = torch.randn(3, 1, 8, 8), torch.randn(3, 1, 8, 8)
        with_image = net(x, T, Cond(image=image))
        assert not torch.allclose(with_image, net(x, T), atol=1e-4)
        torch.testing.assert_close(net(x, T), net(x, T, Cond(image=torch.zeros_like(image))))


def test_two_outputs_lie_side_by_side():
    """Catches outputs interleaved by channel: the first half is the mean, the second the variance."""
    for kind, shape in (("unet", (3, 8, 8)), ("dit", (3, 8, 8)), ("mlp", (2,))):
        info = DataInfo("x", shape, levels=None if len(shape) == 1 else 256)
        net = build_backbone(options(net=kind), info, outputs=2)
        assert net(torch.randn(3, *shape), T).shape == (3, 2 * shape[0], *shape[1:])


def test_a_new_transformer_block_is_the_identity():
    """Catches a gate that does not start at zero (adaLN-Zero)."""
    torch.manual_seed(0)
    h = torch.randn(2, 5, 16)
    assert torch.equal(DiTBlock(16, 4)(h, torch.randn(2, 16)), h)


def test_patches_return_to_their_places():
    """Catches rows and columns swapped on the way back from tokens to a image."""
    net = randomized(build_backbone(options(net="dit"), DataInfo("x", (1, 4, 8), levels=256))).eval()
    x = torch.randn(1, 1, 4, 8, requires_grad=True)
    for block in net.blocks:  # no attention: a patch then depends on itself alone
        torch.nn.init.zeros_(block.attend.proj.weight)
        torch.nn.init.zeros_(block.attend.proj.bias)
    out = net(x, torch.tensor([3.0]))
    (grad,) = torch.autograd.grad(out[0, 0, 2:, 6:].sum(), x)
    assert bool((grad[0, 0, 2:, 6:] != 0).all())
    grad[0, 0, 2:, 6:] = 0
    assert not grad.any()


@pytest.mark.parametrize(
    ("net", "shape", "words"),
    [("mlp", (1, 8, 8), "unet or dit"), ("unet", (2,), "mlp"), ("dit", (2,), "mlp")],
)
def test_a_network_that_can_not_take_the_data_is_refused(net, shape, words):
    """Catches a convolution's own error deep in torch."""
    with pytest.raises(UsageError, match=words):
        build_backbone(options(net=net), DataInfo("x", shape, levels=256))


def test_patches_and_heads_must_divide():
    """Catches a reshape that fails with numbers nobody typed."""
    with pytest.raises(UsageError, match="patches of 3"):
        build_backbone(options(net="dit", patch=3), digits("unconditional"))
    with pytest.raises(UsageError, match="heads"):
        build_backbone(options(net="dit", heads=3), digits("unconditional"))


def test_attention_to_words_stands_where_attention_is():
    """Catches cross-attention that is built without captions, or nowhere with them."""

    def count(vocabulary):
        info = DataInfo("digits", (1, 8, 8), levels=17, vocabulary=vocabulary, task="text")
        net = UNet(UNetConfig(channels=8, attention=(8,)), info)
        return sum(name.endswith("words") for name, _ in net.named_modules())

    assert count(0) == 0
    assert count(12) == 1 + 1 + 2


def test_no_two_networks_share_an_option() -> None:
    """Catches an option of one network that takes its default from another network of the same class."""
    own = [set(kind.model_fields) for kind in (DiTConfig, UNetConfig, NetworkConfig)]
    assert sum(map(len, own)) == len(set.union(*own))
    assert Backbone().fold == 1
    assert set.union(*own) <= set(Backbone.model_fields)


@pytest.mark.parametrize("kind", ["unet", "dit", "mlp"])
def test_two_times_are_told_apart(kind):
    """Catches a second time that does not reach the output, and one that is added to the first."""
    data = DataInfo("moons", (2,), levels=None) if kind == "mlp" else digits("unconditional")
    net = randomized(build_backbone(options(net=kind), data, times=2)).eval()
    x = torch.randn(1, *data.shape).expand(3, *data.shape)
    out = net(x, torch.tensor([[10.0, 30.0], [30.0, 10.0], [10.0, 10.0]]))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not torch.allclose(out[a], out[b], atol=1e-4)
