"""Tensor shapes: B batch, C channels, H rows, W columns, K outputs."""

import subprocess
import sys
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensors import InputError, MissingBandsError
from specialists.compiled import (
    CompiledSpecialist,
    coarsest_reduction,
    compile_specialist,
    load_compiled,
)

pytest.importorskip("openvino")

TASKS = {
    "scene": {"task": "scene-classification"},
    "pool": {"task": "scene-classification", "head": "pool", "stem_stride": 2},
    "labels": {"task": "scene-classification", "head_hidden_size": 24, "multi_label": True},
    "unet": {"task": "semantic-segmentation"},
    "fpn": {"task": "semantic-segmentation", "decoder": "fpn", "stem_stride": 2},
    "linear": {"task": "semantic-segmentation", "decoder": "linear"},
    "values": {
        "task": "regression",
        "per_pixel": True,
        "target_mean": (1.0, 2.0, 3.0),
        "target_std": (4.0, 5.0, 6.0),
    },
    "backbone": {"task": "similarity-search", "classes": ()},
}


@pytest.fixture(scope="session")
def get_compiled(get_specialist):
    """The compiled form of `get_specialist(...)`, shared between tests."""

    @cache
    def get(name):
        return compile_specialist(get_specialist(**TASKS[name]))

    return get


def pixels(batch=2, height=40, width=24):
    generator = torch.Generator().manual_seed(height * 1000 + width)
    x_BCHW = torch.rand(batch, 4, height, width, generator=generator)
    return x_BCHW, torch.rand(x_BCHW.shape, generator=generator) > 0.1


def assert_same_answers(compiled, specialist, x_BCHW, valid):
    found = compiled.predict(x_BCHW, valid=valid)
    expected = specialist.predict(x_BCHW, valid=valid)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_every_task_and_head_answers_as_in_torch(name, get_compiled, get_specialist):
    compiled, specialist = get_compiled(name), get_specialist(**TASKS[name])

    for size in ((64, 64), (33, 47), (8, 100), (1, 1)):
        assert_same_answers(compiled, specialist, *pixels(2, *size))
    assert compiled.spec == specialist.spec
    assert coarsest_reduction(compiled.spec) == specialist.feature_info.reduction()[-1]


@pytest.mark.parametrize("name", ["scene", "unet"])
@settings(max_examples=12, deadline=None)
@given(batch=st.integers(0, 3), height=st.integers(1, 70), width=st.integers(1, 70))
def test_any_batch_of_any_size(name, batch, height, width, get_compiled, get_specialist):
    x_BCHW, valid = pixels(batch, height, width)
    assert_same_answers(get_compiled(name), get_specialist(**TASKS[name]), x_BCHW, valid)


def test_shapes_that_come_again_are_answered_alike(get_compiled, get_specialist):
    compiled, specialist = get_compiled("scene"), get_specialist(**TASKS["scene"])

    for size in (32, 48, 20, 33, 50, 32):  # more shapes than graphs are kept for
        first, *others = [compiled.predict(pixels(2, size, 32)[0]) for _ in range(5)]
        for other in others:
            torch.testing.assert_close(other, first, rtol=1e-4, atol=1e-5)
        assert_same_answers(compiled, specialist, *pixels(2, size, 32))


def test_an_answer_is_not_overwritten_by_the_next(get_compiled):
    compiled = get_compiled("scene")
    answers = [compiled.predict(pixels(2, 32, 32)[0]) for _ in range(4)]
    kept = [answer.clone() for answer in answers]
    compiled.predict(pixels(2, 32, 32)[0] + 1)

    assert all(torch.equal(*pair) for pair in zip(answers, kept, strict=True))


def test_bands_are_found_and_missing_ones_named(get_compiled, get_specialist):
    compiled, bands = get_compiled("scene"), get_compiled("scene").spec.bands
    x_BCHW, _ = pixels()
    shuffled = torch.cat([x_BCHW.flip(1), torch.full_like(x_BCHW[:, :1], 9)], dim=1)
    extra = type(bands[0])("swir", 1.6, 0.09)

    found = compiled.predict(shuffled, (*reversed(bands), extra))

    torch.testing.assert_close(found, compiled.predict(x_BCHW), rtol=1e-5, atol=1e-6)
    with pytest.raises(MissingBandsError, match="red"):
        compiled.predict(x_BCHW[:, :1], bands[:1])


def test_the_specialist_is_left_as_it_is(get_specialist):
    specialist = get_specialist(**TASKS["pool"])
    before = {name: weight.clone() for name, weight in specialist.state_dict().items()}

    compile_specialist(specialist)

    assert all(torch.equal(before[name], w) for name, w in specialist.state_dict().items())


def test_saved_and_loaded_graphs_answer_alike(tmp_path, get_compiled, get_specialist):
    compiled = get_compiled("unet")
    graph, constants = compiled.save(tmp_path)
    elsewhere = constants.rename(tmp_path / "other.bin")

    again = load_compiled(graph, elsewhere)

    assert (again.spec, again.precision) == (compiled.spec, "float32")
    x_BCHW, _ = pixels(1, 32, 32)
    expected = get_specialist(**TASKS["unet"]).predict(x_BCHW)
    torch.testing.assert_close(again.predict(x_BCHW), expected, rtol=1e-5, atol=1e-6)
    copies = again.save(tmp_path / "copy")
    assert [p.read_bytes() for p in copies] == [graph.read_bytes(), elsewhere.read_bytes()]


def test_nothing_is_written_over(tmp_path, get_compiled):
    compiled = get_compiled("scene")
    compiled.save(tmp_path)
    with pytest.raises(InputError, match="there already"):
        compiled.save(tmp_path)


def test_files_that_are_no_specialists_graph_are_refused(tmp_path, get_compiled):
    graph, constants = get_compiled("scene").save(tmp_path)
    text = graph.read_text()

    with pytest.raises(InputError, match=r"nowhere.*is not a file"):
        load_compiled(tmp_path / "nowhere.xml")
    for broken in (text[: len(text) // 2], "no xml", text.replace("<terraguild", "<other")):
        graph.write_text(broken)
        with pytest.raises(InputError, match="not the whole graph"):
            load_compiled(graph)
    graph.write_text(
        text.replace(r"\&quot;forest\&quot;,", r"\&quot;forest\&quot;,\&quot;sea\&quot;,")
    )
    with pytest.raises(InputError, match="4 values each"):
        load_compiled(graph)
    graph.write_text(text)
    constants.write_bytes(constants.read_bytes()[:1000])
    with pytest.raises(InputError, match="not the whole graph"):
        load_compiled(graph)


def test_an_unknown_precision_is_refused(get_compiled):
    compiled = get_compiled("scene")
    with pytest.raises(InputError, match="int4"):
        CompiledSpecialist(compiled.spec, compiled.model, "int4")


def test_a_signal_is_handled_after_two_of_them_were_let_go(tmp_path, get_compiled):
    """In a process of its own: where this fails, the signal ends the process."""
    get_compiled("linear").save(tmp_path / "graph")
    program = """
import signal, sys, torch
from specialists.compiled import load_compiled
first, second = (load_compiled(sys.argv[1]) for _ in range(2))
for compiled in (first, second):
    compiled.predict(torch.zeros(1, len(compiled.spec.bands), 32, 32))
del compiled, first
del second
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
signal.raise_signal(signal.SIGUSR1)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "graph")]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert finished.stdout == "handled\n", finished.stderr


def test_without_openvino_it_is_said_what_to_install(monkeypatch, get_specialist):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"openvino.*pip install 'terraguild\[openvino\]'"):
        compile_specialist(get_specialist(**TASKS["scene"]))
