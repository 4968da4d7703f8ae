"""What `predict_map` refuses, and what it leaves behind when it fails or is killed."""

import subprocess
import sys

import pytest

from mapping import predict_map
from rasters import write_raster
from sensors import InputError, MissingBandsError
from specialists.files import save_weights


def run(scene, specialist, out, **options):
    return predict_map(scene, specialist, out, **{"progress": False} | options)


def test_missing_bands_are_named_before_anything_is_written(
    bands, make_image, make_specialist, tmp_path
):
    write_raster(tmp_path / "scene.tif", make_image(bands=bands[:3]))
    with pytest.raises(MissingBandsError, match=r"nir.*0\.842"):
        run(tmp_path / "scene.tif", make_specialist(), tmp_path / "map.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


def test_a_backbone_without_a_task_maps_nothing(scene, make_specialist, tmp_path):
    backbone = make_specialist(task="similarity-search", classes=())
    with pytest.raises(InputError, match=r"nothing to map.*specialist\.pretrained"):
        run(scene, backbone, tmp_path / "map.tif")
    assert [path.name for path in tmp_path.iterdir()] == [scene.name]


def test_unscaled_reflectance_is_refused(make_image, make_specialist, tmp_path):
    image = make_image()
    image.pixels[:] *= 10000
    write_raster(tmp_path / "scene.tif", image)
    with pytest.raises(InputError, match="scale"):
        run(tmp_path / "scene.tif", make_specialist(), tmp_path / "map.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


def test_truncated_scene_is_refused_and_nothing_is_written(scene, make_specialist, tmp_path):
    stored = scene.read_bytes()
    scene.write_bytes(stored[: len(stored) // 2])
    with pytest.raises(InputError, match=r"scene\.tif"):
        run(scene, make_specialist(), tmp_path / "map.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


def test_failure_on_the_way_leaves_the_old_map_and_nothing_else(
    pixel_classifier, scene, make_specialist, tmp_path
):
    out = tmp_path / "map.tif"
    run(scene, make_specialist(), out, backend=pixel_classifier)
    before, files = out.read_bytes(), sorted(tmp_path.iterdir())

    def break_down(x_BCHW, valid_BCHW):
        raise RuntimeError("engine broke")

    with pytest.raises(RuntimeError, match="engine broke"):
        run(scene, make_specialist(), out, backend=break_down, probabilities=True)
    assert out.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == files


KILLED = """
import os, signal, sys
from mapping import predict_map
from specialists.files import load_specialist

class Killer:
    calls = 0
    def __call__(self, x, valid):
        self.calls += 1
        if self.calls == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return x[:, :3]

scene, weights, out = sys.argv[1:]
predict_map(scene, load_specialist(weights), out, backend=Killer(), window=16, batch_size=2)
"""


def test_kill_leaves_no_map(scene, make_specialist, tmp_path):
    save_weights(make_specialist(), tmp_path / "weights.safetensors")
    out = tmp_path / "map.tif"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, scene, tmp_path / "weights.safetensors", out],
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr.decode()
    assert not list(tmp_path.glob("map*"))


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("map.png", r"ends in \.tif"),
        ("nowhere/map.tif", "no folder"),
        ("scene.tif", "where the scene lies"),
    ],
)
def test_targets_that_do_harm_are_refused(scene, make_specialist, tmp_path, out, message):
    before = scene.read_bytes()
    with pytest.raises(InputError, match=message):
        run(scene, make_specialist(), tmp_path / out)
    assert scene.read_bytes() == before


def test_empty_batch_is_refused(scene, make_specialist, tmp_path):
    with pytest.raises(InputError, match="batch size 0"):
        run(scene, make_specialist(), tmp_path / "map.tif", batch_size=0)
