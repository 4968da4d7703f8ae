"""What a node keeps for its next round: in files of its own, which never leave it.

A run that goes on after its server was killed is another run to Flower, and a node that was killed
has lost what Flower keeps for it; both find their files again by the run's key.
"""

import re
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from logging import WARNING
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Context, Message
from flwr.supercore import log
from numpy.typing import NDArray
from platformdirs import user_cache_path
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from federation.records import CONFIG, ROUND, RUN
from federation.task import Arrays
from sensors.errors import InputError

_OLD = 30 * 24 * 3600.0
"""Seconds after which the files of a run that never ended are removed."""


class Memory:
    """A node's files of one run, by round: a round that is done again begins as it did.

    Args:
        run: Key of the run: 16 hexadecimal digits.
        node: Number of the node.

    Raises:
        InputError: If the key is another text.
    """

    def __init__(self, run: str, node: int) -> None:
        if not re.fullmatch(r"[0-9a-f]{16}", run):
            raise InputError(f"the server sent {run!r} as the run's key, not 16 hexadecimal digits")
        self.folder = user_cache_path("terraguild") / "federation" / run / str(node)

    @classmethod
    def of(cls, message: Message, context: Context) -> "tuple[Memory, int]":
        """A node's, with the number of the round that a message is about."""
        config = message.content.config_records[CONFIG]
        return cls(str(config.get(RUN, "")), node_number(context)), int(str(config[ROUND]))

    def load(self, number: int, part: str) -> Arrays | None:
        """What was kept last before a round; None if there is nothing, or it cannot be read."""
        rounds = [found for found in self._rounds(part) if found < number]
        if not rounds:
            return None
        path = self._file(max(rounds), part)
        try:
            return dict(load_file(path))
        except (SafetensorError, OSError) as error:
            log(WARNING, "%s is not used: %s", path, error)
            return None

    def keep(self, number: int, part: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep something after a round; without a place for it, the next one begins anew."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            written = self.folder / f".{part}"
            save_file(
                {name: np.ascontiguousarray(array) for name, array in arrays.items()}, written
            )
            written.replace(self._file(number, part))
            for found in self._rounds(part):
                if found < number - 1:
                    self._file(found, part).unlink()
        except OSError as error:
            log(WARNING, "Nothing is kept for the next round: %s", error)

    def forget(self) -> None:
        """Remove this node's files, and those of runs that were given up."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self.folder.parent.rmdir()
        for run in self.folder.parents[1].glob("*"):
            with suppress(OSError):
                if run.stat().st_mtime < time.time() - _OLD:
                    shutil.rmtree(run)

    def _file(self, number: int, part: str) -> Path:
        return self.folder / f"{part}-{number}.safetensors"

    def _rounds(self, part: str) -> list[int]:
        found = self.folder.glob(f"{part}-*.safetensors")
        return [int(path.stem.removeprefix(f"{part}-")) for path in found]


def node_number(context: Context) -> int:
    """A node's number: by the simulation or its node-config, or else Flower's id of it."""
    return int(context.node_config.get("partition-id", context.node_id))
