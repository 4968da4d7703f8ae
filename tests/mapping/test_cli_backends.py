"""`predict-map --backend`."""

import numpy as np
import pytest
import rasterio

from registry import Registry
from specialists.compiled import CompiledSpecialist, compile_specialist

pytest.importorskip("openvino")


@pytest.fixture
def variants(tmp_path, make_specialist):
    """A registry with a specialist, and its compiled form under another name."""
    registry = Registry.open(tmp_path / "variants")
    specialist = make_specialist()
    registry.add(specialist, name="pixels", version="1.0.0")
    registry.add_variant(
        "pixels", compile_specialist(specialist), name="pixels-fast", version="1.0.0"
    )
    return registry


@pytest.fixture
def map_with(variants, scene, tmp_path, run_command):
    """Maps the scene; gives exit code, probabilities and standard error."""

    def run(model, *options, registry=None):
        out = tmp_path / "map.tif"
        place = registry or variants.store.root
        code, _, errors = run_command(
            *(scene, "--model", model, "--registry", place, "--out", out, "--probabilities"),
            *options,
        )
        if code:
            assert not out.exists()
            return code, None, errors
        with rasterio.open(tmp_path / "map_probabilities.tif") as file:
            return code, file.read(), errors

    return run


def test_a_compiled_form_maps_as_its_source(map_with, monkeypatch):
    runs = []
    forward = CompiledSpecialist.forward
    monkeypatch.setattr(
        CompiledSpecialist, "forward", lambda *args: runs.append(1) or forward(*args)
    )
    _, expected, _ = map_with("pixels")
    assert not runs

    code, found, errors = map_with("pixels-fast")

    assert code == 0, errors
    assert runs
    assert np.allclose(found, expected, atol=1e-4)
    runs.clear()
    assert np.array_equal(map_with("pixels-fast", "--backend", "torch")[1], expected)
    assert not runs
    assert np.allclose(map_with("pixels", "--backend", "openvino")[1], expected, atol=1e-4)
    assert runs


def test_a_damaged_graph_maps_nothing(map_with, variants):
    blob = variants.specialist("pixels-fast").variant.constants
    path = variants.store.blob_path(blob.sha256, ".bin")
    path.chmod(0o644)
    path.write_bytes(b"changed")

    code, _, errors = map_with("pixels-fast")

    assert code == 2
    assert path.name in errors
    assert map_with("pixels-fast", "--backend", "torch")[0] == 0


def test_openvino_has_no_other_device(map_with):
    code, _, errors = map_with("pixels-fast", "--device", "cuda")
    assert code == 2
    assert "--backend torch" in errors


def test_an_ensemble_does_not_run_in_openvino(map_with, make_ensemble, guild, tmp_path):
    from router.ensemble_files import save_ensemble

    folder = tmp_path / "ensemble"
    save_ensemble(make_ensemble(), folder)
    code, _, errors = map_with(folder, "--backend", "openvino", registry=guild.store.root)
    assert code == 2
    assert "is an ensemble" in errors
