"""Commands that train may start from what is registered."""

import sys

import pytest
import torch
import yaml

from registry import Registry
from registry.training import find_start, pretrain_main, train_main
from sensors import InputError
from specialists import build_specialist, load_specialist
from specialists.config import PretrainedConfig

SHORT = ["trainer.epochs=1", "trainer.batch_size=8", "trainer.accelerator=cpu"]


@pytest.fixture
def start(registry, new_spec):
    """A backbone registered twice; the second version is another one."""
    for version, seed in (("1.0.0", 0), ("1.1.0", 1)):
        torch.manual_seed(seed)
        backbone = build_specialist(new_spec(task="similarity-search", classes=()))
        registry.add(backbone, name="s2-start", version=version, license="CC-BY-4.0")
    return registry


@pytest.fixture
def registry(tmp_path):
    return Registry.open(tmp_path / "registry")


def test_a_start_is_the_verified_file_of_one_version_with_its_licence(start):
    found = find_start(PretrainedConfig(registry="s2-start"), start)
    assert (found.registry, found.licence) == ("s2-start@1.1.0", "CC-BY-4.0")
    assert load_specialist(found.file).spec == start.card("s2-start@1.1.0").spec
    older = find_start(PretrainedConfig(registry="s2-start@1.0.0", licence="MIT"), start)
    assert (older.registry, older.licence) == ("s2-start@1.0.0", "MIT")
    assert older.file != found.file


def test_a_start_that_is_absent_or_damaged_is_refused(start, tmp_path):
    with pytest.raises(InputError, match="s1-start"):
        find_start(PretrainedConfig(registry="s1-start"), start)
    file = start.weights("s2-start")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)
    with pytest.raises(InputError, match=file.name):
        find_start(PretrainedConfig(registry="s2-start"), start)


@pytest.mark.slow
def test_from_a_pretraining_over_the_registry_to_a_specialist(toy_data, tmp_path, monkeypatch):
    monkeypatch.setenv("TERRAGUILD_REGISTRY", str(tmp_path / "registry"))
    monkeypatch.setattr(sys, "argv", ["pretrain-backbone", *SHORT, "data=unlabelled"])
    sys.argv += [f"data.train.images='{toy_data}/scenes/**/*.png'", "data.gsd=1"]
    sys.argv += ["data.sensor=rgb-aerial"]
    sys.argv += [f"run_dir={tmp_path / 'start'}", "data.split.fractions={selection: 0.3}"]
    pretrain_main()
    card = Registry.open().add(
        tmp_path / "start", name="toy-start", version="1.0.0", license="CC0-1.0"
    )
    assert card.metrics["floors"]["patch_mean"]["masked_mse"] > 0
    assert "without a task" in card.description

    monkeypatch.setattr(sys, "argv", ["train-specialist", *SHORT, "data=folders"])
    sys.argv += [f"data.train.folder={toy_data / 'scenes'}", "data.sensor=rgb-aerial"]
    sys.argv += ["data.gsd=1", f"run_dir={tmp_path / 'run'}"]
    sys.argv += ["specialist.pretrained.registry=toy-start"]
    train_main()
    recorded = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["specialist"]
    assert recorded["pretrained"]["registry"] == "toy-start@1.0.0"
    specialist_card = Registry.open().add(tmp_path / "run", name="toy-scenes", version="1.0.0")
    pretrained = specialist_card.training["pretrained"]
    assert pretrained["sha256"] == card.sha256
    assert (pretrained["registry"], pretrained["licence"]) == ("toy-start@1.0.0", "CC0-1.0")
