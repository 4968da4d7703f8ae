"""Maps by ensembles: which bands are read, who is asked where, and what is said of it."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import torch

from mapping import _sweep, predict_map
from rasters import write_raster
from sensors import InputError
from sensors.plan import MissingBandsError

OPTICAL, RADAR, ALONE = 0, 1, 2


@pytest.fixture
def predict(tmp_path):
    """Map a stack with an ensemble: the map and the members, and the paths they were written to."""

    def run(image, ensemble, name="map", **options):
        scene, out = tmp_path / f"{name}_scene.tif", tmp_path / f"{name}.tif"
        write_raster(scene, image)
        members = tmp_path / f"{name}_members.tif"
        options = {"progress": False, "overlap": 0.0, "members": members} | options
        result = predict_map(scene, ensemble, out, **options)
        with rasterio.open(out) as map_, rasterio.open(members) as members_:
            return map_.read(1), members_.read(1), result

    return run


def crop(image, columns):
    return replace(image, pixels=image.pixels[:, :, columns], valid=image.valid[:, :, columns])


def layers(image, which):
    return replace(
        image, pixels=image.pixels[which], valid=image.valid[which], bands=image.bands[which]
    )


def test_a_window_without_a_sensor_goes_to_another_member(make_stack, make_ensemble, predict):
    valid = np.ones((64, 96), bool)
    valid[:, 32:64] = False
    ensemble = make_ensemble()
    image = make_stack(optical_valid=valid)
    classes, members, result = predict(image, ensemble)
    assert result.nodata_pixels == 0
    assert (members[:, :32] == OPTICAL).all()
    assert (members[:, 32:64] == RADAR).all()
    assert (members[:, 64:] == OPTICAL).all()
    # The windows there are mapped as a scene that has radar alone.
    radar = crop(image, slice(32, 64))
    radar = layers(radar, slice(4, 6))
    with pytest.warns(UserWarning, match="cannot run"):
        alone, *_ = predict(radar, ensemble, "alone")
    assert np.array_equal(classes[:, 32:64], alone)


def test_a_pixel_is_mapped_where_any_band_has_data(make_stack, make_ensemble, predict):
    optical, radar = np.ones((64, 96), bool), np.ones((64, 96), bool)
    optical[:20], radar[10:30] = False, False
    classes, members, result = predict(
        make_stack(optical_valid=optical, radar_valid=radar), make_ensemble()
    )
    empty = ~(optical | radar)
    assert result.nodata_pixels == empty.sum() == 10 * 96
    assert np.array_equal(classes == 255, empty)
    assert np.array_equal(members == 255, empty)


def test_the_map_is_the_networks_own_answer(make_stack, make_ensemble, predict):
    ensemble = make_ensemble(with_trunk=True, gate="routed", top_k=2)
    image = make_stack(32, 32)
    classes, *_ = predict(image, ensemble)
    own = ensemble.predict(
        torch.from_numpy(image.pixels[None]), image.bands, torch.from_numpy(image.valid[None])
    )
    assert np.array_equal(classes, own[0].argmax(0).numpy())


def part_windows(ensemble, images, bands):
    """Set the members' keys so that the gate parts these images between the two."""
    scorer = ensemble.gate.scorer
    asked = []
    hook = scorer.query.register_forward_hook(lambda _module, _inputs, query: asked.append(query))
    ensemble.route(images, bands)
    hook.remove()
    mean_K = asked[0].mean(0)
    step_K = 0.5 * (asked[0][0] - mean_K)
    with torch.no_grad():
        scorer.match.zero_()
        scorer.residual["radar@1:0:0"].copy_(mean_K + step_K)
        scorer.residual["optical@1:0:0"].copy_(mean_K - step_K)


def test_members_are_those_of_the_gate(make_stack, make_ensemble, predict):
    """Window by window, the one with the largest weight, in the ensemble's own words."""
    network = make_ensemble(with_trunk=True, gate="routed")
    image = make_stack()
    windows = [np.s_[r : r + 32, c : c + 32] for r in (0, 32) for c in (0, 32, 64)]
    images = torch.stack(
        [torch.from_numpy(image.pixels[(slice(None), *window)].copy()) for window in windows]
    )
    part_windows(network.ensemble, images, image.bands)
    _, members, _ = predict(image, network)
    weights = network.ensemble.gate_weights(images, image.bands)
    expected = (weights["radar@1.0.0"] > weights["optical@1.0.0"]).tolist()
    assert expected[0], "the case shows nothing if one member has it all"
    assert not all(expected)
    for window, is_radar in zip(windows, expected, strict=True):
        assert (members[window] == (RADAR if is_radar else OPTICAL)).all()


def test_members_are_named_and_coloured(make_stack, make_ensemble, predict):
    *_, result = predict(make_stack(), make_ensemble())
    with rasterio.open(result.members_path) as dataset:
        names = json.loads(dataset.tags()["TERRAGUILD_CLASSES"])
        colors = [dataset.colormap(1)[number] for number in range(3)]
    assert names == ["optical@1.0.0", "radar@1.0.0", "trunk alone"]
    assert len(set(colors)) == 3
    assert "radar@1.0.0" in result.members_path.with_suffix(".qml").read_text()


def test_stripes_leave_no_trace(make_stack, make_ensemble, predict, monkeypatch):
    valid = np.ones((64, 1100), bool)
    valid[:, 450:600] = False
    image = make_stack(64, 1100, optical_valid=valid)
    ensemble = make_ensemble()
    whole, members, _ = predict(image, ensemble, overlap=0.5)
    monkeypatch.setattr(_sweep, "_STRIPE_BYTES", 1)
    parts, members_of_parts, _ = predict(image, ensemble, "parts", overlap=0.5)
    assert np.array_equal(whole, parts)
    assert np.array_equal(members, members_of_parts)
    assert set(np.unique(members)) == {OPTICAL, RADAR}


def test_a_missing_sensor_is_told_with_who_cannot_run(make_stack, make_ensemble, predict):
    image = make_stack()
    optical = layers(image, slice(0, 4))
    with pytest.warns(
        UserWarning, match=r"lacks VV(.|\n)*VH(.|\n)*radar@1.0.0: missing VV"
    ) as told:
        _, members, _ = predict(optical, make_ensemble())
    assert "optical@1.0.0" not in str(told[0].message)
    assert told[0].filename == __file__
    assert (members == OPTICAL).all()


def test_nothing_is_said_where_nothing_is_missing(make_stack, make_ensemble, predict):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        predict(make_stack(), make_ensemble())


def test_bands_of_nobody(make_stack, make_ensemble, predict, tmp_path):
    image = make_stack()
    lone = layers(image, slice(4, 5))
    with pytest.raises(
        InputError, match=r"no member can run(.|\n)*optical@1.0.0(.|\n)*radar@1.0.0"
    ):
        predict(lone, make_ensemble())
    assert [path.name for path in tmp_path.glob("map*")] == ["map_scene.tif"]
    with pytest.warns(UserWarning, match="the trunk's own features"):
        _, members, _ = predict(lone, make_ensemble(with_trunk=True))
    assert (members == ALONE).all()


def test_no_band_at_all(make_stack, make_ensemble, predict, radar_bands):
    image = make_stack()
    lone = layers(image, slice(4, 5))
    blind = make_ensemble(bands=image.bands[:4], mean=(0.3,) * 4, std=(0.1,) * 4)
    with pytest.raises(MissingBandsError, match="blue"):
        predict(lone, blind)


def test_an_engine_of_ones_own_is_told_the_bands(make_stack, make_ensemble, predict):
    class Engine:
        def __call__(self, x_BCHW, valid_BCHW, bands):
            self.names = [band.name for band in bands]
            return np.eye(3, dtype=np.float32)[np.zeros(len(x_BCHW), int)]

        def choose(self, x_BCHW, valid_BCHW, bands):
            return np.full(len(x_BCHW), RADAR, np.uint8)

    engine = Engine()
    classes, members, _ = predict(make_stack(), make_ensemble(), backend=engine)
    assert engine.names == ["blue", "green", "red", "nir", "VV", "VH"]
    assert (classes == 0).all()
    assert (members == RADAR).all()


def test_a_specialist_has_no_members(scene, make_specialist, tmp_path):
    with pytest.raises(InputError, match="no members"):
        predict_map(
            scene, make_specialist(), tmp_path / "map.tif", members=tmp_path / "members.tif"
        )
    assert not (tmp_path / "map.tif").exists()
