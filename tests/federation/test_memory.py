"""What a node keeps from round to round."""

import os
import time

import numpy as np
import pytest

from federation.memory import Memory
from sensors.errors import InputError

KEY = "0123456789abcdef"


@pytest.fixture
def memory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return Memory(KEY, 3)


def arrays(value):
    return {"weight/exp_avg": np.full(3, value, np.float32)}


def test_a_round_that_is_done_again_begins_as_it_did(memory):
    assert memory.load(1, "moments") is None
    memory.keep(1, "moments", arrays(1))
    memory.keep(2, "moments", arrays(2))
    for number, value in ((2, 1), (3, 2), (9, 2)):
        np.testing.assert_array_equal(
            memory.load(number, "moments")["weight/exp_avg"], arrays(value)["weight/exp_avg"]
        )
    memory.keep(3, "moments", arrays(3))
    assert memory.load(2, "moments") is None
    assert len(list(memory.folder.iterdir())) == 2


def test_parts_and_nodes_are_kept_apart(memory):
    memory.keep(1, "moments", arrays(1))
    assert memory.load(2, "norms") is None
    assert Memory(KEY, 4).load(2, "moments") is None


def test_what_cannot_be_read_is_not_used(memory):
    memory.keep(1, "moments", arrays(1))
    (memory.folder / "moments-1.safetensors").write_bytes(b"nothing of use")
    assert memory.load(2, "moments") is None


def test_in_the_end_nothing_is_left(memory):
    memory.keep(1, "moments", arrays(1))
    given_up = Memory("f" * 16, 0)
    given_up.keep(1, "moments", arrays(1))
    younger = Memory("e" * 16, 0)
    younger.keep(1, "moments", arrays(1))
    long_ago = time.time() - 60 * 24 * 3600
    os.utime(given_up.folder.parent, (long_ago, long_ago))
    memory.forget()
    assert [path.name for path in memory.folder.parents[1].iterdir()] == ["e" * 16]


@pytest.mark.parametrize("key", ["", "../../../etc", "0123456789ABCDEF", KEY + "\n"])
def test_a_server_cannot_choose_the_folder(memory, key):
    with pytest.raises(InputError, match="16 hexadecimal digits"):
        Memory(key, 0)
