"""Tensor shapes: B batch, C bands, H rows, W columns, K outputs."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from rasters.resize import resize_images
from router import TrunkSpec, load_adapted, load_trunk, save_adapted
from router.adapted import METADATA_KEY, AdaptedSpec, AdaptedTrunk
from sensors import Band, InputError, MissingBandsError, SarChannel
from specialists.header import encode_record
from specialists.task_spec import TaskSpec

BANDS = (Band("green", 0.56, 0.03), Band("nir", 0.842, 0.1), SarChannel("VV", "VV", 5.4))
TRUNK = TrunkSpec(
    width=32,
    depth=4,
    num_heads=2,
    patch_size=8,
    image_size=32,
    generator_hidden_size=32,
    bands=BANDS,
    mean=(0.1, 0.3, -10.0),
    std=(0.1, 0.2, 5.0),
)
SCENES = TaskSpec(
    task="scene-classification",
    bands=BANDS,
    classes=("a", "b", "c"),
    mean=TRUNK.mean,
    std=TRUNK.std,
    gsd=10.0,
    chip_size=32,
    head="pool",
)
TASKS = {
    "pool": {},
    "labels": {"multi_label": True},
    "pyramid": {"head": "pyramid"},
    "value": {"task": "regression", "target_mean": (5.0,) * 3, "target_std": (2.0,) * 3},
    "linear": {"task": "semantic-segmentation", "decoder": "linear"},
    "unet": {"task": "semantic-segmentation", "decoder": "unet"},
    "fpn": {"task": "semantic-segmentation", "decoder": "fpn"},
    "values": {"task": "regression", "per_pixel": True, "decoder": "linear"},
}
FREE = ("pool", "labels", "value", "linear", "values")


def build(name="pool", image_size=None):
    torch.manual_seed(0)
    spec = AdaptedSpec(trunk=TRUNK, task=replace(SCENES, **TASKS[name]), image_size=image_size)
    return AdaptedTrunk(spec).eval()


def pixels(height=32, width=32, batch=2):
    generator = torch.Generator().manual_seed(height * 1000 + width)
    scale_C11 = torch.tensor([0.1, 0.2, 5.0])[:, None, None]
    shift_C11 = torch.tensor([0.1, 0.3, -10.0])[:, None, None]
    return torch.randn(batch, 3, height, width, generator=generator) * scale_C11 + shift_C11


@pytest.fixture(scope="module", params=TASKS)
def network(request):
    return build(request.param)


@settings(max_examples=8, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70))
def test_every_task_answers_for_images_of_any_size(network, height, width):
    answer = network.predict(pixels(height, width))
    assert answer.shape == ((2, 3, height, width) if network.spec.is_per_pixel else (2, 3))
    assert answer.isfinite().all()
    levels = network.forward_features(pixels(height, width))
    assert [level.shape[1] for level in levels] == network.feature_info.channels()
    assert levels[-1].shape[1] == network.num_features


def test_bands_are_known_by_what_they_measure(network):
    x_BCHW = pixels()
    order = [2, 0, 1]
    assert_close(
        network(x_BCHW[:, order], [BANDS[k] for k in order]), network(x_BCHW), rtol=1e-4, atol=1e-5
    )


def test_pixels_that_cannot_be_used_have_no_influence(network):
    x_BCHW = pixels(30, 30)
    valid = torch.rand(x_BCHW.shape, generator=torch.Generator().manual_seed(1)) > 0.2
    broken = torch.where(valid, x_BCHW, torch.nan)
    expected = network(x_BCHW, valid=valid)
    for given_valid in (valid, None):
        assert_close(network(broken, valid=given_valid), expected)
    assert not torch.allclose(expected, network(x_BCHW), atol=1e-4)


@pytest.mark.parametrize("name", TASKS)
def test_a_head_that_sees_features_alone_takes_any_bands(name):
    network = build(name)
    others = (Band("red", 0.66, 0.03), Band("swir", 2.2, 0.1))
    if name not in FREE:
        assert network.bands == BANDS
        with pytest.raises(MissingBandsError):
            network(pixels()[:, :2], others)
        return
    assert network.bands is None
    answer = network(pixels()[:, :2], others)
    assert answer.isfinite().all()
    more = network(torch.cat([pixels(), pixels()[:, :1]], dim=1), (*BANDS, others[0]))
    assert not torch.allclose(more, network(pixels()), atol=1e-5)


def test_a_pool_head_stands_on_the_trunks_own_vector():
    network = build()
    vector_BD = network.trunk.embed(pixels(), BANDS)
    expected = network.head.fc(network.head.norm(vector_BD))
    assert_close(network(pixels()), expected)
    assert_close(network.predict(pixels()), expected.softmax(1))


@pytest.mark.parametrize("name", ["pool", "linear", "unet"])
def test_images_are_resized_for_the_trunk_and_answers_back(name):
    large, plain = build(name, image_size=64), build(name)
    x_BCHW = pixels(24, 24)
    enlarged, _ = resize_images(x_BCHW, torch.ones_like(x_BCHW, dtype=torch.bool), (64, 64))
    expected = plain(enlarged)
    if plain.spec.is_per_pixel:
        expected = F.interpolate(expected, (24, 24), mode="bilinear", antialias=True)
    assert_close(large(x_BCHW), expected)
    assert not torch.allclose(plain(x_BCHW), expected, atol=1e-3)
    assert large.forward_features(x_BCHW)[-1].shape[-2:] == (4, 4)


def test_the_file_rebuilds_it_exactly(network, tmp_path):
    path = tmp_path / "adapted.safetensors"
    save_adapted(network, path)
    content = path.read_bytes()
    loaded = load_adapted(path)
    assert loaded.adapted_spec == network.adapted_spec
    assert torch.equal(loaded.predict(pixels()), network.predict(pixels()))
    save_adapted(loaded, path)
    assert path.read_bytes() == content


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "adapted.safetensors"
    save_adapted(build(), path)
    with pytest.raises(InputError, match="expected the one key 'trunk'"):
        load_trunk(path)
    tensors = load_file(path)
    record = build().adapted_spec.to_dict()
    for changed, message in (
        ({"classes": ["a", "b"]}, r"head\.fc"),
        ({"classes": ["a", "a"]}, "more than once"),
        ({"head": "tail"}, "pyramid, pool"),
        ({"head": "pyramid"}, "missing"),
    ):
        task = record["task"] | changed
        save_file(tensors, path, encode_record(METADATA_KEY, record | {"task": task}))
        with pytest.raises(InputError, match=message):
            load_adapted(path)
    for broken in ({"task": record["task"]}, record | {"image_size": 30}, [1]):
        save_file(tensors, path, encode_record(METADATA_KEY, broken))
        with pytest.raises(InputError, match=r"adapted\.safetensors"):
            load_adapted(path)
    tensors["head.fc.bias"][0] = torch.nan
    save_file(tensors, path, encode_record(METADATA_KEY, record))
    with pytest.raises(InputError, match="not finite"):
        load_adapted(path)


@pytest.mark.parametrize("image_size", [30, 0, -8, 8.0, "8"])
def test_a_size_that_is_not_made_of_patches_is_refused(image_size):
    with pytest.raises(InputError, match=r"whole patches of 8"):
        AdaptedSpec(trunk=TRUNK, task=SCENES, image_size=image_size)
