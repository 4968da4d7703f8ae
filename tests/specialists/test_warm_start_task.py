"""Masked modelling: the target is the image, only hidden and valid pixels count, nothing leaks."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from sensors import InputError
from specialists import build_specialist
from specialists.warm_start_config import MaskingConfig, PretrainTrainerConfig
from specialists.warm_start_decoder import MaskedDecoder
from specialists.warm_start_masks import spread
from specialists.warm_start_task import MaskedTask

SMALL = MaskingConfig(decoder_width=16)


@pytest.fixture
def make_task(make_spec):
    def make(chip_size=32, stem_stride=4, **masking):
        torch.manual_seed(0)
        spec = make_spec(
            task="similarity-search", classes=(), chip_size=chip_size, stem_stride=stem_stride
        )
        recipe = PretrainTrainerConfig(masking=replace(SMALL, **masking))
        return MaskedTask(build_specialist(spec), recipe).eval()

    return make


def draw_chips(height=32, width=32):
    torch.manual_seed(1)
    image_BCHW = torch.rand(3, 4, height, width) * 0.4
    return image_BCHW, torch.ones(image_BCHW.shape, dtype=torch.bool)


def seeded():
    return torch.Generator().manual_seed(5)


VARIANTS = [
    {"levels": "all"},
    {"levels": "coarsest"},
    {"patch": 32, "chip_size": 64},
    {"stem_stride": 2},
]


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_what_is_hidden_has_no_influence_and_the_rest_has(make_task, variant):
    task = make_task(**variant)
    image_BCHW, valid = draw_chips(64, 64)
    made = task.reconstruct(image_BCHW, valid, seeded())
    hidden_B1HW = spread(made.hidden_B1YX, task.patch)
    changed = torch.where(hidden_B1HW, torch.rand_like(image_BCHW), image_BCHW)
    again = task.reconstruct(changed, valid, seeded())
    assert torch.equal(made.predicted_BDYX, again.predicted_BDYX)
    assert not torch.equal(made.error(), again.error())
    changed = torch.where(hidden_B1HW, image_BCHW, torch.rand_like(image_BCHW))
    again = task.reconstruct(changed, valid, seeded())
    moved_BDYX = (made.predicted_BDYX - again.predicted_BDYX).abs()
    assert moved_BDYX.movedim(1, -1)[made.hidden_B1YX[:, 0]].mean() > 1e-4


@torch.no_grad()
def test_the_target_is_the_image_patch_by_patch(make_task):
    task = make_task(patch=8)
    image_BCHW, valid = draw_chips()
    made = task.reconstruct(image_BCHW, valid, seeded())
    scaled = F.pixel_shuffle(made.target_BDYX * made.std_B1YX + made.mean_B1YX, 8)
    torch.testing.assert_close(scaled, task.specialist.normalize(image_BCHW))
    torch.testing.assert_close(made.target_BDYX.mean(1), torch.zeros(3, 4, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(made.floor(), torch.tensor(1.0), atol=1e-4, rtol=0)
    patch = task.specialist.normalize(image_BCHW)[1, :, 8:16, 24:32]
    expected = (patch - patch.mean()) / patch.std(correction=0)
    found = F.pixel_shuffle(made.target_BDYX, 8)[1, :, 8:16, 24:32]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_only_hidden_and_valid_pixels_count(make_task):
    task = make_task(patch=8)
    image_BCHW, valid = draw_chips()
    valid[:, 1, :, :20] = False
    image_BCHW[:, 2, 3, 3] = torch.nan
    made = task.reconstruct(image_BCHW, valid, seeded())
    assert made.error().isfinite()
    counted = F.pixel_shuffle(made.counted_BDYX.float(), 8).bool()
    hidden_B1HW = spread(made.hidden_B1YX, 8)
    assert torch.equal(counted, valid & image_BCHW.isfinite() & hidden_B1HW)
    valid_BDYX = F.pixel_unshuffle((valid & image_BCHW.isfinite()).float(), 8)
    variance_BYX = (made.target_BDYX.square() * valid_BDYX).sum(1) / valid_BDYX.sum(1)
    torch.testing.assert_close(variance_BYX, torch.ones(3, 4, 4), atol=1e-3, rtol=0)
    exact = replace(made, predicted_BDYX=made.target_BDYX)
    assert exact.error() == 0
    noise = torch.randn_like(made.target_BDYX)
    elsewhere = made.target_BDYX + noise * ~made.counted_BDYX
    assert replace(made, predicted_BDYX=elsewhere).error() == 0
    counted_too = made.target_BDYX + 2
    torch.testing.assert_close(replace(made, predicted_BDYX=counted_too).error(), torch.tensor(4.0))
    stored = torch.where(valid, image_BCHW, 1e6)
    assert task.reconstruct(stored, valid, seeded()).error() == made.error()


@torch.no_grad()
def test_the_decoder_reads_levels_only_where_they_saw_something():
    torch.manual_seed(0)
    decoder = MaskedDecoder((3, 5, 7), (0.5, 1, 2), width=16, outputs=4)
    hidden_B1YX = torch.rand(2, 1, 4, 4) < 0.5
    hidden_B1YX[..., :2, :2] = True  # a whole cell of the coarsest level
    hidden_B1YX[..., 2:, 2:] = False
    levels = [torch.randn(2, 3, 8, 8), torch.randn(2, 5, 4, 4), torch.randn(2, 7, 2, 2)]
    said_BDYX = decoder(levels, hidden_B1YX)
    assert said_BDYX.shape == (2, 4, 4, 4)
    seen = ~hidden_B1YX
    unseen = [~spread(seen, 2), ~seen, ~F.max_pool2d(seen.float(), 2).bool()]
    changed = [
        torch.where(mask, torch.randn_like(level), level)
        for level, mask in zip(levels, unseen, strict=True)
    ]
    torch.testing.assert_close(decoder(changed, hidden_B1YX), said_BDYX)
    for number, mask in enumerate(unseen):
        one = list(levels)
        one[number] = torch.where(mask, one[number], torch.randn_like(one[number]))
        assert not torch.allclose(decoder(one, hidden_B1YX), said_BDYX, atol=1e-3)


def test_chips_without_a_valid_pixel_teach_nothing(make_task):
    task = make_task().train()
    image_BCHW, valid = draw_chips()
    error = task.reconstruct(image_BCHW, valid & False).error()
    error.backward()
    assert error == 0
    gradients = [p.grad for p in task.parameters() if p.grad is not None]
    assert gradients
    assert not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("size", [(1, 1), (5, 70), (45, 33)])
@torch.no_grad()
def test_chips_of_any_size(make_task, size):
    task = make_task()
    image_BCHW, valid = draw_chips(*size)
    made = task.reconstruct(image_BCHW, valid, seeded())
    assert made.error().isfinite()
    height, width = spread(made.hidden_B1YX, task.patch).shape[-2:]
    assert height % 32 == width % 32 == 0
    assert made.counted_BDYX.sum() <= valid.sum()


def test_every_weight_of_the_backbone_learns(make_task):
    task = make_task().train()
    task.reconstruct(*draw_chips()).error().backward()
    for name, weight in task.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.any(), name


@pytest.mark.parametrize(
    ("masking", "message"),
    [
        ({"ratio": 0.0}, "ratio 0.0 is not between 0 and 1"),
        ({"ratio": 1.0}, "ratio"),
        ({"patch": 24}, "24 is not one of 4, 8, 16, 32"),
        ({"levels": "finest"}, "all, coarsest"),
        ({"decoder_width": 0}, "decoder_width 0"),
    ],
)
def test_masking_that_cannot_be_is_refused(make_task, masking, message):
    with pytest.raises(InputError, match=message):
        make_task(**masking)
