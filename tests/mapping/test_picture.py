from dataclasses import replace

import matplotlib.image
import pytest

from mapping import predict_map
from rasters import write_raster


@pytest.mark.parametrize("shape", [(60, 70), (60, 200), (150, 20), (1, 1)])
@pytest.mark.parametrize("task", ["semantic-segmentation", "regression"])
def test_picture_shows_scene_and_map(make_image, make_specialist, tmp_path, shape, task):
    write_raster(tmp_path / "scene.tif", make_image(*shape))
    specialist = make_specialist(task=task, per_pixel=task == "regression")
    result = predict_map(
        tmp_path / "scene.tif",
        specialist,
        tmp_path / "map.tif",
        picture=tmp_path / "map.png",
        progress=False,
    )
    assert result.picture_path == tmp_path / "map.png"
    picture = matplotlib.image.imread(tmp_path / "map.png")
    assert picture.shape[0] > 200
    assert picture.std() > 0.05


def test_scene_without_crs_has_no_scale_bar_but_a_picture(make_image, make_specialist, tmp_path):
    write_raster(tmp_path / "scene.tif", replace(make_image(), crs=None))
    with pytest.warns(UserWarning, match="no CRS"):
        predict_map(
            tmp_path / "scene.tif",
            make_specialist(),
            tmp_path / "map.tif",
            picture=tmp_path / "map.png",
            progress=False,
        )
    assert (tmp_path / "map.png").exists()
