"""The shipped classifiers, raw values, InceptionV3 and timm's networks."""

from __future__ import annotations

import hashlib
import pickle
import shutil
import socket
import tarfile
import tempfile
import time

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from zoo_core.config import DataConfig, EvalConfig
from zoo_core.data import emoji
from zoo_core.data.loading import to_unit
from zoo_core.errors import MachineError, UsageError
from zoo_core.interfaces import Extractor
from zoo_core.registry.spec import load_target
from zoo_core.training.compilation import compile_networks
from zoo_core.types import DataInfo
from zoo_eval import zoo_extractors
from zoo_eval.extractors import classifiers, dinov2, fetching, timm_models
from zoo_eval.extractors.classifiers import Classifier, ShippedExtractor, card, shipped
from zoo_eval.extractors.effnet import effnet_lite0
from zoo_eval.extractors.inception import Inception, inception, to_rgb_bytes
from zoo_eval.extractors.raw import raw
from zoo_eval.features import extract, in_batches

GRAY = DataInfo("digits", (1, 8, 8), levels=17, classes=10)
COLOR = DataInfo("cifar10", (3, 32, 32), levels=256, classes=10)
SHIPPED = ("digits", "digits-classifier", "mnist", "mnist-classifier")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_classifier_is_small_frozen_and_known_by_its_sha256(name):
    # catches weights changed without their card, and a network left in training mode
    net, about = shipped(name)
    content = (classifiers.WEIGHTS / f"{name}.safetensors").read_bytes()
    assert len(content) < 1_000_000
    assert hashlib.sha256(content).hexdigest() == about["sha256"]
    assert not net.training
    assert not any(p.requires_grad for p in net.parameters())
    assert about["test_accuracy"] >= 0.97


@pytest.mark.parametrize("name", ["digits", "digits-classifier"])
def test_the_digits_classifiers_do_what_their_cards_say(name, digits):
    # catches a card of other weights, another split, or pixels mapped otherwise than in training
    net, about = shipped(name)
    assert about["data_sha256"] == digits.sha256
    out = net(to_unit(digits.test.x, 17))
    logits = out[1] if isinstance(out, tuple) else out
    accuracy = float((logits.argmax(1) == digits.test.label).double().mean())
    assert accuracy == pytest.approx(about["test_accuracy"], abs=0.003)


@pytest.mark.parametrize("name", ["mnist", "mnist-classifier"])
def test_the_mnist_classifiers_do_what_their_cards_say(name, shared_data):
    # catches the same for MNIST
    from zoo_core.data.benchmarks import load

    mnist = load(DataConfig(name="mnist", root=str(shared_data / "mnist")))
    net, about = shipped(name)
    assert about["data_sha256"] == mnist.sha256
    out = net(to_unit(mnist.test.x[:2000], 256))
    logits = out[1] if isinstance(out, tuple) else out
    assert float((logits.argmax(1) == mnist.test.label[:2000]).double().mean()) > 0.98


def test_a_classifier_is_another_network_than_the_extractor(digits):
    # catches models evaluated by the very network that their distance is measured in
    assert card("digits")["architecture"] != card("digits-classifier")["architecture"]
    classifier = Classifier("digits-classifier", "cpu")
    assert float((classifier(digits.test.x, digits.info) == digits.test.label).double().mean()) > 0.97


def test_features_of_real_digits_have_mean_square_one(digits):
    # catches a distance whose unit nobody can say
    features, logits = ShippedExtractor("digits", "cpu")(digits.train.x, digits.info)
    assert features.dtype == torch.float32
    assert features.shape == (1437, 64)
    assert logits.shape == (1437, 10)
    assert float(features.square().mean()) == pytest.approx(1, rel=1e-3)


def test_damaged_weights_are_noticed(tmp_path, monkeypatch):
    # catches a flipped bit, which safetensors loads without a word
    for file in classifiers.WEIGHTS.glob("digits.*"):
        shutil.copy(file, tmp_path)
    damaged = bytearray((tmp_path / "digits.safetensors").read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "digits.safetensors").write_bytes(damaged)
    monkeypatch.setattr(classifiers, "WEIGHTS", tmp_path)
    with pytest.raises(MachineError, match="damaged"):
        shipped("digits")
    (tmp_path / "digits.safetensors").unlink()
    with pytest.raises(MachineError, match="can't be read"):
        shipped("digits")


def test_images_of_another_shape_are_refused():
    # catches MNIST seen by the digits' network through a silent reshape
    with pytest.raises(UsageError, match="can't take 'cifar10'"):
        ShippedExtractor("digits", "cpu")(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), COLOR)
    with pytest.raises(UsageError, match="can't take 'moons'"):
        ShippedExtractor("digits", "cpu")(torch.zeros(2, 2), DataInfo("moons", (2,), None))


def test_raw_values_are_what_a_model_sees():
    # catches levels unscaled, so that distances depend on the number of levels
    extractor = raw(EvalConfig(), "cpu")
    levels = torch.tensor([0, 8, 16], dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 8, 8)
    values, logits = extractor(levels, GRAY)
    assert logits is None
    assert torch.equal(values[:, 0], torch.tensor([-1.0, 0.0, 1.0]))
    points = torch.randn(4, 2)
    assert torch.equal(extractor(points, DataInfo("moons", (2,), None))[0], points)
    with pytest.raises(UsageError, match="12,288"):
        extractor(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), DataInfo("folder", (3, 64, 64), 256))


def test_levels_become_bytes_over_their_whole_range():
    # catches 17 levels of gray shown to a network of photographs as near-black
    levels = torch.tensor([0, 1, 8, 16], dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 8, 8)
    seen = to_rgb_bytes(levels, GRAY)
    assert seen.shape == (4, 3, 8, 8)
    assert seen[:, :, 0, 0].tolist() == [[0] * 3, [16] * 3, [128] * 3, [255] * 3]
    color = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(to_rgb_bytes(color, COLOR), color)


# -- InceptionV3


@pytest.fixture(scope="module")
def random_inception(tmp_path_factory):
    """Random weights, saved as the published ones are: a PyTorch state dict of torch-fidelity's network."""
    from torch_fidelity import feature_extractor_inceptionv3 as theirs

    torch.manual_seed(0)
    empty = theirs.FeatureExtractorInceptionV3.__new__(theirs.FeatureExtractorInceptionV3)
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    loaded = {}
    original = nn.Module.load_state_dict

    def keep(self, state, *args, **kwargs):
        loaded.update(original_state(self))
        return original(self, loaded)

    def original_state(net):
        return {key: value.clone() for key, value in net.state_dict().items()}

    patch = pytest.MonkeyPatch()
    with patch.context() as m:
        m.setattr(nn.Module, "load_state_dict", keep)
        m.setattr(theirs.torch, "load", lambda *a, **k: {})
        empty.__init__("inception-v3-compat", ["2048"], "nowhere")
    for key, value in loaded.items():
        if key.endswith("conv.weight"):  # kept from vanishing on the way, as training keeps them
            torch.nn.init.kaiming_normal_(value)
    torch.save(loaded, path)
    return path


def test_inception_gives_features_and_unbiased_logits_in_one_pass(random_inception):
    # catches antialiasing, another resize, biased logits, gray shown in one channel
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    extractor = inception(EvalConfig(extractor_path=str(random_inception)), "cpu")
    levels = torch.randint(0, 17, (2, 1, 8, 8), dtype=torch.uint8)
    features, logits = extractor(levels, GRAY)
    assert features.shape == (2, 2048)
    assert logits.shape == (2, 1008)
    assert isinstance(extractor, Extractor)
    reference = FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits"], str(random_inception))
    theirs, biased = reference(to_rgb_bytes(levels, GRAY))
    assert torch.allclose(features, theirs, rtol=1e-4, atol=1e-5)
    assert torch.allclose(logits, biased - reference.fc.bias, rtol=1e-3, atol=1e-3)
    # With other than the published weights it may not be called FID.
    assert extractor.name == f"inception-{extractor.sha256[:8]}"


def test_the_resize_is_that_of_published_figures(random_inception):
    # catches a half-pixel grid or antialiasing: TensorFlow 1 samples input position k * in / out
    from torchmetrics.image.fid import NoTrainInceptionV3

    ours = Inception(random_inception, "0", "cpu")
    levels = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    found, _ = ours(levels, COLOR)
    plain, smooth = (
        NoTrainInceptionV3("inception-v3-compat", ["2048"], str(random_inception), antialias=antialias)
        for antialias in (False, True)
    )
    assert torch.allclose(found, plain(levels), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, smooth(levels), rtol=1e-3)


def test_inception_without_weights_says_how_to_get_them(home):
    # catches a download that starts by itself, or a traceback
    with pytest.raises(UsageError, match="not here") as error:
        inception(EvalConfig(), "cpu")
    assert "zoo fetch inception" in str(error.value)
    assert str(home / "weights") in str(error.value)


def test_inception_weights_are_verified(home, random_inception):
    # catches any file under the published name taken for the published weights
    fetching.INCEPTION.path.parent.mkdir(parents=True)
    shutil.copy(random_inception, fetching.INCEPTION.path)
    with pytest.raises(MachineError, match="damaged"):
        inception(EvalConfig(), "cpu")


def test_weights_of_another_network_are_refused(tmp_path):
    # catches a half-loaded network
    path = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(UsageError, match="other weights"):
        Inception(path, "0", "cpu")


class Payload:
    """What a hostile file would run."""

    def __reduce__(self):
        return (open, ("payload-ran", "w"))


@pytest.mark.parametrize("name", ["evil.pth", "evil.safetensors"])
def test_code_in_a_weights_file_is_never_run(tmp_path, monkeypatch, name):
    # catches torch.load without weights_only, as torch-fidelity's own reader has it
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(pickle.dumps({"fc.weight": Payload()}, protocol=2))
    with pytest.raises(UsageError, match="can't be read"):
        inception(EvalConfig(extractor_path=str(tmp_path / name)), "cpu")
    assert not (tmp_path / "payload-ran").exists()


def refuse(*args, **kwargs):
    raise OSError("no network here")


def test_a_tar_archive_is_refused_and_nothing_is_made_for_it(tmp_path, monkeypatch):
    """Catches the folder that torch.load makes for an archive before it refuses it."""
    weights = tmp_path / "old.pth"
    with tarfile.open(weights, "w") as archive:
        archive.addfile(tarfile.TarInfo("pickle"))
    monkeypatch.setattr(tempfile, "mkdtemp", lambda *a, **k: pytest.fail("a folder was made"))
    with pytest.raises(UsageError, match="can't be read as weights") as refused:
        fetching.read_weights(weights)
    assert "tar archive" in str(refused.value.notes)


def test_fetching_without_a_network_fails_at_once(home, monkeypatch):
    # catches minutes of retries, and half a file left behind
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    start = time.monotonic()
    with pytest.raises(MachineError, match="can't download"):
        fetching.download(fetching.INCEPTION, "inception")
    with pytest.raises(MachineError, match="does not answer"):
        timm_models.fetch("resnet18")
    with pytest.raises(MachineError, match=r"'resnet18': huggingface\.co does not answer"):
        timm_models.fetch("resnet18@96")
    assert time.monotonic() - start < 60
    assert list((home / "weights").iterdir()) == []


def test_a_download_is_kept_only_with_the_right_sha256(home, tmp_path):
    # catches a redirect page or a truncated file taken for weights
    source = tmp_path / "source.bin"
    source.write_bytes(b"weights")
    good = fetching.Remote("w.pth", source.as_uri(), hashlib.sha256(b"weights").hexdigest(), 7)
    assert fetching.download(good, "w").read_bytes() == b"weights"
    bad = good._replace(file="v.pth", sha256="0" * 64)
    with pytest.raises(MachineError, match="not the published file"):
        fetching.download(bad, "v")
    assert [path.name for path in (home / "weights").iterdir()] == ["w.pth"]


# -- timm


def test_any_timm_model_serves_with_weights_from_a_file(tmp_path):
    # catches another normalization or pooling than timm's own, and a classifier left on
    import timm

    torch.manual_seed(0)
    net = timm.create_model("test_resnet", pretrained=False)
    path = tmp_path / "weights.pth"
    torch.save(net.state_dict(), path)
    config = EvalConfig(extractor="timm:test_resnet", extractor_path=str(path))
    extractor = timm_models.timm_model(config, "cpu")
    assert (extractor.name, extractor.dim) == ("timm:test_resnet", net.num_features)
    levels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    features, logits = extractor(levels, COLOR)
    assert logits is None
    data = timm.data.resolve_model_data_config(net)
    mean, std = (torch.tensor(data[key])[:, None, None] for key in ("mean", "std"))
    x = F.interpolate(
        levels / 255, data["input_size"][1:], mode=data["interpolation"], antialias=True, align_corners=False
    )
    net.eval()
    with torch.no_grad():
        expected = net.forward_head(net.forward_features((x.clamp(0, 1) - mean) / std), pre_logits=True)
    assert torch.allclose(features, expected, atol=1e-5)


def saved(name, path, **kwargs):
    """A timm network with random weights, and a file of them."""
    import timm

    torch.manual_seed(0)
    net = timm.create_model(name, pretrained=False, **kwargs).eval()
    torch.save(net.state_dict(), path)
    return net


def test_a_side_may_be_chosen_for_convolutions(tmp_path):
    # catches images at the network's own side under the name of another, and one column for two sides
    net = saved("test_resnet", tmp_path / "weights.pth")
    made = [
        timm_models.timm_model(
            EvalConfig(extractor=f"timm:{name}", extractor_path=str(tmp_path / "weights.pth")), "cpu"
        )
        for name in ("test_resnet", "test_resnet@48", "test_resnet@160")
    ]
    assert [one.name for one in made] == ["timm:test_resnet", "timm:test_resnet@48", "timm:test_resnet@160"]
    assert made[1].resize == "bilinear to 48x48, antialiased"
    assert made[2].resize == made[0].resize, "160 is its own side"
    levels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    own, small, same = (one(levels, COLOR)[0] for one in made)
    assert torch.equal(own, same)
    x = F.interpolate(levels / 255, (48, 48), mode="bilinear", antialias=True, align_corners=False)
    x = (x.clamp(0, 1) - made[1].mean) / made[1].std
    with torch.no_grad():
        expected = net.forward_head(net.forward_features(x), pre_logits=True)
    assert torch.allclose(small, expected, atol=1e-5)
    assert not torch.allclose(small, own, atol=1e-3)


def test_a_side_may_be_chosen_for_patches(tmp_path):
    # catches position embeddings of another grid, and patches that are cut off
    import timm

    native = saved("test_vit", tmp_path / "weights.pth")
    config = EvalConfig(extractor="timm:test_vit@96", extractor_path=str(tmp_path / "weights.pth"))
    extractor = timm_models.timm_model(config, "cpu")
    net = timm.create_model("test_vit", pretrained=False, img_size=96).eval()
    weights = native.state_dict()
    weights["pos_embed"] = timm.layers.resample_abs_pos_embed(weights["pos_embed"], [6, 6])
    net.load_state_dict(weights)
    levels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    x = F.interpolate(levels / 255, (96, 96), mode=extractor.mode, antialias=True, align_corners=False)
    x = (x.clamp(0, 1) - extractor.mean) / extractor.std
    with torch.no_grad():
        expected = net.forward_head(net.forward_features(x), pre_logits=True)
    assert torch.allclose(extractor(levels, COLOR)[0], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "message", "advice"),
    [
        ("test_resnet@", "has the side ''", "test_resnet@224"),
        ("test_resnet@big", "has the side 'big'", "from 16 to 2048"),
        ("test_resnet@-96", "has the side '-96'", "from 16 to 2048"),
        ("test_resnet@96@96", "has the side '96@96'", "from 16 to 2048"),
        ("test_resnet@15", "has the side '15'", "from 16 to 2048"),
        ("test_resnet@4096", "has the side '4096'", "from 16 to 2048"),
        ("test_vit@100", "patches of 16x16", "test_vit@96"),
        ("vit_nosuch@96", "timm has no model 'vit_nosuch'", "list_models"),
    ],
)
def test_sides_that_a_network_can_not_take(tmp_path, name, message, advice):
    # catches patches cut off silently, and an error from the depth of a network
    path = tmp_path / "weights.pth"
    bare = name.partition("@")[0]
    if bare != "vit_nosuch":
        saved(bare, path)
    with pytest.raises(UsageError) as error:
        timm_models.timm_model(EvalConfig(extractor=f"timm:{name}", extractor_path=str(path)), "cpu")
    assert message in str(error.value)
    assert advice in str(error.value)


def test_a_side_that_the_layers_do_not_take_is_found_at_once(tmp_path, monkeypatch):
    # catches the error of a layer after the first batch of samples
    saved("test_resnet", tmp_path / "weights.pth")

    class TooDeep(torch.nn.Module):
        num_features = 4

        def forward(self, x):
            raise RuntimeError("Calculated output size: (0x0). Output size is too small")

    monkeypatch.setattr(timm_models, "load", lambda name, path: TooDeep())
    monkeypatch.setattr(
        "timm.data.resolve_model_data_config",
        lambda net: {"input_size": (3, 9, 9), "interpolation": "bicubic", "mean": (0,) * 3, "std": (1,) * 3},
    )
    monkeypatch.setattr(TooDeep, "pretrained_cfg", {}, raising=False)
    with pytest.raises(UsageError, match="can't take images of 16x16") as error:
        timm_models.TimmModel("test_resnet@16", tmp_path / "weights.pth", "cpu")
    assert "too small" in str(error.value)


def test_dinov2_is_that_of_dgm_eval(tmp_path, monkeypatch):
    # catches a crop, another filter, pooled patches for the class token, and timm's position embeddings
    import numpy as np
    from PIL import Image

    name = "vit_small_patch14_dinov2.lvd142m"  # its ViT-L/14 has the same form and 304 million parameters
    monkeypatch.setattr(dinov2, "MODEL", name)
    net = saved(name, tmp_path / "weights.pth", num_classes=0)
    made = dinov2.dinov2(EvalConfig(extractor="dinov2", extractor_path=str(tmp_path / "weights.pth")), "cpu")
    assert (made.name, made.dim, made.size) == ("dinov2", 384, (224, 224))
    levels = torch.randint(0, 256, (2, 3, 32, 40), dtype=torch.uint8)
    images = [Image.fromarray(one.permute(1, 2, 0).numpy()) for one in levels]
    resized = np.stack([np.asarray(one.resize((224, 224), Image.Resampling.BICUBIC)) for one in images])
    x = torch.from_numpy(resized).permute(0, 3, 1, 2) / 255
    assert (made._resized(levels / 255) - x).abs().max() <= 1.01 / 255, "Pillow adds in fixed point"
    found, logits = made(levels, COLOR)
    assert logits is None

    grid = net.pos_embed[:, 1:].reshape(1, 37, 37, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, scale_factor=(16.1 / 37, 16.1 / 37), mode="bicubic")
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        patches = F.conv2d(
            (x - mean[:, None, None]) / std[:, None, None],
            net.patch_embed.proj.weight, net.patch_embed.proj.bias, stride=14,
        )  # fmt: skip
        tokens = (patches + grid).flatten(2).transpose(1, 2)
        token = (net.cls_token + net.pos_embed[:, :1]).expand(len(x), -1, -1)
        expected = net.norm(net.blocks(torch.cat((token, tokens), 1)))[:, 0]
    assert (found - expected).abs().max() < 0.05 * expected.std()
    both = torch.cat((net.pos_embed[:, :1], grid.flatten(2).transpose(1, 2)), 1)
    torch.testing.assert_close(made.net.pos_embed, both.detach(), rtol=0, atol=1e-6, check_stride=False)
    antialiased = timm_models.TimmModel(f"{name}@224", tmp_path / "weights.pth", "cpu")
    assert antialiased.name == f"timm:{name}@224"
    assert not torch.allclose(antialiased.net.pos_embed, made.net.pos_embed, atol=1e-3)


def test_dinov2_without_its_weights_says_what_to_do(monkeypatch):
    # catches retries without a network, and advice for another network
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(UsageError, match="not here") as error:
        dinov2.dinov2(EvalConfig(extractor="dinov2"), "cpu")
    assert "zoo fetch dinov2" in str(error.value)
    with pytest.raises(MachineError, match="does not answer"):
        dinov2.fetch()


def test_timm_weights_that_are_not_cached_fail_at_once(monkeypatch):
    # catches fifty seconds of retries without a network
    monkeypatch.setattr(socket, "create_connection", refuse)
    start = time.monotonic()
    with pytest.raises(UsageError, match="not here") as error:
        timm_models.timm_model(EvalConfig(extractor="timm:resnet18.a1_in1k"), "cpu")
    assert "zoo fetch timm:resnet18.a1_in1k" in str(error.value)
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:resnet1", "mean: eval.extractor=timm:resnet"),
        ("timm:resnet18.nosuch", "no weights"),
        ("timm", "no model"),
    ],
)
def test_names_that_timm_does_not_know(name, message):
    # catches timm's own traceback
    with pytest.raises(UsageError) as error:
        timm_models.timm_model(EvalConfig(extractor=name), "cpu")
    assert message in str(error.value)


def test_timm_weights_of_another_model_are_refused(tmp_path):
    # catches features of random layers under a known name
    path = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(UsageError, match="other weights"):
        timm_models.TimmModel("test_resnet", path, "cpu")


def test_every_registered_extractor_has_its_target():
    # catches a name whose code is not there
    for spec in zoo_extractors():
        assert callable(load_target(spec.target))


def test_the_shipped_network_through_the_one_pass(digits):
    # catches logits and features of different rows
    extractor = ShippedExtractor("digits", "cpu")
    features, logits, _ = extract(in_batches(digits.test, 50), extractor, digits.info, "test")
    assert torch.allclose(extractor.net.classifier(features), logits, atol=1e-4)


def test_color_classifiers_are_as_accurate_as_their_cards_say() -> None:
    """Catches a head that sees images of another range, and classes in another order."""
    data = emoji.load(emoji.EmojiConfig(name="emoji"))
    about = card("emoji-classifier")
    rows = torch.arange(0, len(data.test), 4)
    seen = Classifier("emoji-classifier", "cpu")(data.test.examples(rows), data.info)
    assert data.test.label is not None
    accuracy = float((seen == data.test.label[rows]).double().mean())
    assert accuracy == pytest.approx(about["test_accuracy"], abs=0.1)
    assert about["data_sha256"] == data.sha256
    assert about["test_accuracy"] > 0.7


def test_color_classifiers_and_axes_are_small() -> None:
    names = ("emoji-classifier.safetensors", "cifar10-classifier.safetensors", "effnet-lite0-axes.npz")
    assert sum((classifiers.WEIGHTS / name).stat().st_size for name in names) < 1 << 20
    assert card("cifar10-classifier")["options"] == {"classes": 10}
    assert {t.dtype for t in shipped("cifar10-classifier")[0].state_dict().values()} == {torch.float32}


@pytest.mark.slow(depends=("evaluation/zoo_eval/extractors", "zoo_core/training/compilation.py"))
def test_a_compiled_network_gives_the_same_features(monkeypatch):
    """Catches blocks that are left as they are, and code that blocks of other shapes share."""
    compile_ = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, **how: compile_(self, backend="eager", **how))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    network = effnet_lite0(EvalConfig(), "cpu")
    batches = torch.randint(0, 256, (2, 2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        expected = [network(batch, COLOR)[0] for batch in batches]
        compile_networks(network.networks)
        for batch, plain in zip(batches, expected, strict=True):
            torch.testing.assert_close(network(batch, COLOR)[0], plain, rtol=1e-5, atol=1e-5)
    frames = torch._dynamo.utils.counters["frames"]
    assert frames["ok"] == frames["total"] > 0
    assert not torch._dynamo.utils.counters["graph_break"]
