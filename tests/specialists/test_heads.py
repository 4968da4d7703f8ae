"""Tensor shapes: B batch, C channels, H rows, W columns."""

import pytest
import torch
import torch.nn.functional as F

from specialists.heads import LinearPixelHead, PixelHead, PoolHead, PyramidHead

# Not ConvNeXt's: a head takes any pyramid.
CHANNELS, REDUCTIONS = (8, 12, 20, 24), (2, 4, 8, 16)


def pyramid(height=32, width=48, batch=2):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(batch, c, height // r, width // r, generator=generator)
        for c, r in zip(CHANNELS, REDUCTIONS, strict=True)
    ]


@pytest.mark.parametrize("hidden_size", [0, 10])
def test_pyramid_head_answers_once_per_chip(hidden_size):
    head = PyramidHead(CHANNELS, 3, 5, hidden_size=hidden_size)
    assert head(pyramid(), torch.randn(2, 3, 30, 41)).shape == (2, 5)
    assert head.fc.in_features == (hidden_size or 2 * (sum(CHANNELS) + 3))


def test_pyramid_head_sees_brightness_and_contrast_of_the_image():
    torch.manual_seed(0)
    head, pool = PyramidHead(CHANNELS, 3, 5).eval(), PoolHead(CHANNELS, 5).eval()
    features, x_BCHW = pyramid(), torch.randn(2, 3, 32, 48)
    for other in (x_BCHW + 1, x_BCHW * 2):
        assert not torch.allclose(head(features, x_BCHW), head(features, other), atol=1e-2)
        assert torch.equal(pool(features, x_BCHW), pool(features, other))


@pytest.mark.parametrize("level", range(4))
def test_pyramid_head_sees_every_level_and_pool_head_the_last(level):
    torch.manual_seed(0)
    head, pool = PyramidHead(CHANNELS, 3, 5).eval(), PoolHead(CHANNELS, 5).eval()
    features, x_BCHW = pyramid(), torch.randn(2, 3, 32, 48)
    other = list(features)
    other[level] = torch.randn_like(other[level]) * 3
    assert not torch.allclose(head(features, x_BCHW), head(other, x_BCHW), atol=1e-3)
    assert torch.equal(pool(features, x_BCHW), pool(other, x_BCHW)) == (level < 3)


def test_a_flat_map_has_finite_gradients():
    head = PyramidHead(CHANNELS, 3, 5)
    features = [torch.ones_like(level).requires_grad_() for level in pyramid(16, 16)]
    head(features, torch.zeros(2, 3, 1, 1)).sum().backward()
    assert all(level.grad.isfinite().all() for level in features)


@pytest.mark.parametrize("decoder", ["unet", "fpn"])
def test_pixel_head_crops_to_the_image(decoder):
    head = PixelHead(CHANNELS, REDUCTIONS, 3, 5, decoder=decoder).eval()
    assert head(pyramid(), torch.randn(2, 3, 31, 33)).shape == (2, 5, 31, 33)


def test_unet_takes_any_number_of_levels():
    head = PixelHead(CHANNELS[:3], REDUCTIONS[:3], 3, 5).eval()
    assert head(pyramid()[:3], torch.randn(2, 3, 32, 48)).shape == (2, 5, 32, 48)


@pytest.mark.parametrize("decoder", ["unet", "fpn"])
def test_pixel_head_sees_every_level_and_every_spectrum(decoder):
    torch.manual_seed(0)
    head = PixelHead(CHANNELS, REDUCTIONS, 3, 5, decoder=decoder).eval()
    inputs = [*pyramid(), torch.randn(2, 3, 32, 48)]
    before = head(inputs[:4], inputs[4])
    for position in range(5):
        other = list(inputs)
        other[position] = torch.randn_like(other[position]) * 3
        assert not torch.allclose(head(other[:4], other[4]), before, atol=1e-4)


@pytest.mark.parametrize(
    "head",
    [
        PyramidHead(CHANNELS, 3, 5, drop_rate=0.5),
        PyramidHead(CHANNELS, 3, 5, hidden_size=16, drop_rate=0.5),
        PoolHead(CHANNELS, 5, drop_rate=0.5),
        PixelHead(CHANNELS, REDUCTIONS, 3, 5, drop_rate=0.5),
        PixelHead(CHANNELS, REDUCTIONS, 3, 5, decoder="fpn", drop_rate=0.5),
    ],
)
def test_dropout_is_for_training_only(head):
    features, x_BCHW = pyramid(), torch.randn(2, 3, 32, 48)
    head.train()
    assert not torch.equal(head(features, x_BCHW), head(features, x_BCHW))
    head.eval()
    assert torch.equal(head(features, x_BCHW), head(features, x_BCHW))


def test_linear_pixel_head_adds_up_what_each_level_says():
    torch.manual_seed(0)
    head = LinearPixelHead(CHANNELS, REDUCTIONS, 5).eval()
    features = pyramid()
    expected = sum(
        F.interpolate(projection(norm(level)), (32, 48), mode="bilinear")
        for norm, projection, level in zip(head.norms, head.projections, features, strict=True)
    )
    logits = head(features, torch.randn(2, 3, 31, 33))
    torch.testing.assert_close(logits, expected[..., :31, :33])
    assert sum(projection.bias is not None for projection in head.projections) == 1
    assert torch.equal(head(features, torch.zeros(2, 3, 31, 33)), logits)
