"""The state of a run after a round: one file, there whole or not at all.

A server that was killed goes on from it. The file is a safetensors file; what is not an array
stands in its one metadata entry.
"""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from federation.history import Round
from federation.task import Arrays
from sensors.errors import InputError

FILE = "state.safetensors"
_KEY = "terraguild"


@dataclass
class RunState:
    """What the next round needs.

    Args:
        spec: Of the network, plain data.
        common: The common weights.
        nodes: How many nodes took part at first.
        best: Those of the best round so far, and that round's number; 0 is none.
        history: The rounds so far.
        strategy: What the strategy remembers, see `federation.strategies.get_state`.
        clipping_norm: Of adaptive clipping, as it is now.
        privacy: What has been spent, see `federation.privacy.Ledger`.
        registered: What was registered, by round.
        key: By which the nodes find what they keep for the next round.
    """

    spec: dict[str, Any]
    common: Arrays
    nodes: int
    best: Arrays = field(default_factory=dict)
    best_round: int = 0
    history: list[Round] = field(default_factory=list)
    strategy: dict[str, Arrays] = field(default_factory=dict)
    clipping_norm: float | None = None
    privacy: Mapping[str, Any] | None = None
    registered: dict[str, str] = field(default_factory=dict)
    key: str = field(default_factory=lambda: secrets.token_hex(8))

    def save(self, folder: Path) -> None:
        """Write it in place of the state of the round before."""
        groups = {"common": self.common, "best": self.best}
        groups |= {f"strategy/{name}": arrays for name, arrays in self.strategy.items()}
        tensors = {
            f"{group}/{name}": np.ascontiguousarray(array)
            for group, arrays in groups.items()
            for name, array in arrays.items()
        }
        facts = {
            "spec": self.spec,
            "nodes": self.nodes,
            "best_round": self.best_round,
            "history": [found.to_dict() for found in self.history],
            "clipping_norm": self.clipping_norm,
            "privacy": self.privacy,
            "registered": self.registered,
            "key": self.key,
        }
        content = save(tensors, {_KEY: json.dumps(facts, sort_keys=True)})
        part = folder / f".{FILE}.{os.getpid()}"
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> "RunState | None":
        """The state in a folder; None if no round was finished there.

        Raises:
            InputError: If the file is damaged.
        """
        path = folder / FILE
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="np") as file:
                facts = json.loads(file.metadata()[_KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            groups: dict[str, Arrays] = {}
            for name, array in tensors.items():
                *group, weight = name.split("/")
                groups.setdefault("/".join(group), {})[weight] = array
            history = [Round.from_dict(found) for found in facts.pop("history")]
            strategy = {
                name.removeprefix("strategy/"): arrays
                for name, arrays in groups.items()
                if name.startswith("strategy/")
            }
            return cls(
                common=groups["common"],
                best=groups.get("best", {}),
                history=history,
                strategy=strategy,
                **facts,
            )
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: the state of the run cannot be read ({error}); restore it, or give "
                "another run-dir"
            ) from error
