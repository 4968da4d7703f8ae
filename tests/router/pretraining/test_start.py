"""Where a pretraining starts, and what is known of what came before."""

import hashlib
import json
from dataclasses import replace

import pytest
import torch

from router import TRUNKS, build_trunk, load_trunk, read_trunk_spec
from router.pretraining import DecoderConfig
from router.pretraining.decoder import TrunkDecoder
from router.pretraining.start import find_start, learned_sources, save_decoder
from router.trunk_spec import DOFA_V1
from sensors import InputError
from specialists.run import RunFolder

SMALL = DecoderConfig(width=32, depth=1, num_heads=2)


@pytest.fixture
def earlier(tiny_trunk, tmp_path):
    """The folder of an earlier pretraining, and its decoder."""
    run = RunFolder(tmp_path)
    run.weights.write_bytes(tiny_trunk.read_bytes())
    decoder = TrunkDecoder(read_trunk_spec(tiny_trunk), SMALL)
    save_decoder(decoder, run)
    sources = [{"name": "b", "weight": 1.0}, {"name": "c", "weight": 0.0}]
    run.write_json("training.json", {"data": {"sources": sources}, "start": {"sources": ["a"]}})
    run.write_json("metrics.json", {})
    return run, decoder


def test_a_name_is_a_size_with_random_weights():
    start = find_start("dofa-nano")
    assert start.spec == TRUNKS["dofa-nano"]
    assert start.describe() is None
    assert start.decoder_file is None


def test_a_trunk_alone_has_no_decoder_and_no_past(tiny_trunk):
    start = find_start(str(tiny_trunk))
    assert start.decoder_file is None
    digest = hashlib.sha256(tiny_trunk.read_bytes()).hexdigest()
    assert start.describe() == {"file": tiny_trunk.name, "sha256": digest, "sources": []}
    weights = load_trunk(tiny_trunk).state_dict()
    built = start.build(start.spec).state_dict()
    assert all(torch.equal(built[name], value) for name, value in weights.items())


@pytest.mark.parametrize("as_file", [True, False])
def test_a_run_has_its_decoder_and_sources(earlier, as_file):
    run, decoder = earlier
    start = find_start(str(run.weights if as_file else run.path))
    assert start.describe()["sources"] == ["a", "b"]  # c was only scored
    again = TrunkDecoder(start.spec, SMALL)
    start.load_decoder(again)
    wanted = decoder.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in again.state_dict().items())


def test_an_unfinished_run_is_only_a_trunk(earlier):
    run, _ = earlier
    (run.path / "metrics.json").unlink()
    assert find_start(str(run.path)).describe()["sources"] == []


def test_sources_of_all_trainings_are_known_once():
    again = {"data": {"sources": [{"name": "a", "weight": 1}]}, "start": {"sources": ["b", "a"]}}
    assert learned_sources(again) == ["b", "a"]
    assert learned_sources(again | {"start": None}) == ["a"]
    json.dumps(again)


def test_what_is_no_trunk_is_refused(earlier, tmp_path):
    run, _ = earlier
    with pytest.raises(InputError, match="dofa-nano"):
        find_start("dofa-mini")
    run.weights.unlink()
    with pytest.raises(InputError):
        find_start(str(run.path))


def test_published_weights_are_a_start(tmp_path):
    published = build_trunk(replace(TRUNKS["dofa-small"], **DOFA_V1))
    torch.save(published.state_dict(), tmp_path / "dofa.pth")
    start = find_start(str(tmp_path / "dofa.pth"))
    assert start.describe()["sources"] == []
    built = start.build(start.spec)
    assert built.spec.sar_convention == "dofa-v1"
    assert torch.equal(built.cls_token, published.cls_token)
