import os
from pathlib import Path

import pytest

from registry.checksum import blob_hashes, file_sha256
from registry.names import Reference
from registry.store import Store
from sensors.errors import InputError

ONE = Reference("s2-landcover", "1.0.0")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "registry")


@pytest.fixture
def add(store, new_card, write_weights):
    """Adds a model whose weights depend on a seed; returns their hash."""

    def add_one(reference=ONE, seed=0):
        path, sha256 = write_weights(seed=seed)
        card = new_card(name=reference.name, version=reference.version, sha256=sha256)
        store.add(reference, card.to_stac_item(), {sha256: path})
        return sha256

    return add_one


def contents(store):
    return {
        str(path.relative_to(store.root)): path.read_bytes()
        for path in store.root.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_layout(store, add):
    sha256 = add()

    assert set(contents(store)) == {
        "cards/s2-landcover/1.0.0.json",
        f"blobs/sha256/{sha256}.safetensors",
    }
    assert store.read_card(ONE)["properties"]["mlm:name"] == "s2-landcover"
    assert file_sha256(store.read_blob(sha256)) == sha256


def test_the_card_points_to_its_blob(store, add):
    sha256 = add()

    href = store.read_card(ONE)["assets"]["weights"]["href"]
    assert (store.card_path(ONE).parent / href).resolve() == store.blob_path(sha256)


def test_a_version_never_changes(store, add):
    add()
    before = contents(store)

    for seed in (0, 1):  # not even to the same thing
        with pytest.raises(InputError, match=r"s2-landcover@1\.0\.0 is in the registry .* already"):
            add(seed=seed)
    assert contents(store) == before


def test_weights_used_twice_are_stored_once(store, add):
    sha256 = add()
    assert add(Reference("other", "1.0.0")) == sha256
    assert len(list((store.root / "blobs" / "sha256").iterdir())) == 1

    store.remove(ONE)
    assert store.read_blob(sha256)
    store.remove(Reference("other", "1.0.0"))
    assert contents(store) == {}


def test_references_are_ordered_by_version_number(store, add):
    for version in ("1.10.0", "1.9.0", "0.1.0"):
        add(Reference("s2-landcover", version))
    add(Reference("a-first", "3.0.0"))

    assert [str(reference) for reference in store.references()] == [
        "a-first@3.0.0",
        "s2-landcover@0.1.0",
        "s2-landcover@1.9.0",
        "s2-landcover@1.10.0",
    ]
    assert store.resolve("s2-landcover") == Reference("s2-landcover", "1.10.0")
    assert store.resolve("s2-landcover@1.9.0").version == "1.9.0"


def test_what_is_not_there_is_named_with_what_is(store, add):
    with pytest.raises(InputError, match="no s2-landcover; it is empty"):
        store.resolve("s2-landcover")
    add()
    with pytest.raises(InputError, match=r"no s2-landcovr; it has s2-landcover$"):
        store.resolve("s2-landcovr")
    with pytest.raises(InputError, match=r"no s2-landcover@2\.0\.0; it has s2-landcover@1\.0\.0"):
        store.resolve("s2-landcover@2.0.0")


def test_a_flipped_bit_is_refused_with_the_name_of_the_file(store, add):
    path = store.blob_path(add())
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)

    with pytest.raises(InputError, match=f"{path}: .* changed or damaged"):
        store.read_blob(path.stem)


def test_adding_the_same_weights_heals_a_damaged_blob(store, add):
    path = store.blob_path(add())
    path.chmod(0o644)
    path.write_bytes(b"damaged")

    add(Reference("other", "1.0.0"))

    assert store.read_blob(path.stem) == path


def test_a_missing_blob_is_refused_with_its_name(store, add):
    path = store.blob_path(add())
    path.unlink()

    with pytest.raises(InputError, match=f"{path}: no such file"):
        store.read_blob(path.stem)


def test_weights_of_another_hash_are_not_added(store, new_card, write_weights):
    path, _ = write_weights()

    with pytest.raises(InputError, match="its hash is not"):
        store.add(ONE, new_card().to_stac_item(), {"0f" * 32: path})
    assert contents(store) == {}


@pytest.mark.parametrize("value", [float("nan"), object()])
def test_cards_that_are_not_json_are_not_added(value, store, write_weights):
    path, sha256 = write_weights()

    with pytest.raises(InputError, match="not plain JSON"):
        store.add(ONE, {"value": value}, {sha256: path})
    assert contents(store) == {}


@pytest.mark.parametrize("part", ["cards", "cards/s2-landcover", "blobs", "incoming"])
def test_a_folder_that_leads_out_is_refused(part, store, add, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    link = store.root / part
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside)

    with pytest.raises(InputError, match="symbolic link"):
        add()
    assert not list(outside.rglob("*"))


def test_files_that_lead_out_are_not_read(store, add, tmp_path):
    sha256 = add()
    for path in (store.card_path(ONE), store.blob_path(sha256)):
        path.rename(tmp_path / path.name)
        path.symlink_to(tmp_path / path.name)

    with pytest.raises(InputError, match="symbolic link"):
        store.read_card(ONE)
    with pytest.raises(InputError, match="symbolic link"):
        store.read_blob(sha256)


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000, b"[]"])
def test_a_damaged_card_is_named_and_can_be_removed(content, store, add):
    add()
    path = store.card_path(ONE)
    path.chmod(0o644)
    path.write_bytes(content)

    with pytest.raises(InputError, match=str(path)):
        store.read_card(ONE)
    store.remove(ONE)
    assert contents(store) == {}


def test_an_oversized_card_is_not_read(store, add):
    add()
    path = store.card_path(ONE)
    path.chmod(0o644)
    os.truncate(path, 10**10)

    with pytest.raises(InputError, match="not a card"):
        store.read_card(ONE)


def test_no_blob_goes_while_a_card_cannot_be_read(store, add):
    sha256 = add()
    add(Reference("other", "1.0.0"), seed=1)
    path = store.card_path(ONE)
    path.chmod(0o644)
    path.write_bytes(b"{")

    store.remove(Reference("other", "1.0.0"))

    assert store.read_blob(sha256)


def test_sweep_deletes_what_no_card_needs(store, add, write_weights):
    sha256 = add()
    (store.root / "incoming" / "half").write_bytes(b"half")
    orphan = store.blob_path("ab" * 32)
    orphan.write_bytes(b"orphan")

    assert {path.name for path in store.sweep()} == {"half", orphan.name}
    assert store.sweep() == ()
    assert store.read_blob(sha256)


def test_files_of_others_are_no_cards(store, add):
    add()
    (store.root / "cards" / "README.md").write_text("hello")
    (store.root / "cards" / "s2-landcover" / "notes.json").write_text("{}")
    (store.root / "cards" / "Not A Name").mkdir()

    assert store.references() == (ONE,)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_an_input_error(store, add):
    store.root.mkdir()
    store.root.chmod(0o555)
    with pytest.raises(InputError, match="cannot change the registry"):
        add()


def test_a_file_in_place_of_the_folder_is_an_input_error(store, add):
    store.root.write_text("")
    with pytest.raises(InputError, match="cannot change the registry"):
        add()


# Real processes. Each script forks after its imports, which take seconds.

ADD = """
import hashlib, json, os, signal, sys, time
from pathlib import Path
from registry.names import Reference
from registry.store import Store
from sensors.errors import InputError

root = Path(sys.argv[1])

def add(root, name, version="1.0.0"):
    content = name.encode() * 1000
    source = root.parent / name
    if not source.exists():
        source.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    card = {"assets": {"weights": {"file:checksum": "1220" + sha256}}}
    Store(root).add(Reference(name, version), card, {sha256: source})
"""


def assert_sound(store: Store) -> None:
    """Every card can be read and has its blob, whole."""
    for reference in store.references():
        for sha256 in blob_hashes(store.read_card(reference)):
            assert store.read_blob(sha256)


def test_eight_processes_lose_nothing(store, run_python):
    script = """
(root.parent / "shared-name").write_bytes(b"shared-name" * 1000)
start = time.monotonic() + 0.2
children = []
for number in range(8):
    read, write = os.pipe()
    if os.fork() == 0:
        time.sleep(max(0, start - time.monotonic()))
        wins = 0
        for turn in range(6):
            add(root, f"own-{number}-{turn}")
            try:
                add(root, "shared-name", f"1.0.{turn}")
                wins += 1
            except InputError:
                pass
        os.write(write, bytes([wins]))
        os._exit(0)
    children.append(read)
for _ in children:
    assert os.wait()[1] == 0
print(sum(os.read(read, 1)[0] for read in children))
"""
    wins = run_python(ADD + script, store.root)

    assert int(wins) == 6  # of each shared version, one process's
    expected = {f"own-{number}-{turn}@1.0.0" for number in range(8) for turn in range(6)}
    expected |= {f"shared-name@1.0.{turn}" for turn in range(6)}
    assert {str(reference) for reference in store.references()} == expected
    assert_sound(store)
    assert store.sweep() == ()


DIE_AT = """
import io, shutil

def die_at(step):
    '''Let this process be killed at its step-th call that touches the disk, before or halfway.'''
    count = 0
    def killing(real, name):
        def call(*arguments, **options):
            nonlocal count
            count += 1
            if count == step:
                if name == "copyfileobj":
                    source, target = arguments[:2]
                    target.write(source.read(100))
                    target.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)
        return call
    calls = ["mkdir", "link", "unlink", "rename", "replace", "rmdir", "fchmod", "fsync"]
    places = [(os, name) for name in calls] + [(io, "open"), (shutil, "copyfileobj")]
    for module, name in places:
        setattr(module, name, killing(getattr(module, name), name))

def until_it_survives(prepare, act):
    '''Fork a process for each step at which it can die; returns the number of steps.'''
    root.mkdir()
    for step in range(1, 100):
        folder = root / str(step)
        prepare(folder)
        if os.fork() == 0:
            die_at(step)
            act(folder)
            os._exit(0)
        _, status = os.wait()
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            return step - 1
"""


def test_an_addition_killed_at_any_step_is_whole_or_absent(store, run_python):
    script = """
print(until_it_survives(lambda folder: add(folder, "before"), lambda folder: add(folder, "new")))
"""
    steps = int(run_python(ADD + DIE_AT + script, store.root))

    assert steps > 10
    outcomes = set()
    for step in range(1, steps + 1):
        found = Store(store.root / str(step))
        assert_sound(found)
        names = {reference.name for reference in found.references()}
        assert names >= {"before"}
        outcomes.add("new" in names)
        if "new" not in names:  # what was left behind is in nobody's way
            card = found.read_card(Reference("before", "1.0.0"))
            blobs = {sha256: store.root / "before" for sha256 in blob_hashes(card)}
            found.add(Reference("new", "1.0.0"), card, blobs)
        found.sweep()
        assert_sound(found)
        assert not list((found.root / "incoming").iterdir())
    assert outcomes == {True, False}


def test_the_very_first_addition_killed_at_any_step(store, run_python):
    script = "print(until_it_survives(lambda folder: None, lambda folder: add(folder, 'new')))"
    steps = int(run_python(ADD + DIE_AT + script, store.root))

    assert steps > 10
    for step in range(1, steps + 1):
        found = Store(store.root / str(step))
        assert_sound(found)
        if not found.references():
            found.sweep()
            assert contents(found) == {}


def test_a_removal_killed_at_any_step(store, run_python):
    script = """
def prepare(folder):
    add(folder, "stays")
    add(folder, "goes")

print(until_it_survives(prepare, lambda folder: Store(folder).remove(Reference("goes", "1.0.0"))))
"""
    steps = int(run_python(ADD + DIE_AT + script, store.root))

    assert steps > 2
    for step in range(1, steps + 1):
        found = Store(store.root / str(step))
        assert_sound(found)
        assert {reference.name for reference in found.references()} >= {"stays"}


def test_processes_killed_at_random_moments(store, run_python):
    script = """
import random
random.seed(0)
for life in range(20):
    child = os.fork()
    if child == 0:
        for turn in range(1000):
            add(root, f"model-{life}-{turn}")
    time.sleep(random.uniform(0.001, 0.2))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""
    run_python(ADD + script, store.root)

    before = store.references()
    assert len(before) > 10
    assert_sound(store)
    store.sweep()
    assert store.references() == before
    assert_sound(store)


def test_the_lock_of_a_killed_process_is_free(store, run_python):
    script = """
if os.fork() == 0:
    with Store(root)._lock():
        os.kill(os.getpid(), signal.SIGKILL)
os.wait()
add(root, "after")
"""
    run_python(ADD + script, store.root)

    assert store.references() == (Reference("after", "1.0.0"),)


def test_no_process_writes_beside_another(store, write_weights, monkeypatch):
    monkeypatch.setattr("registry.store.LOCK_TIMEOUT", 0.05)
    path, sha256 = write_weights()

    with (
        store._lock(),
        pytest.raises(InputError, match="another process has been writing"),
    ):
        Store(Path(store.root)).add(ONE, {}, {sha256: path})
