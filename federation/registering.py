"""From the common weights to the registry: the gate, the card, the version."""

from collections.abc import Sequence
from logging import INFO, WARNING
from typing import Any

from flwr.supercore import log

from federation.history import Round
from federation.settings import Settings
from registry import Reference, Registry, SpecialistCard
from registry.licenses import UNSTATED
from registry.names import check_name, version_key
from sensors.errors import InputError
from specialists.metrics import selection_metric
from specialists.model import Specialist
from specialists.spec import SpecialistSpec


class Shelf:
    """The place in the registry that a run's result goes to.

    Args:
        settings: Of the run.

    Raises:
        InputError: If the name is not one, or the version is taken.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.registry = Registry.open(settings.registry or None)
        default = f"{settings.experiment.replace('_', '-')}-federated"
        self.name = check_name(settings.name or default)
        if settings.version:
            self.registry.store.check_free(Reference(self.name, settings.version))

    def latest(self) -> SpecialistCard | None:
        """The version that the result would replace."""
        if not self.registry.store.references(self.name):
            return None
        return self.registry.specialist(self.name)

    def check_task(self, spec: SpecialistSpec) -> None:
        """Refuse to replace a specialist of another task.

        Raises:
            InputError: Says what differs.
        """
        latest = self.latest()
        if latest is None:
            return
        theirs = (latest.spec.task, latest.spec.classes)
        if theirs != (spec.task, spec.classes):
            raise InputError(
                f"{latest.reference} does {theirs[0]} of {', '.join(theirs[1])}, and this run is "
                f"for {spec.task} of {', '.join(spec.classes)}: give another name (run-config name)"
            )

    def next_version(self, *, last: bool) -> str:
        """The version asked for, for the last result; else the next minor one."""
        if last and self.settings.version:
            return self.settings.version
        latest = self.latest()
        if latest is None:
            return "1.0.0"
        major, minor, _ = version_key(latest.version)
        return f"{major}.{minor + 1}.0"

    def is_worse(self, new: dict[str, float], old: dict[str, float], spec: SpecialistSpec) -> bool:
        """Whether the new scores are below the old ones by more than is tolerated."""
        metric, mode = selection_metric(spec)
        if metric not in new or metric not in old:
            log(WARNING, "There is no %s to compare by: the gate is open", metric)
            return False
        drop = old[metric] - new[metric] if mode == "max" else new[metric] - old[metric]
        log(INFO, "%s: %.4f, and %.4f before", metric, new[metric], old[metric])
        return drop > self.settings.max_drop

    def add(
        self,
        network: Specialist,
        training: dict[str, Any],
        metrics: dict[str, Any],
        parents: Sequence[str],
        *,
        last: bool,
    ) -> SpecialistCard:
        """Register the result; see `Registry.add`."""
        nodes = training["federation"]["nodes"]
        return self.registry.add(
            network,
            name=self.name,
            version=self.next_version(last=last),
            parents=parents,
            training=training,
            metrics=metrics,
            description=f"{network.spec.task} by {nodes} nodes, whose data stayed where they are",
            license=self.settings.license or UNSTATED,
        )


def describe_federation(
    settings: Settings,
    history: Sequence[Round],
    nodes: int,
    kept: int,
    privacy: dict[str, Any] | None,
    replaces: str | None,
) -> dict[str, Any]:
    """What a card says of a federated training: nothing that a node did not agree to.

    Args:
        settings: Of the run.
        history: Its rounds.
        nodes: How many took part.
        kept: The round whose weights these are.
        privacy: What was spent, see `federation.privacy.Ledger.describe`.
        replaces: The version that this one replaces.
    """
    published = history[-1].published if history else []
    return {
        "strategy": settings.strategy,
        "rounds": len(history),
        "local_epochs": settings.local_epochs,
        "nodes": nodes,
        "nodes_that_publish": len(published),
        "chips_published": sum(published),
        "kept_round": kept,
        "normalization": settings.normalization,
        "precision": settings.precision,
        "local_norms": settings.local_norms,
        "trained": settings.train,
        "bytes_down": sum(found.bytes_down for found in history),
        "bytes_up": sum(found.bytes_up for found in history),
        "privacy": privacy,
        "replaces": replaces,
        "history": [
            {
                "round": found.number,
                "nodes": found.answered,
                "left_out": found.dropped,
                "loss": found.loss,
                **found.scores,
            }
            for found in history
        ],
    }
