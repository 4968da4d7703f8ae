import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import rasterio
from rich.console import Console

from mapping import MapResult, cli
from rasters import write_raster
from registry import Registry
from specialists.files import save_weights


@pytest.fixture
def weights(make_specialist, tmp_path):
    """A run folder's weights file."""
    folder = tmp_path / "run"
    folder.mkdir()
    save_weights(make_specialist(), folder / "weights.safetensors")
    return folder / "weights.safetensors"


@pytest.fixture
def predict(run_command):
    return run_command


def test_map_table_and_where_the_files_are(scene, weights, tmp_path, predict):
    out = tmp_path / "map.tif"
    picture = tmp_path / "map.png"
    code, output, _ = predict(
        scene, "--specialist", weights, "--out", out, "--probabilities", "--picture", picture
    )
    assert code == 0
    for words in ("class", "share", "area", "water", "forest", "built-up", "(ha)"):
        assert words in output
    assert "4,200 of 4,200 pixels" in output
    last = output.strip().splitlines()[-1]
    for file in (out, tmp_path / "map_probabilities.tif", picture):
        assert file.exists()
        assert str(file) in last
    assert "QGIS" in last


def test_areas_add_up_to_the_mapped_ground(capsys):
    result = MapResult(
        path=Path("map.tif"),
        probabilities_path=None,
        picture_path=None,
        pixels=300_000,
        nodata_pixels=1,
        pixel_area=100.0,
        shares={"water": 0.25, "forest": 0.75},
        ranges={},
        windows=9,
        seconds=2.0,
    )
    cli.report(result, Console())
    output = capsys.readouterr().out
    assert "area (km2)" in output
    assert "22.50" in output
    assert "7.50" in output
    cli.report(replace(result, pixel_area=None), Console())
    assert "area" not in capsys.readouterr().out


def test_run_folder_and_registered_name_give_the_same_map(
    scene, weights, make_specialist, tmp_path, predict
):
    registry = tmp_path / "registry"
    Registry.open(registry).add(make_specialist(), name="pixels", version="1.0.0")
    code, *_ = predict(scene, "--specialist", weights.parent, "--out", tmp_path / "a.tif")
    assert code == 0
    for reference, name in (("pixels", "b.tif"), ("pixels@1.0.0", "c.tif")):
        code, _, errors = predict(
            scene, "--specialist", reference, "--registry", registry, "--out", tmp_path / name
        )
        assert code == 0, errors
    with (
        rasterio.open(tmp_path / "a.tif") as a,
        rasterio.open(tmp_path / "b.tif") as b,
        rasterio.open(tmp_path / "c.tif") as c,
    ):
        assert (a.read() == b.read()).all()
        assert (a.read() == c.read()).all()


def test_regression_reports_ranges(scene, make_specialist, tmp_path, predict):
    specialist = make_specialist(task="regression", classes=("height",), per_pixel=True)
    save_weights(specialist, tmp_path / "height.safetensors")
    code, output, _ = predict(
        scene, "--specialist", tmp_path / "height.safetensors", "--out", tmp_path / "map.tif"
    )
    assert code == 0
    for words in ("target", "minimum", "mean", "maximum", "height"):
        assert words in output


def test_warnings_are_one_line(make_image, weights, tmp_path, predict):
    write_raster(tmp_path / "coarse.tif", make_image(gsd=60.0))
    code, _, errors = predict(
        tmp_path / "coarse.tif", "--specialist", weights, "--out", tmp_path / "map.tif"
    )
    assert code == 0
    assert "warning: the scene has pixels of 60 m" in errors
    assert "UserWarning" not in errors


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda scene: scene.write_bytes(scene.read_bytes()[:2000]), "scene.tif"),
        (lambda scene: scene.write_text("not a raster"), "scene.tif"),
        (lambda scene: scene.unlink(), "no such file"),
    ],
)
def test_bad_scenes_leave_with_2_and_write_nothing(
    scene, weights, tmp_path, predict, change, words
):
    change(scene)
    before = sorted(tmp_path.rglob("*"))
    code, _, errors = predict(scene, "--specialist", weights, "--out", tmp_path / "map.tif")
    assert code == 2
    assert words in errors
    assert "Traceback" not in errors
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--overlap", "1.5"], "overlap 1.5"),
        (["--window", "-4"], "1 or more"),
        (["--batch-size", "0"], "batch size"),
        (["--sensor", "sentinel-99"], "sentinel-99"),
        (["--picture", "nowhere/map.png"], "no folder"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_bad_options_leave_with_2(scene, weights, tmp_path, predict, arguments, words):
    code, _, errors = predict(
        scene, "--specialist", weights, "--out", tmp_path / "map.tif", *arguments
    )
    assert code == 2
    assert words in errors
    assert not (tmp_path / "map.tif").exists()


@pytest.mark.parametrize("reference", ["unknown", "missing.safetensors", "."])
def test_unknown_specialists_leave_with_2(scene, tmp_path, predict, reference):
    code, _, errors = predict(
        scene,
        "--specialist",
        reference,
        "--registry",
        tmp_path / "registry",
        "--out",
        tmp_path / "map.tif",
    )
    assert code == 2
    assert reference in errors


def test_help_does_not_wait_for_torch():
    code = "import sys, mapping.cli; mapping.cli.parse_arguments(['s.tif', '--specialist', 'a', "
    code += "'--out', 'o.tif']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
