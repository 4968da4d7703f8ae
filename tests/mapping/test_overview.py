import numpy as np
import pytest

from mapping._overview import Overview
from mapping._sweep import Sweep
from mapping.windows import plan_windows
from rasters import open_raster, write_raster


@pytest.mark.parametrize("side", [1, 7, 20, 500])
def test_overview_is_the_block_mean_of_the_valid_pixels(
    make_image, pixel_classifier, tmp_path, side
):
    valid = np.random.default_rng(1).random((4, 53, 70)) > 0.2
    image = make_image(53, 70, valid=valid)
    write_raster(tmp_path / "scene.tif", image)
    with open_raster(tmp_path / "scene.tif") as raster:
        overview = Overview(raster, raster.bands[2:0:-1], side)
        sweep = Sweep(raster, raster.bands, 3, plan_windows(53, 70, 16, 0.5), batch_size=8)
        for rows in sweep.rows(pixel_classifier, advance=lambda count: None):
            overview.add(rows)
    factor = -(-70 // side)
    shrunk = overview.image
    assert shrunk.bands == image.bands[2:0:-1]
    assert max(shrunk.pixels.shape[1:]) <= side
    assert shrunk.transform.a == image.transform.a * factor
    for row in range(shrunk.height):
        for column in range(shrunk.width):
            block = np.s_[
                2, row * factor : (row + 1) * factor, column * factor : (column + 1) * factor
            ]
            seen = image.pixels[block][image.valid[block]]
            assert shrunk.valid[0, row, column] == bool(seen.size)
            if seen.size:
                assert shrunk.pixels[0, row, column] == pytest.approx(seen.mean(), rel=1e-4)
