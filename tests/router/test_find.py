from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from router import TRUNKS, build_trunk, find_trunk, find_trunk_spec, save_trunk
from router.trunk_spec import DOFA_V1
from sensors import InputError


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
