"""Pictures of reconstructions, of any sensor."""

from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
import torch

from router.pretraining import DecoderConfig, PretrainTask, TrunkRecipe, draw_reconstructions
from router.pretraining.picture import complete_images
from sensors import Band, SarChannel, load_sensor

RADAR = (SarChannel("VV", "VV", 5.405), SarChannel("VH", "VH", 5.405))
MANY = tuple(Band(f"B{k}", 0.42 + k * 0.02, 0.01) for k in range(60))


@pytest.fixture
def task(make_trunk):
    trunk = make_trunk(depth=2)
    recipe = TrunkRecipe(target="band", decoder=DecoderConfig(width=32, depth=1, num_heads=2))
    return PretrainTask(trunk, recipe)


@pytest.mark.parametrize("bands", [load_sensor("sentinel-2-l2a").channels, RADAR, MANY, MANY[:1]])
def test_a_picture_of_any_sensor(task, tmp_path, bands):
    torch.manual_seed(0)
    x_BCHW = torch.rand(3, len(bands), 32, 40) * (-20 if bands == RADAR else 0.4)
    valid = torch.rand(x_BCHW.shape) < 0.95
    x_BCHW[~valid] = torch.nan
    draw_reconstructions(task, x_BCHW, bands, valid, tmp_path / "a.png")
    picture = matplotlib.image.imread(tmp_path / "a.png")
    assert min(picture.shape[:2]) > 300
    parts = np.array_split(picture[..., :3], 3, axis=1)
    assert all(part.std() > 0.02 for part in parts)
    assert abs(parts[0].mean() - parts[1].mean()) > 0.02  # hidden patches are light grey
    if bands == RADAR:
        draw_reconstructions(task, x_BCHW, bands, valid, tmp_path / "b.png")
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@torch.no_grad()
def test_an_image_is_completed_in_its_own_units(task):
    torch.manual_seed(0)
    means_C11, spreads_C11 = torch.tensor([[-10.0, -17.0], [4.0, 2.0]])[..., None, None]
    x_BCHW = means_C11 + spreads_C11 * torch.randn(4, 2, 32, 32)
    valid = torch.rand(x_BCHW.shape) < 0.9
    made = task.reconstruct(x_BCHW, RADAR, valid, shown=[1], generator=torch.Generator())
    completed_BCHW = complete_images(task, made, x_BCHW, RADAR)
    assert torch.equal(completed_BCHW[made.seen_BCHW], x_BCHW[made.seen_BCHW])
    for band, (mean, spread) in enumerate(((-10, 4), (-17, 2))):
        said = completed_BCHW[:, band][~made.seen_BCHW[:, band]]
        assert abs(said.mean() - mean) < 0.3 * spread
    right = replace(made, predicted_BNPC=made.target_BNPC)
    told_BCHW = complete_images(task, right, x_BCHW, RADAR)
    torch.testing.assert_close(told_BCHW[valid], x_BCHW[valid], atol=1e-3, rtol=1e-4)
