"""The server's side of a run: begin or go on, the rounds, the result and its registration."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from logging import INFO, WARNING
from pathlib import Path
from typing import Any

import yaml
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord
from flwr.serverapp import Grid
from flwr.supercore import log
from rich.console import Console

from federation.asking import ask_descriptions, ask_scores
from federation.checkpoint import RunState
from federation.client import SPEC
from federation.description import Description, agree, build_spec, describe, find_difference
from federation.guard import Guarded
from federation.history import best_round, draw_history, tabulate_history
from federation.mods import FLOWER
from federation.privacy import Ledger, sampled_nodes
from federation.records import RUN, from_record, to_record
from federation.registering import Shelf, describe_federation
from federation.settings import Settings
from federation.simulated import find_data_root
from federation.start import load_start, open_network
from federation.strategies import build_strategy, get_state, set_state
from federation.task import (
    Arrays,
    LocalData,
    compose_experiment,
    get_arrays,
    score,
    set_arrays,
    shared_names,
)
from federation.versions import check_flower, flower_version
from rasters import ChipDataset
from sensors.errors import InputError
from specialists.config import TrainConfig
from specialists.data import load_splits
from specialists.facts import describe_task
from specialists.files import save_weights
from specialists.floors import measure_floors
from specialists.metrics import selection_metric
from specialists.model import Specialist
from specialists.run import describe_machine, package_versions, write_json, write_text
from specialists.spec import SpecialistSpec

VOLATILE = ("run_dir", "rounds", "round_timeout", "min_nodes", "registry", "name", "version")
"""Settings that may be others when a run goes on."""


class _Enough(Exception):
    """No further round may begin."""


@dataclass(frozen=True, eq=False)
class ServerChips:
    """Chips that the server holds itself.

    Args:
        train: To measure floors and statistics on.
        test: To score the result on.
    """

    train: ChipDataset
    test: ChipDataset


def run_server(grid: Grid, settings: Settings) -> RunState:
    """Run all rounds that are left, and register the result.

    Args:
        grid: Flower's way to the nodes.
        settings: Of the run.

    Raises:
        InputError: If the settings cannot be used, or no node can take part; nothing that was
            finished is lost by it.
    """
    check_flower()
    started = time.monotonic()
    folder, config = _open_folder(settings), compose_experiment(settings)
    shelf, chips = Shelf(settings), _server_chips(settings, config)
    state = RunState.load(folder)
    if state is None:
        state = _begin(grid, settings, config, chips)
    else:
        log(INFO, "Going on after round %d of %d", len(state.history), settings.rounds)
    run = _Run(grid, settings, config, folder, shelf, state, chips)
    run.train()
    run.finish(time.monotonic() - started)
    return state


def _open_folder(settings: Settings) -> Path:
    """The run's folder, with its settings in it; refused if rounds of another run are there."""
    folder, path = settings.folder, settings.folder / "settings.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    now = asdict(settings)
    if path.exists() and RunState.load(folder) is not None:
        earlier = yaml.safe_load(path.read_text())
        changed = [
            f"{name.replace('_', '-')} (was {earlier.get(name)!r}, is {value!r})"
            for name, value in now.items()
            if name not in VOLATILE and earlier.get(name) != value
        ]
        if changed:
            raise InputError(
                f"{folder} holds another run: {'; '.join(changed)}; give another run-dir, or "
                "remove it"
            )
    write_text(path, yaml.safe_dump(now, sort_keys=False))
    return folder


def _server_chips(settings: Settings, config: TrainConfig) -> ServerChips | None:
    if not find_data_root(settings):
        return None
    chips = load_splits(config.data).chips
    return ServerChips(chips["train"], chips.get("test", chips["selection"]))


def _begin(
    grid: Grid, settings: Settings, config: TrainConfig, chips: ServerChips | None
) -> RunState:
    """Ask the nodes what they hold, and make the network that they train."""
    described = ask_descriptions(grid, settings)
    own: Description | None = None
    if chips is not None and not settings.is_divided:
        own = describe(LocalData(config, chips.train, None), share_sums=False)
    agreed = agree(described, own)
    any_bands = config.specialist.stem == "wavelength"
    fitting = {}
    for node, found in described.items():
        difference = find_difference(found, agreed, any_bands=any_bands)
        if difference is None:
            fitting[node] = found
        else:
            log(WARNING, "Node %d cannot take part: %s", node, difference)
    if not fitting:
        raise InputError("no node's data are for this run; their reasons stand above")
    measured = None
    if settings.start:
        spec = load_start(settings).spec
    else:
        if chips is not None and settings.normalization == "local":
            measured = describe_task(config.data, config.specialist, chips.test)
        spec = build_spec(agreed, list(fitting.values()), config.specialist, measured)
    network = open_network(spec, settings)
    common = get_arrays(network, shared_names(network, settings.train))
    return RunState(spec=spec.to_dict(), common=common, nodes=len(fitting))


class _Run:
    """A run from its first round, or the next one, to its end."""

    def __init__(
        self,
        grid: Grid,
        settings: Settings,
        config: TrainConfig,
        folder: Path,
        shelf: Shelf,
        state: RunState,
        chips: ServerChips | None,
    ) -> None:
        self.grid, self.settings, self.config = grid, settings, config
        self.folder, self.shelf, self.state, self.chips = folder, shelf, state, chips
        self.spec = SpecialistSpec.from_dict(state.spec)
        self.metric, self.mode = selection_metric(self.spec)
        shelf.check_task(self.spec)
        self.inner = build_strategy(settings, state.nodes)
        set_state(self.inner, state.strategy)
        if state.clipping_norm is not None:
            self.inner.clipping_norm = state.clipping_norm  # type: ignore[attr-defined]
        self.ledger = None if settings.privacy == "none" else Ledger(settings, state.nodes)
        if self.ledger is not None and state.privacy is not None:
            self.ledger.restore(state.privacy)
        exact = sampled_nodes(settings, state.nodes) if settings.is_central else None
        self.guard = Guarded(self.inner, settings.precision, len(state.history), exact)

    def train(self) -> None:
        """The rounds that are left."""
        left = self.settings.rounds - len(self.state.history)
        if left <= 0 or (self.ledger is not None and self.ledger.is_exhausted):
            return
        config = {SPEC: json.dumps(self.state.spec), FLOWER: flower_version(), RUN: self.state.key}
        try:
            self.guard.start(
                self.grid,
                to_record(self.state.common),
                num_rounds=left,
                timeout=self.settings.round_timeout,
                train_config=ConfigRecord(dict(config)),
                evaluate_config=ConfigRecord(dict(config)),
                evaluate_fn=self._keep,
            )
        except _Enough:
            log(WARNING, "The privacy budget does not allow for another round")

    def _keep(self, server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        """After a round: keep its state, show it, and stop where nothing more may be spent."""
        if server_round == 0:
            return None
        state, found = self.state, self.guard.round
        state.common = from_record(arrays)
        if self.ledger is not None:
            found.epsilon = self.ledger.add_round() if found.released else self.ledger.spent
            state.privacy = self.ledger.state()
        state.history.append(found)
        best = best_round(state.history, self.metric, self.mode)
        if best is None or best is found:
            state.best, state.best_round = state.common, found.number
        state.strategy = get_state(self.inner)
        state.clipping_norm = getattr(self.inner, "clipping_norm", None)
        state.save(self.folder)
        draw_history(state.history, self.metric, self.folder / "rounds.png")
        log(INFO, found.describe(self.settings.rounds, self.metric))
        every = self.settings.register_every
        if every and found.number % every == 0 and found.number < self.settings.rounds:
            self._register(state.common, found.number, last=False)
        if self.ledger is not None and self.ledger.is_exhausted:
            raise _Enough
        return None

    def finish(self, seconds: float) -> None:
        """Write the result and register it, and say where everything is."""
        state = self.state
        if not state.history:
            raise InputError("no round was finished, so there is no result")
        takes_best = self.settings.keep == "best"
        kept = state.best_round if takes_best else state.history[-1].number
        arrays = state.best if takes_best else state.common
        card = self._register(arrays, kept, last=True, seconds=seconds)
        console = Console(width=100)
        console.print(tabulate_history(state.history, self.metric, f"Rounds of {self.folder}"))
        log(INFO, "Weights, record and plot (rounds.png) are in %s", self.folder)
        if card is not None:
            log(INFO, "Registered as %s in %s", card, self.shelf.registry.store.root)

    def _register(
        self, arrays: Arrays, kept: int, *, last: bool, seconds: float = 0.0
    ) -> str | None:
        """Through the gate into the registry; gives the reference, or None if it stays outside."""
        done = self.state.registered.get("last" if last else str(kept))
        if done is not None:
            return done
        network = open_network(self.spec, self.settings)
        set_arrays(network, arrays)
        network.eval()
        metrics = self._measure(network, kept)
        latest = self.shelf.latest()
        training = self._describe_training(
            kept, None if latest is None else str(latest.reference), seconds
        )
        if last:
            save_weights(network, self.folder / "weights.safetensors")
            write_json(self.folder / "spec.json", self.spec.to_dict())
            write_json(self.folder / "training.json", training)
            write_json(self.folder / "metrics.json", metrics)
        if latest is not None and self._is_worse(network, metrics):
            log(
                WARNING,
                "Not registered: %s is better (run-config max-drop tolerates a loss); the weights "
                "are in %s",
                latest.reference,
                self.folder,
            )
            return None
        parents = [self.settings.start] if self.settings.start else []
        card = self.shelf.add(network, training, metrics, parents, last=last)
        self.state.registered["last" if last else str(kept)] = str(card.reference)
        self.state.save(self.folder)
        return str(card.reference)

    def _measure(self, network: Specialist, kept: int) -> dict[str, Any]:
        """Scores of the result: on the nodes' held-out chips, and on the server's."""
        selection = next(
            (dict(found.scores) for found in self.state.history if found.number == kept), {}
        )
        metrics: dict[str, Any] = {"selection": selection}
        if self.chips is None:
            return metrics
        metrics["test"] = score(network, self.chips.test)
        if self.settings.is_divided:
            floors = measure_floors(self.spec, self.chips.train, {"test": self.chips.test})
            metrics["floors"] = {name: scores["test"] for name, scores in floors.items()}
        return metrics

    def _is_worse(self, network: Specialist, metrics: Mapping[str, Any]) -> bool:
        """Whether the version in the registry is better, on the server's chips or the nodes'."""
        old = self.shelf.registry.get(self.shelf.name)
        if self.chips is not None:
            return self.shelf.is_worse(metrics["test"], score(old, self.chips.test), self.spec)
        new_scores, old_scores = (
            ask_scores(self.grid, one, self.settings, self.guard) for one in (network, old)
        )
        return self.shelf.is_worse(new_scores, old_scores, self.spec)

    def _describe_training(self, kept: int, replaces: str | None, seconds: float) -> dict[str, Any]:
        data, state = self.config.data, self.state
        privacy = None if self.ledger is None else self.ledger.describe()
        return {
            "data": {
                "name": data.name,
                "title": data.title,
                "licence": data.licence,
                "source": data.source,
                "split": "held by the nodes",
            },
            "pretrained": None,
            "federation": describe_federation(
                self.settings, state.history, state.nodes, kept, privacy, replaces
            ),
            "seed": self.settings.seed,
            "machine": describe_machine(),
            "versions": package_versions() | {"flwr": flower_version()},
            "epochs": len(state.history) * self.settings.local_epochs,
            "command": "flwr run",
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(sum(found.seconds for found in state.history) or seconds, 1),
        }
