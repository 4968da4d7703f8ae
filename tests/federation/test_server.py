"""Whole runs, in this process."""

import json
import re

import numpy as np
import pytest

from federation.checkpoint import RunState
from federation.memory import Memory
from rasters.simulate import simulate_scene, write_scene
from registry import Registry
from sensors.errors import InputError
from specialists.files import load_specialist

from .nodes import altered_app, dying_app, with_nan, with_nan_bytes, with_other_shape

pytestmark = pytest.mark.slow


def card_of(settings, name="simulated-federated"):
    return Registry.open(settings.registry).specialist(name)


def test_a_run_ends_in_the_registry(make_settings, run, tmp_path, scenes):
    settings = make_settings()
    state, grid = run(settings)
    card = card_of(settings)
    assert str(card.reference) == "simulated-federated@1.0.0"
    told = card.training["federation"]
    assert (told["rounds"], told["nodes"], told["strategy"]) == (2, 2, "fedavg")
    assert [entry["round"] for entry in told["history"]] == [1, 2]
    assert all("miou" in entry for entry in told["history"])
    assert (told["nodes_that_publish"], told["chips_published"]) == (0, 0)
    text = json.dumps(card.to_stac_item())
    assert not any(str(node) in text for node in grid.contexts)
    assert str(scenes) not in text
    assert {"linear_statistics", "majority"} <= set(card.metrics["floors"])
    assert "miou" in card.metrics["test"]
    network = Registry.open(settings.registry).get("simulated-federated")
    for name, array in state.best.items():
        np.testing.assert_array_equal(network.state_dict()[name].numpy(), array)
    assert (tmp_path / "run" / "rounds.png").stat().st_size > 10_000


def test_only_nodes_that_agree_are_counted(make_settings, run):
    nodes = [
        {"partition-id": number, "num-partitions": 2, "publish": publish}
        for number, publish in enumerate(("count", "nothing"))
    ]
    settings = make_settings(rounds=1)
    run(settings, nodes)
    told = card_of(settings).training["federation"]
    assert (told["nodes"], told["nodes_that_publish"], told["chips_published"]) == (2, 1, 32)


@pytest.mark.parametrize("strategy", ["fedavg", "fedadam"])
def test_a_server_that_was_killed_goes_on_where_it_was(
    make_settings, run, tmp_path, own_cache, strategy
):
    whole, _ = run(make_settings(strategy=strategy, rounds=3, run_dir=str(tmp_path / "whole")))
    settings = make_settings(strategy=strategy, rounds=3)
    with pytest.raises(KeyboardInterrupt):
        run(settings, app=dying_app(tmp_path / "run", 1))
    assert len(RunState.load(tmp_path / "run").history) == 1
    gone_on, _ = run(settings)
    assert [found.number for found in gone_on.history] == [1, 2, 3]
    for name, array in whole.common.items():
        np.testing.assert_array_equal(array, gone_on.common[name])
    assert not (own_cache / "terraguild" / "federation" / gone_on.key).exists()
    with pytest.raises(InputError, match="holds another run: strategy"):
        run(make_settings(strategy="median", rounds=3))


def test_a_finished_run_is_not_registered_twice(make_settings, run):
    settings = make_settings(rounds=1)
    run(settings)
    run(settings)
    assert len(Registry.open(settings.registry).store.references("simulated-federated")) == 1


@pytest.mark.parametrize(
    ("change", "packed", "reason"),
    [
        (with_nan, False, "NaN or infinities"),
        (with_nan_bytes, True, "NaN or infinities"),
        (with_other_shape, True, r"shape \(2,\) came"),
    ],
)
def test_updates_that_cannot_be_used_are_left_out(
    make_settings, run, flower_log, change, packed, reason
):
    state, _ = run(make_settings(rounds=1), 3, app=altered_app(change, packed=packed))
    assert (state.history[0].asked, state.history[0].answered) == (3, 2)
    assert all(np.isfinite(array).all() for array in state.common.values())
    flower_log.text.index("node 1001 is left out")
    assert re.search(reason, flower_log.text)


def test_nodes_with_a_fault_say_so_and_the_others_go_on(make_settings, run, flower_log, tmp_path):
    scenes = make_settings().data_root
    nodes = [
        {"data-root": scenes},
        {"data-root": scenes, "overrides": "data.classes=[a,b]"},
        {"data-root": str(tmp_path / "nowhere")},
        {"data-rooot": scenes},
        {"data-root": scenes},
    ]
    state, _ = run(make_settings(rounds=1, partition="none"), nodes)
    assert (state.nodes, state.history[0].answered) == (2, 2)
    for reason in ("nowhere", "unknown key data-rooot; did you mean data-root"):
        assert reason in flower_log.text


def test_nodes_need_no_chips_to_test_on(make_settings, run, tmp_path):
    nodes = []
    for number in (1, 2):
        folder = tmp_path / f"holder-{number}"
        for seed in (10 * number, 10 * number + 1):
            place = folder / "simulated" / "train" / f"scene-{seed}"
            write_scene(place, simulate_scene(seed, size=64))
        nodes.append({"data-root": str(folder)})
    settings = make_settings(rounds=1, partition="none")
    state, _ = run(settings, nodes)
    assert (state.nodes, state.history[0].answered) == (2, 2)
    assert "miou" in card_of(settings).metrics["test"]


def test_nodes_in_a_simulation_cannot_hold_their_own(make_settings, run, flower_log):
    with pytest.raises(InputError, match="no node"):
        run(make_settings(), [{}, {}])
    assert "run with partition=none" in flower_log.text


def test_nodes_without_any_answer_leave_the_weights_as_they_were(make_settings, run):
    def refuse(number, arrays):
        raise InputError("out of order")

    state, _ = run(make_settings(rounds=1), app=altered_app(refuse))
    assert state.history[0].answered == 0
    assert not state.history[0].released


def test_the_head_alone_is_sent(make_settings, run, tmp_path):
    run(make_settings(rounds=1, name="whole"))
    settings = make_settings(
        rounds=1, name="tuned", start="whole@1.0.0", train="head", run_dir=str(tmp_path / "two")
    )
    state, _ = run(settings)
    assert all(name.startswith("head.") for name in state.common)
    found = Registry.open(settings.registry)
    before, after = (found.get(name).state_dict() for name in ("whole", "tuned"))
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed
    assert all(name.startswith("head.") for name in changed)
    assert found.specialist("tuned").parents == ("whole@1.0.0",)
    assert state.history[0].bytes_up < 200_000


def test_few_bytes_go_a_long_way(make_settings, run, tmp_path):
    found = {}
    for precision in ("float32", "float16", "int8"):
        settings = make_settings(precision=precision, run_dir=str(tmp_path / precision))
        found[precision], _ = run(settings)
    sent = {
        name: sum(entry.bytes_up + entry.bytes_down for entry in state.history)
        for name, state in found.items()
    }
    assert sent["float16"] < 0.51 * sent["float32"]
    assert sent["int8"] < 0.26 * sent["float32"]
    wanted = found["float32"].common
    moved = {
        name: np.abs(found["int8"].common[name] - array).max() for name, array in wanted.items()
    }
    assert max(moved.values()) < 0.05


def test_norms_stay_local(make_settings, run, monkeypatch):
    monkeypatch.setattr(Memory, "forget", lambda memory: None)
    state, _ = run(make_settings(local_norms=True))
    kept = [Memory(state.key, node).load(3, "norms") for node in (0, 1)]
    name = next(name for name in kept[0] if name.endswith("weight"))
    first, second = (arrays[name] for arrays in kept)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, state.common[name])


def test_sensors_share_all_weights(make_settings, run):
    settings = make_settings(
        sensors="sentinel-2-l2a,landsat-8-c2-l2,sentinel-2-l2a:B04+B03+B02",
        overrides=f"{make_settings().overrides} specialist.stem=wavelength",
        rounds=1,
    )
    state, _ = run(settings, 3)
    assert state.history[0].answered == 3
    network = load_specialist(settings.folder / "weights.safetensors")
    assert len(network.bands) > 12


def test_the_gate_keeps_what_is_worse_outside(make_settings, run, tmp_path, flower_log):
    run(make_settings(rounds=4, overrides=make_settings().overrides + " trainer.lr=1e-2"))

    def spoil(number, arrays):
        return {name: np.zeros_like(array) for name, array in arrays.items()}

    settings = make_settings(rounds=1, run_dir=str(tmp_path / "worse"))
    run(settings, app=altered_app(spoil))
    assert len(Registry.open(settings.registry).store.references("simulated-federated")) == 1
    assert "Not registered: simulated-federated@1.0.0 is better" in flower_log.text
    assert (settings.folder / "weights.safetensors").exists()


def test_a_name_of_another_task_is_refused_before_any_work(make_settings, run, tmp_path):
    run(make_settings(rounds=1))
    settings = make_settings(
        overrides=make_settings().overrides + " data.classes=[a,b,c,d,e,f,g]",
        run_dir=str(tmp_path / "other"),
    )
    with pytest.raises(InputError):
        run(settings)


def test_versions_on_the_way(make_settings, run):
    settings = make_settings(rounds=3, register_every=1, max_drop=1.0)
    run(settings)
    found = Registry.open(settings.registry).store.references("simulated-federated")
    assert [reference.version for reference in found] == ["1.0.0", "1.1.0", "1.2.0"]
