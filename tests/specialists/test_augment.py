"""Augmentation: what may change, what may not, and that torch's seed decides all of it."""

import pytest
import torch

from sensors import Band, InputError, SarChannel
from specialists.augment import Augment, AugmentConfig
from specialists.spec import SpecialistSpec

RED = Band("red", 0.66, 0.04)
NIR = Band("nir", 0.86, 0.1)
VV = SarChannel("VV", "VV", 5.405)
HEAT = Band("heat", 10.9, 1.0, quantity="temperature")


def make_spec(task="scene-classification", bands=(RED, NIR), classes=("a", "b", "c")):
    count = len(bands)
    return SpecialistSpec(
        task=task,
        bands=bands,
        classes=classes,
        mean=(0.0,) * count,
        std=(1.0,) * count,
        gsd=10,
        chip_size=8,
    )


def make_batch(size=16, bands=2, height=6, width=6, mask=False):
    generator = torch.Generator().manual_seed(0)
    batch = {
        "image": torch.rand(size, bands, height, width, generator=generator) + 1,
        "valid": torch.ones(size, bands, height, width, dtype=torch.bool),
        "id": [str(i) for i in range(size)],
    }
    if mask:
        # The mask tells the same as the image, so that moving both alike keeps them equal.
        batch["mask"] = (batch["image"][:, 0] * 1000).long()
    else:
        batch["label"] = torch.arange(size) % 3
    return batch


def augment(batch, *, spec=None, seed=0, **settings):
    torch.manual_seed(seed)
    config = AugmentConfig(**({"flip": False, "rotate90": False} | settings))
    return Augment(config, spec or make_spec())(batch)


@pytest.mark.parametrize("settings", [{"flip": True}, {"rotate90": True}, {"shift": 2}])
@pytest.mark.parametrize(("height", "width"), [(6, 6), (4, 7)])
def test_image_valid_and_mask_move_together(settings, height, width):
    batch = make_batch(mask=True, height=height, width=width)
    batch["valid"][:, :, 0, 0] = False
    batch["image"][:, :, 0, 0] = 0
    batch["mask"][:, 0, 0] = 0
    spec = make_spec("semantic-segmentation")
    moved = augment(batch, spec=spec, **settings)
    assert not torch.equal(moved["image"], batch["image"])
    assert torch.equal((moved["image"][:, 0] * 1000).long(), moved["mask"])
    assert torch.equal(moved["valid"], moved["image"] > 0)


def test_flips_and_turns_reach_all_eight_symmetries():
    chip = torch.arange(16.0).view(1, 1, 4, 4) + 1
    batch = make_batch(size=400, bands=1, height=4, width=4)
    batch["image"] = chip.repeat(400, 1, 1, 1)
    moved = augment(batch, spec=make_spec(bands=(RED,)), flip=True, rotate90=True)
    assert len({tuple(x.flatten().tolist()) for x in moved["image"]}) == 8


def test_same_seed_gives_same_batch():
    settings = {"flip": True, "rotate90": True, "shift": 1, "brightness": 0.1, "noise": 0.1}
    settings |= {"band_dropout": 0.3, "mixup": 0.2, "cutmix": 1.0}
    first, second = (augment(make_batch(), seed=3, **settings) for _ in range(2))
    other = augment(make_batch(), seed=4, **settings)
    for key in ("image", "valid", "label"):
        assert torch.equal(first[key], second[key])
    assert not torch.equal(first["image"], other["image"])


def test_input_batch_is_left_alone():
    batch = make_batch()
    before = batch["image"].clone()
    augment(batch, flip=True, noise=0.5, band_dropout=0.5)
    assert torch.equal(batch["image"], before)


def test_band_dropout_marks_bands_invalid_and_never_all():
    batch = make_batch(size=500)
    dropped = augment(batch, band_dropout=0.5)
    kept = dropped["valid"].flatten(2).all(2)
    assert torch.equal(dropped["valid"].flatten(2).any(2), kept)
    assert kept.any(1).all()
    assert 0.2 < (~kept).float().mean() < 0.5
    assert (dropped["image"][~dropped["valid"]] == 0).all()


def test_band_dropout_never_leaves_only_a_band_that_was_dead_already():
    batch = make_batch(size=200)
    batch["valid"][:, 0] = False
    assert augment(batch, band_dropout=0.9)["valid"][:, 1].all()


def test_gain_multiplies_reflectance_adds_decibels_and_spares_temperature():
    spec = make_spec(bands=(RED, VV, HEAT))
    batch = make_batch(bands=3)
    changed = augment(batch, spec=spec, brightness=0.2)
    ratio = changed["image"][:, 0] / batch["image"][:, 0]
    assert torch.allclose(ratio, ratio[:, :1, :1].expand_as(ratio))
    assert 0.8 <= ratio.min() < ratio.max() <= 1.2
    decibels = changed["image"][:, 1] - batch["image"][:, 1]
    assert torch.allclose(decibels, decibels[:, :1, :1].expand_as(decibels), atol=1e-6)
    assert decibels.abs().max() <= 10 * torch.log10(torch.tensor(1 / 0.8)) + 1e-6
    assert torch.equal(changed["image"][:, 2], batch["image"][:, 2])


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixed_labels_are_the_shares_of_mixed_images(kind):
    batch = make_batch(size=30)
    # Every chip holds its own class number, so the image tells what was mixed in.
    batch["image"] = batch["label"][:, None, None, None].float().expand(30, 2, 6, 6).clone()
    mixed = augment(batch, **{kind: 1.0})
    assert mixed["label"].shape == (30, 3)
    assert torch.allclose(mixed["label"].sum(1), torch.ones(30))
    expected = (mixed["label"] * torch.arange(3)).sum(1)
    assert torch.allclose(mixed["image"].mean((1, 2, 3)), expected, atol=1e-5)
    assert (mixed["label"].amax(1) < 1).any()


def test_mixing_is_refused_where_targets_are_no_scene_labels():
    with pytest.raises(InputError, match="mixup"):
        Augment(AugmentConfig(mixup=0.2), make_spec("semantic-segmentation"))


def test_everything_off_changes_nothing():
    batch = make_batch()
    assert torch.equal(augment(batch)["image"], batch["image"])
