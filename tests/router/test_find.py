from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from registry import Registry
from router import TRUNKS, build_trunk, find_trunk, find_trunk_spec, save_trunk
from router.find import find_trunk_pin
from router.manifest import Pin
from router.registering import register_trunk
from router.trunk_spec import DOFA_V1
from sensors import InputError
from specialists import SpecialistSpec, build_specialist


def test_a_trunk_is_found_by_file_and_by_run_folder(make_trunk, tmp_path):
    trunk = make_trunk()
    save_trunk(trunk, tmp_path / "run" / "weights.safetensors")
    for source in (tmp_path / "run", tmp_path / "run" / "weights.safetensors"):
        found = find_trunk(str(source))
        assert found.spec == find_trunk_spec(str(source)) == trunk.spec
        assert_close(found.state_dict(), trunk.state_dict(), rtol=0, atol=0)


def test_a_size_is_a_trunk_of_random_weights():
    torch.manual_seed(3)
    first, second = find_trunk("dofa-nano"), find_trunk("dofa-nano")
    assert first.spec == find_trunk_spec("dofa-nano") == TRUNKS["dofa-nano"]
    assert not torch.equal(first.cls_token, second.cls_token)
    assert not first.training


def test_published_weights_are_taken(tmp_path):
    published = build_trunk(replace(TRUNKS["dofa-small"], **DOFA_V1))
    path = tmp_path / "dofa.pth"
    torch.save(published.state_dict(), path)
    assert find_trunk_spec(str(path)) == published.spec
    assert_close(find_trunk(str(path)).state_dict(), published.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("source", ["", "nowhere", "dofa-tiny"])
def test_what_is_not_there_is_named(source, tmp_path):
    with pytest.raises(InputError, match=r"no trunk at .*dofa-nano"):
        find_trunk_spec(source)
    with pytest.raises(InputError, match=r"missing\.safetensors is not a file"):
        find_trunk(str(tmp_path / "missing.safetensors"))


@pytest.fixture
def registry(make_trunk, all_bands, tmp_path):
    """Two versions of a trunk that is named as a size, and a specialist."""
    registry = Registry.open(tmp_path / "registry")
    for version, depth in (("1.0.0", 4), ("1.1.0", 5)):
        trunk = make_trunk(depth=depth)
        register_trunk(registry, trunk, name="dofa-nano", version=version, license="MIT")
    spec = SpecialistSpec(
        task="similarity-search",
        bands=all_bands[:2],
        classes=(),
        mean=(0.1, 0.1),
        std=(0.1, 0.1),
        gsd=10,
        chip_size=16,
    )
    registry.add(build_specialist(spec), name="s2-start", version="1.0.0", license="MIT")
    return registry


@pytest.mark.parametrize(("source", "depth"), [("dofa-nano", 5), ("dofa-nano@1.0.0", 4)])
def test_a_registered_trunk_is_found_before_a_size(source, depth, registry, make_trunk):
    trunk = find_trunk(source, registry)
    assert not trunk.training
    assert trunk.spec == find_trunk_spec(source, registry) == make_trunk(depth=depth).spec
    assert_close(trunk.state_dict(), make_trunk(depth=depth).state_dict(), rtol=0, atol=0)


def test_a_pin_says_exactly_which_trunk_it_is(registry, make_trunk):
    trunk, pin = find_trunk_pin("dofa-nano", registry)
    assert pin == Pin("dofa-nano", "1.1.0", registry.card("dofa-nano@1.1.0").sha256)
    assert_close(trunk.state_dict(), make_trunk(depth=5).state_dict(), rtol=0, atol=0)
    assert find_trunk_pin("dofa-nano@1.0.0", registry)[1].version == "1.0.0"


def test_a_registry_hides_neither_sizes_nor_files(registry, make_trunk, tmp_path):
    assert find_trunk_spec("dofa-small", registry) == TRUNKS["dofa-small"]
    assert find_trunk_spec("dofa-nano") == TRUNKS["dofa-nano"]
    save_trunk(make_trunk(width=48), tmp_path / "own.safetensors")
    assert find_trunk(str(tmp_path / "own.safetensors"), registry).spec.width == 48


def test_only_registered_trunks_are_pinned(registry, make_trunk, tmp_path):
    save_trunk(make_trunk(), tmp_path / "own.safetensors")
    for source in ("dofa-small", str(tmp_path / "own.safetensors"), "nowhere"):
        with pytest.raises(InputError, match="register-specialist RUN --name"):
            find_trunk_pin(source, registry)


def test_what_is_registered_and_no_such_trunk_is_named(registry):
    for look in (find_trunk, find_trunk_spec, find_trunk_pin):
        with pytest.raises(InputError, match=r"s2-start@1\.0\.0 is a specialist, not a trunk"):
            look("s2-start", registry)
        with pytest.raises(InputError, match=r"no dofa-nano@7\.0\.0; it has dofa-nano@1\.0\.0"):
            look("dofa-nano@7.0.0", registry)
    with pytest.raises(InputError, match="nor is it in the registry"):
        find_trunk("nowhere", registry)
    file = registry.blob(registry.card("dofa-nano").sha256)
    file.chmod(0o644)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match="changed or damaged"):
        find_trunk_pin("dofa-nano", registry)
