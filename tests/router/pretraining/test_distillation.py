"""A teacher is a frozen timm network that is shown pictures as it knows them."""

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from router.pretraining import Teacher
from router.pretraining.distillation import rgb_view, student_features
from sensors import Band, InputError, SarChannel, load_sensor

VIT, CONVNEXT = "test_vit", "test_convnext"  # timm's own, tiny


@pytest.fixture(scope="module")
def weight_file(tmp_path_factory):
    """Weights of a timm network in a file of their own."""

    def write(name, suffix=".safetensors"):
        torch.manual_seed(3)
        weights = timm.create_model(name).state_dict()
        path = tmp_path_factory.mktemp("weights") / f"{name}{suffix}"
        save_file(weights, path) if suffix == ".safetensors" else torch.save(weights, path)
        return path

    return write


@torch.no_grad()
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_transformer_tells_its_second_last_layer(weight_file, suffix):
    teacher = Teacher(VIT, weight_file(VIT, suffix))
    torch.manual_seed(3)
    network = timm.create_model(VIT).eval()
    config = network.pretrained_cfg
    mean_311 = torch.tensor(config["mean"])[:, None, None]
    std_311 = torch.tensor(config["std"])[:, None, None]
    scaled_B3HW = torch.randn(2, 3, *config["input_size"][1:]) * 2
    picture_B3HW = (scaled_B3HW * std_311 + mean_311).clamp(0, 1)
    outputs = []
    network.blocks[-2].register_forward_hook(lambda *call: outputs.append(call[-1]))
    network((picture_B3HW - mean_311) / std_311)
    [tokens_BTD] = outputs
    prefix = network.num_prefix_tokens
    expected_BD = tokens_BTD[:, prefix:].mean(1)
    torch.testing.assert_close(teacher(scaled_B3HW), expected_BD)
    assert teacher.num_features == expected_BD.shape[1]
    assert (picture_B3HW == 1).any()
    assert (picture_B3HW == 0).any()


@torch.no_grad()
def test_a_convolutional_network_tells_its_last_layer(weight_file):
    teacher = Teacher(CONVNEXT, weight_file(CONVNEXT))
    torch.manual_seed(3)
    network = timm.create_model(CONVNEXT).eval()
    size = network.pretrained_cfg["input_size"][-1]
    scaled_B3HW = torch.randn(2, 3, size, size) * 0.1
    expected_BD = network.stages(network.stem(scaled_B3HW)).mean((2, 3))
    torch.testing.assert_close(teacher(scaled_B3HW), expected_BD, atol=1e-5, rtol=1e-4)
    assert teacher.num_features == expected_BD.shape[1]
    small_B3HW = torch.randn(1, 3, 20, 28) * 0.1
    resized = F.interpolate(small_B3HW, (size, size), mode="bilinear", antialias=True)
    torch.testing.assert_close(teacher(small_B3HW), teacher(resized), atol=1e-5, rtol=1e-4)


def test_a_teacher_is_frozen(weight_file):
    teacher = Teacher(VIT, weight_file(VIT))
    assert not teacher.network.training
    assert not any(weight.requires_grad for weight in teacher.network.parameters())
    x_B3HW = torch.randn(1, 3, 32, 32, requires_grad=True)
    assert not teacher(x_B3HW).requires_grad


def test_teachers_that_cannot_be_had_are_refused(weight_file, tmp_path):
    with pytest.raises(InputError, match="no model 'dofa'"):
        Teacher("dofa")
    with pytest.raises(InputError, match=r"missing\.pth"):
        Teacher(VIT, tmp_path / "missing.pth")
    with pytest.raises(InputError, match=VIT):
        Teacher(VIT, weight_file(CONVNEXT))
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not weights")
    with pytest.raises(InputError, match="broken"):
        Teacher(VIT, broken)


def test_red_green_blue_of_a_stack():
    bands = load_sensor("sentinel-2-l2a").channels
    names = [band.name for band in bands]
    x_BCHW = torch.rand(2, len(bands), 4, 4)
    valid = torch.rand(x_BCHW.shape) < 0.8
    view = rgb_view(x_BCHW, bands, valid)
    rgb = [names.index(name) for name in ("B04", "B03", "B02")]
    assert torch.equal(view.x_B3HW, x_BCHW[:, rgb])
    assert torch.equal(view.valid_B3HW, valid[:, rgb])
    assert view.bands == tuple(bands[k] for k in rgb)
    turned = rgb_view(x_BCHW.flip(1), bands[::-1], valid.flip(1))
    assert torch.equal(turned.x_B3HW, view.x_B3HW)
    assert turned.bands == view.bands


def test_red_green_blue_of_many_narrow_bands():
    centers = torch.arange(0.42, 2.4, 0.01).tolist()
    bands = tuple(Band(f"{center:.2f}", center, 0.008) for center in centers)
    x_BCHW = torch.tensor(centers)[:, None, None].expand(1, -1, 2, 2)
    view = rgb_view(x_BCHW, bands, torch.ones(x_BCHW.shape, dtype=torch.bool))
    told = torch.tensor([band.center_wavelength for band in view.bands])
    assert (told - torch.tensor([0.655, 0.56, 0.48])).abs().max() < 0.02
    assert (view.x_B3HW[0, :, 0, 0] - told).abs().max() < 0.02


def test_images_without_colours_have_no_view():
    radar = (SarChannel("VV", "VV", 5.405), SarChannel("VH", "VH", 5.405))
    infrared = (Band("nir", 0.84, 0.1), Band("red", 0.66, 0.03), Band("swir", 1.6, 0.1))
    for bands in (radar, infrared, infrared[:1]):
        x_BCHW = torch.rand(1, len(bands), 4, 4)
        assert rgb_view(x_BCHW, bands, x_BCHW > 0) is None


@torch.no_grad()
def test_the_student_tells_what_it_has_before_its_last_block(make_trunk):
    trunk = make_trunk()
    bands = (Band("red", 0.66, 0.03), Band("green", 0.56, 0.03), Band("blue", 0.48, 0.03))
    x_BCHW = torch.rand(2, 3, 16, 24) * 0.4
    view = rgb_view(x_BCHW, bands, torch.ones(x_BCHW.shape, dtype=torch.bool))
    outputs = list(trunk.run_blocks(trunk.embed_patches(x_BCHW, bands)))
    torch.testing.assert_close(student_features(trunk, view), outputs[-2][:, 1:].mean(1))
    calls = []
    handle = trunk.blocks[-1].register_forward_hook(lambda *_: calls.append(1))
    student_features(trunk, view)
    handle.remove()
    assert not calls
    assert student_features(make_trunk(depth=1), view).shape == (2, 32)
