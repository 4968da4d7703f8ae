"""The content-addressed store: weights by their hash, cards by name and version, all immutable.

    cards/<name>/<version>.json        a STAC Item; its assets name the blobs, by checksum
    blobs/sha256/<hash>.safetensors    weights
    blobs/sha256/<hash>.xml, .bin      the two files of a compiled form
    incoming/                          files on their way in; litter, while nobody writes
    .lock                              held by whoever adds or removes

A model is added blob first and card last, and each appears as a hard link to a complete,
synchronised file: a link is made wholly or not at all, and never replaces anything. A crash at any
moment leaves at worst a file in `incoming` or a blob that no card names; `sweep` removes both.
Readers take no lock.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from registry.checksum import blob_hashes, file_sha256
from registry.item import WEIGHTS_SUFFIX
from registry.names import Reference, check_name, check_version, version_key
from sensors.errors import InputError

CARD_LIMIT = 16 * 2**20  # bytes; the card of a specialist with 224 bands takes 0.1 MB
LOCK_TIMEOUT = 120.0  # seconds; adding a specialist takes well under one
_COMPILED_SUFFIXES = (".xml", ".bin")


class Store:
    """A folder of models. It need not exist before the first `add`."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().resolve()

    def add(self, reference: Reference, card: Mapping[str, Any], blobs: Mapping[str, Path]) -> None:
        """Add a model, wholly or not at all.

        Args:
            reference: Its name and version.
            card: Its STAC Item, JSON-plain.
            blobs: Hexadecimal SHA-256 to a file with these bytes, for every checksum in the card
                that is not in the store. A suffix `.xml` or `.bin` is kept; everything else is
                weights.

        Raises:
            InputError: If this version is there already, the card is not JSON, a file does not hold
                the bytes it should, a checksum has no file, or the folder cannot be written.
        """
        self.check_free(reference)
        try:
            encoded = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise InputError(f"the card of {reference} is not plain JSON: {error}") from error
        with self._lock():
            self.check_free(reference)
            for sha256 in set(blob_hashes(card)) - set(blobs):
                self._check_pinned(reference, sha256)
            for sha256, source in blobs.items():
                self._publish_blob(sha256, source)
            self._publish_card(reference, encoded)

    def check_free(self, reference: Reference) -> None:
        """Raise an `InputError` if a name and version are taken, or not valid."""
        check_name(reference.name)
        check_version(str(reference.version))
        if os.path.lexists(self.card_path(reference)):
            raise InputError(
                f"{reference} is in the registry {self.root} already, and a version never changes: "
                "choose a higher one"
            )

    def references(self, name: str | None = None) -> tuple[Reference, ...]:
        """Every version of every model, or of one: by name, then from the lowest version up."""
        cards = self._inside("cards")
        folders = sorted(cards.glob("*")) if name is None else [cards / check_name(name)]
        return tuple(reference for folder in folders for reference in _versions(folder))

    def resolve(self, reference: str | Reference) -> Reference:
        """The version that a reference means: the one it names, else the highest.

        Raises:
            InputError: If there is no such model; the message says what there is.
        """
        wanted = Reference.parse(reference) if isinstance(reference, str) else reference
        known = self.references(wanted.name)
        found = [entry for entry in known if wanted.version in (None, entry.version)]
        if found:
            return found[-1]
        names = sorted({entry.name for entry in self.references()})
        near = [str(entry) for entry in known] or get_close_matches(wanted.name, names) or names
        there = f"it has {', '.join(near[:10])}" if near else "it is empty"
        raise InputError(f"the registry {self.root} has no {wanted}; {there}")

    def read_card(self, reference: Reference) -> dict[str, Any]:
        """The STAC Item of a resolved reference.

        Raises:
            InputError: If the file is not a JSON object, is over `CARD_LIMIT`, or is not a file of
                this store.
        """
        path = self._existing(self.card_path(reference))
        if path.stat().st_size > CARD_LIMIT:
            raise InputError(f"{path}: over {CARD_LIMIT} bytes is not a card")
        try:
            card = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{path}: not JSON ({error}); restore the card, or remove it with: "
                f"specialist-registry remove {reference} --yes"
            ) from error
        if not isinstance(card, dict):
            raise InputError(f"{path}: a card is a JSON object, got {type(card).__name__}")
        return card

    def read_blob(self, sha256: str, suffix: str = WEIGHTS_SUFFIX) -> Path:
        """Path of a blob, after its bytes were hashed and found to be the right ones.

        Args:
            sha256: Its hash.
            suffix: Of its file.

        Raises:
            InputError: If it is missing, is not a file of this store, or was changed.
        """
        path = self._existing(self.blob_path(sha256, suffix))
        found = file_sha256(path)
        if found != sha256:
            raise InputError(
                f"{path}: its content has the hash {found}, so the file was changed or damaged; "
                "restore it, or remove the models that specialist-registry verify names"
            )
        return path

    def remove(self, reference: Reference) -> None:
        """Remove a resolved reference, and its blobs where no other card names them.

        Raises:
            InputError: If it is not there.
        """
        with self._lock():
            path = self._existing(self.card_path(reference))
            path.unlink()
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
            _synchronise(self.root / "cards")
            self._sweep_locked()

    def sweep(self) -> tuple[Path, ...]:
        """Delete what no card needs: litter of interrupted additions, and blobs without a card.

        Returns:
            What was deleted. While a card cannot be read, no blob goes: it may be that card's.
        """
        with self._lock():
            return self._sweep_locked()

    def card_path(self, reference: Reference) -> Path:
        """Where the card of a name and version lies."""
        return self.root / "cards" / reference.name / f"{reference.version}.json"

    def blob_path(self, sha256: str, suffix: str = WEIGHTS_SUFFIX) -> Path:
        """Where the blob with this hash and suffix lies."""
        return self.root / "blobs" / "sha256" / f"{sha256}{suffix}"

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the store's lock; the system takes it from a process that dies."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            # Those who may write to the folder of a group may also lock it.
            with FileLock(self.root / ".lock", timeout=LOCK_TIMEOUT, mode=0o664):
                yield
        except Timeout as error:
            raise InputError(
                f"another process has been writing to the registry {self.root} for "
                f"{LOCK_TIMEOUT:.0f} seconds; try again when it has finished"
            ) from error
        except OSError as error:
            raise InputError(
                f"cannot change the registry {self.root}: {error}; it needs a folder that can be "
                "written, on a file system with hard links"
            ) from error

    def _inside(self, *parts: str) -> Path:
        """A path of the store, if no symbolic link leads it elsewhere."""
        path = self.root.joinpath(*parts)
        if path.resolve() != path:
            raise InputError(
                f"{path}: a symbolic link leads to {path.resolve()}; "
                "a registry holds its own files only"
            )
        return path

    def _existing(self, path: Path) -> Path:
        self._inside(*path.relative_to(self.root).parts)
        if not path.is_file():
            raise InputError(f"{path}: no such file in the registry")
        return path

    def _check_pinned(self, reference: Reference, sha256: str) -> None:
        try:
            self.read_blob(sha256)
        except InputError as error:
            raise InputError(f"{reference} needs a file that is not sound: {error}") from error

    def _publish_blob(self, sha256: str, source: Path) -> None:
        suffix = source.suffix if source.suffix in _COMPILED_SUFFIXES else WEIGHTS_SUFFIX
        target = self._inside("blobs", "sha256", f"{sha256}{suffix}")
        incoming = self._incoming(target.name)
        with source.open("rb") as file, incoming.open("wb") as copy:
            shutil.copyfileobj(file, copy, 2**20)
            copy.flush()
            _finish(copy.fileno())
        if file_sha256(incoming) != sha256:
            incoming.unlink()
            raise InputError(f"{source}: its hash is not {sha256}; it changed while it was added")
        self._make_folder(target.parent)
        if target.exists():
            # The same bytes by definition: this heals a blob that was damaged since.
            incoming.replace(target)
        else:
            os.link(incoming, target)
            incoming.unlink()
        _synchronise(target.parent)

    def _publish_card(self, reference: Reference, encoded: str) -> None:
        target = self._inside("cards", reference.name, f"{reference.version}.json")
        incoming = self._incoming(f"{reference}.json")
        with incoming.open("w", encoding="utf-8") as file:
            file.write(encoded)
            file.flush()
            _finish(file.fileno())
        self._make_folder(target.parent)
        os.link(incoming, target)
        incoming.unlink()
        _synchronise(target.parent)

    def _incoming(self, name: str) -> Path:
        path = self._inside("incoming") / name
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)  # of an addition that was interrupted
        return path

    def _make_folder(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        while folder != self.root:
            folder = folder.parent
            _synchronise(folder)

    def _sweep_locked(self) -> tuple[Path, ...]:
        litter = list(self._inside("incoming").glob("*"))
        try:
            cards = [self.read_card(reference) for reference in self.references()]
            needed = {sha256 for card in cards for sha256 in blob_hashes(card)}
        except InputError:
            needed = None
        if needed is not None:
            blobs = self._inside("blobs", "sha256").glob("*")
            suffixes = (WEIGHTS_SUFFIX, *_COMPILED_SUFFIXES)
            litter += [
                blob for blob in blobs if blob.suffix in suffixes and blob.stem not in needed
            ]
        for path in litter:
            path.unlink()
        return tuple(litter)


def _versions(folder: Path) -> list[Reference]:
    """Cards in a folder, lowest version first; other files are none of the store's."""
    found = []
    for path in folder.glob("*.json"):
        try:
            found.append(Reference(check_name(folder.name), check_version(path.stem)))
        except InputError:
            continue
    return sorted(found, key=lambda reference: version_key(str(reference.version)))


def _finish(descriptor: int) -> None:
    """Make a file read-only and wait until it is on the disk."""
    os.fchmod(descriptor, 0o444)
    os.fsync(descriptor)


def _synchronise(folder: Path) -> None:
    """Wait until the entries of a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
