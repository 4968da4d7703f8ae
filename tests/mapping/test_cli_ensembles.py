"""`predict-map` with ensembles, from their folder and from the registry."""

import numpy as np
import pytest
import rasterio

from rasters import write_raster
from router.ensemble_files import save_ensemble
from router.registering import register_ensemble


@pytest.fixture
def scene(tmp_path, make_stack):
    path = tmp_path / "scene.tif"
    write_raster(path, make_stack())
    return path


@pytest.fixture
def folder(tmp_path, make_ensemble):
    """A saved ensemble with a head."""
    save_ensemble(make_ensemble(), tmp_path / "ensemble")
    return tmp_path / "ensemble"


def read(path):
    with rasterio.open(path) as dataset:
        return dataset.read(1)


def test_folder_manifest_and_registered_name_give_the_same_map(
    scene, folder, guild, tmp_path, run_command
):
    register_ensemble(guild, folder, name="landcover", version="1.0.0")
    maps = []
    sources = (folder, folder / "ensemble.json", "landcover", "landcover@1.0.0")
    for number, source in enumerate(sources):
        out = tmp_path / f"{number}.tif"
        code, output, errors = run_command(
            *(scene, "--model", source, "--registry", guild.store.root, "--out", out),
            *("--members", tmp_path / f"{number}_members.tif"),
        )
        assert code == 0, errors
        assert f"{number}_members.tif" in output
        maps.append((read(out), read(tmp_path / f"{number}_members.tif")))
    for classes, members in maps[1:]:
        assert np.array_equal(classes, maps[0][0])
        assert np.array_equal(members, maps[0][1])
    assert (maps[0][1] == 0).all()


def test_specialist_is_another_word_for_model(scene, folder, guild, tmp_path, run_command):
    code, _, errors = run_command(
        *(scene, "--specialist", folder, "--registry", guild.store.root),
        *("--out", tmp_path / "map.tif"),
    )
    assert code == 0, errors


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("encoder", [], "has no head"),
        ("optical", ["--members", "members.tif"], "no members"),
        ("ensemble", ["--members", "members.png"], ".tif"),
        ("ensemble", ["--members", "nowhere/members.tif"], "no folder"),
    ],
)
def test_what_cannot_be_used_leaves_with_2_and_writes_nothing(
    scene, folder, guild, make_ensemble, tmp_path, run_command, monkeypatch, model, options, words
):
    monkeypatch.chdir(tmp_path)
    save_ensemble(make_ensemble().ensemble, "encoder")
    before = sorted(tmp_path.rglob("*"))
    code, _, errors = run_command(
        *(scene, "--model", model, "--registry", guild.store.root, "--out", "map.tif", *options)
    )
    assert code == 2
    assert words in errors
    assert "Traceback" not in errors
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before] == []


def test_a_changed_weight_is_refused(scene, folder, guild, tmp_path, run_command):
    weights = folder / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    code, _, errors = run_command(
        *(scene, "--model", folder, "--registry", guild.store.root, "--out", tmp_path / "map.tif")
    )
    assert code == 2
    assert "was changed" in errors
