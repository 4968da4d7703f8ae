"""Weight files here are written by timm from random numbers, in the forms published ones have."""

import re

import pytest
import timm
import torch
from safetensors.torch import save_file

from sensors import Band, InputError, SarChannel, list_sensors, load_sensor
from specialists import build_specialist, load_backbone, save_weights
from specialists.pretrained import transfer_stem
from specialists.slimming import slim

RED, GREEN, BLUE = Band("r", 0.665, 0.03), Band("g", 0.56, 0.035), Band("b", 0.49, 0.065)


@pytest.fixture(scope="session")
def published():
    torch.manual_seed(1)
    network = timm.create_model("convnextv2_atto", num_classes=6).eval()
    for name, weight in network.named_parameters():
        if "grn" in name:
            torch.nn.init.normal_(weight.data)
    return network


@pytest.fixture
def weight_file(published, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(published.state_dict(), path)
    return path


def authors_names(tensors):
    """The naming of the authors' own checkpoints, which timm translates."""
    renamed = {}
    for name, tensor in tensors.items():
        name = name.replace("stem.", "downsample_layers.0.")
        name = re.sub(r"stages\.(\d)\.downsample\.", r"downsample_layers.\1.", name)
        name = name.replace(".blocks.", ".").replace("conv_dw", "dwconv")
        if "mlp.grn" in name:
            name = name.replace("mlp.grn.weight", "grn.gamma").replace("mlp.grn.bias", "grn.beta")
            tensor = tensor[None, None, None]
        if "mlp.fc" in name:
            name = name.replace("mlp.fc", "pwconv")
            tensor = tensor.flatten(1) if name.endswith("weight") else tensor
        name = name.replace("head.norm.", "norm.").replace("head.fc.", "head.")
        renamed[name] = tensor
    return {"model": renamed}


@pytest.mark.parametrize("form", ["safetensors", "pth", "no head", "authors"])
@pytest.mark.parametrize("stem_stride", [4, 2])
def test_rgb_bands_in_any_order_give_the_published_network(
    make_spec, published, tmp_path, form, stem_stride
):
    tensors = published.state_dict()
    path = tmp_path / "weights.pth"
    if form == "safetensors":
        path = path.with_suffix(".safetensors")
        save_file(tensors, path)
    else:
        if form == "no head":
            tensors = {name: t for name, t in tensors.items() if not name.startswith("head.")}
        torch.save(authors_names(tensors) if form == "authors" else tensors, path)
    bands = (GREEN, BLUE, RED)
    built = build_specialist(
        make_spec(bands=bands, mean=(0.0,) * 3, std=(1.0,) * 3, stem_stride=stem_stride)
    ).eval()
    head = {name: tensor.clone() for name, tensor in built.head.state_dict().items()}
    load_backbone(built, path)
    assert torch.equal(built.backbone.stem_0.weight, published.stem[0].weight[:, [1, 2, 0]])
    assert all(torch.equal(tensor, head[name]) for name, tensor in built.head.state_dict().items())
    if stem_stride == 4:
        rgb_BCHW = torch.randn(1, 3, 64, 64)
        features = built.forward_features(rgb_BCHW, (RED, GREEN, BLUE))
        expected = published.forward_intermediates(rgb_BCHW, intermediates_only=True)
        torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-4)


def red_green_blue(sensor):
    named = {getattr(c, "common_name", None): c for c in load_sensor(sensor).channels}
    return [named[color] for color in ("red", "green", "blue") if color in named]


@pytest.mark.parametrize("sensor", [s for s in list_sensors() if len(red_green_blue(s)) == 3])
def test_red_green_and_blue_of_every_sensor_get_their_own_filters(sensor):
    red, green, blue = red_green_blue(sensor)
    rgb_O3KK = torch.randn(5, 3, 4, 4)
    moved = transfer_stem(rgb_O3KK, [blue, red, green])
    assert torch.equal(moved, rgb_O3KK[:, [2, 0, 1]])


@pytest.mark.parametrize("sensor", list_sensors())
def test_a_grey_image_is_answered_alike_through_any_bands(sensor):
    rgb_O3KK = torch.randn(5, 3, 4, 4)
    moved = transfer_stem(rgb_O3KK, load_sensor(sensor).channels)
    torch.testing.assert_close(moved.sum(1), rgb_O3KK.sum(1), rtol=1e-4, atol=1e-5)


def shares(*bands):
    """Share of the red, green and blue filter in each band."""
    return transfer_stem(torch.eye(3)[:, :, None, None], bands)[:, :, 0, 0].T


def test_filters_go_to_the_bands_that_are_near():
    edge, nir = Band("edge", 0.705, 0.015), Band("nir", 0.842, 0.11)
    yellow, vv = Band("yellow", 0.6075, 0.02), SarChannel("VV", "VV", 5.405)
    swir = Band("swir", 1.61, 0.09)
    share = shares(RED, GREEN, BLUE, edge, nir, yellow, swir, vv)
    red, green, blue = share.T
    assert red[0] > red[3] > red[4] > 0  # the farther beyond red, the less of it
    assert green[3] == green[4] == blue[3] == blue[4] == 0
    assert red[5] > 0 < green[5] < green[1]
    assert blue[5] == 0
    torch.testing.assert_close(share[6], share[7])  # nothing is near: all three filters
    assert (share[6] > 0).all()


def test_a_filter_that_no_band_is_near_goes_to_all():
    torch.testing.assert_close(shares(RED), torch.ones(1, 3))
    torch.testing.assert_close(
        shares(RED, Band("nir", 0.842, 0.11))[:, 1:], torch.full((2, 2), 0.5)
    )


def test_any_number_of_bands_is_filled(make_spec, published, weight_file):
    bands = load_sensor("sentinel-2-l2a").channels
    built = build_specialist(make_spec(bands=bands))
    load_backbone(built, weight_file)
    expected = transfer_stem(published.stem[0].weight, bands)
    torch.testing.assert_close(built.backbone.stem_0.weight, expected)
    assert torch.equal(
        built.backbone.stages_2.blocks[4].mlp.grn.weight,
        published.stages[2].blocks[4].mlp.grn.weight,
    )


class Payload:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not a file"),
        (b"", "cannot be read"),
        (b"not a weight file", "cannot be read"),
        ({"stem.0.weight": Payload()}, "cannot be read"),
        ([1, 2], "cannot be read"),
        ({"a": 1}, "cannot be read"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_that_are_not_weights_are_refused(
    get_specialist, tmp_path, capsys, content, message, suffix
):
    path = tmp_path / f"weights{suffix}"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(InputError, match=message):
        load_backbone(get_specialist(), path)
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("stages.1.blocks.0.mlp.grn.weight"), r"missing 1 \(stages\.1\..*grn"),
        (lambda t: t.update({"stages.9.weight": torch.zeros(1)}), r"unexpected 1 \(stages\.9"),
        (lambda t: t["stem.0.bias"].fill_(float("nan")), r"not finite: stem_0\.bias"),
        (lambda t: t.update({"stem.0.weight": torch.zeros(40, 4, 4, 4)}), r"stem\.0"),
    ],
)
def test_weights_of_another_network_are_refused(
    get_specialist, published, tmp_path, change, message
):
    tensors = {name: tensor.clone() for name, tensor in published.state_dict().items()}
    change(tensors)
    save_file(tensors, tmp_path / "w.safetensors")
    specialist = get_specialist()
    before = specialist.backbone.stem_0.weight.clone()
    with pytest.raises(InputError, match=message):
        load_backbone(specialist, tmp_path / "w.safetensors")
    assert torch.equal(specialist.backbone.stem_0.weight, before)


@pytest.mark.parametrize("architecture", ["convnextv2_femto", "convnextv2_pico"])
def test_another_architecture_is_refused(make_spec, weight_file, architecture):
    built = build_specialist(make_spec(architecture=architecture))
    with pytest.raises(InputError, match=f"does not hold a {architecture}"):
        load_backbone(built, weight_file)


def test_another_specialists_backbone_is_taken_over_with_its_filters_by_band(make_spec, tmp_path):
    source = build_specialist(make_spec(bands=load_sensor("rgb-aerial").channels))
    path = tmp_path / "source.safetensors"
    save_weights(source, path)
    bands = load_sensor("sentinel-2-l2a").select("B8A", "B02", "B11", "B04", "B03")
    target = build_specialist(make_spec(bands=bands, stem_stride=2))
    head = {name: tensor.clone() for name, tensor in target.head.state_dict().items()}
    load_backbone(target, path)
    filters = source.backbone.stem_0.weight
    torch.testing.assert_close(target.backbone.stem_0.weight, transfer_stem(filters, bands))
    for name, tensor in source.backbone.state_dict().items():
        if name != "stem_0.weight":
            assert torch.equal(target.backbone.state_dict()[name], tensor)
    assert all(torch.equal(head[name], tensor) for name, tensor in target.head.state_dict().items())


def test_a_slimmed_backbone_is_refused(make_spec, tmp_path):
    source = slim(build_specialist(make_spec()), 0.5)
    save_weights(source, tmp_path / "source.safetensors")
    with pytest.raises(InputError, match="slimmed convnextv2_atto"):
        load_backbone(build_specialist(make_spec()), tmp_path / "source.safetensors")


def test_a_specialist_that_has_the_bands_gives_their_own_filters(make_spec, tmp_path):
    sensor = load_sensor("sentinel-2-l2a")
    source = build_specialist(make_spec(bands=sensor.select("B11", "B8A", "B04")))
    save_weights(source, tmp_path / "source.safetensors")
    target = build_specialist(make_spec(bands=sensor.select("B04", "B11")))
    load_backbone(target, tmp_path / "source.safetensors")
    assert torch.equal(
        target.backbone.stem_0.weight, source.backbone.stem_0.weight[:, [2, 0]].contiguous()
    )


def test_a_specialist_of_other_bands_or_another_architecture_is_refused(make_spec, tmp_path):
    sensor = load_sensor("sentinel-2-l2a")
    source = build_specialist(make_spec(bands=sensor.select("B11", "B12")))
    path = tmp_path / "source.safetensors"
    save_weights(source, path)
    with pytest.raises(InputError, match=r"B11, B12.*neither serve"):
        load_backbone(build_specialist(make_spec(bands=sensor.select("B02"))), path)
    with pytest.raises(InputError, match="does not hold a convnextv2_femto"):
        load_backbone(
            build_specialist(
                make_spec(bands=sensor.select("B11"), architecture="convnextv2_femto")
            ),
            path,
        )
