"""The ensemble that a run teaches: composed, opened to go on from, or rebuilt after a kill.

Which members and which trunk it has is recorded by hash when the run begins: a run that goes on
takes exactly these, whatever was registered in between.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from registry.registry import Registry
from router.applicability import describe_missing
from router.composing.config import ComposeConfig
from router.composing.sensor_dropout import KINDS, kind_of_sensor
from router.ensemble import Ensemble
from router.ensemble_files import (
    encoder_of,
    find_manifest,
    load_pinned_trunk,
    load_with_head,
)
from router.ensemble_spec import EnsembleSpec
from router.manifest import Pin
from router.member import Member, load_pinned_member
from router.task_ensemble import TaskEnsemble
from sensors.bands import Channel
from sensors.errors import InputError
from specialists.heads import looks_at_image
from specialists.run import keep_start
from specialists.task_spec import TaskSpec

Record = dict[str, Any]


def open_parts(config: ComposeConfig, registry: Registry) -> tuple[Ensemble, TaskEnsemble | None]:
    """What a new run starts from, and the same with its head if it has one.

    Raises:
        InputError: If a part cannot be had, or they do not go together.
    """
    if config.start is None:
        settings = config.ensemble.settings(has_trunk=config.trunk is not None)
        return Ensemble.compose(config.members, config.trunk, registry=registry, **settings), None
    if Path(config.start).exists():
        keep_start(config.start, config.run_dir)
    network = load_with_head(config.start, registry)
    return encoder_of(network), network if isinstance(network, TaskEnsemble) else None


def describe_parts(config: ComposeConfig, ensemble: Ensemble, registry: Registry) -> Record:
    """What `rebuild` needs, JSON-plain, and where the start came from."""
    trunk = ensemble.trunk_pin
    record: Record = {
        "members": [vars(member.pin).copy() for member in ensemble.members],
        "trunk": None if trunk is None else vars(trunk).copy(),
        "spec": ensemble.spec.to_dict(),
        "start": None,
    }
    if config.start is not None:
        manifest, _ = find_manifest(config.start, registry)
        name = Path(config.start).name if Path(config.start).exists() else config.start
        record["start"] = {
            "name": name,
            "manifest": manifest.version,
            "sha256": manifest.weights_sha256,
        }
    return record


def rebuild(record: Mapping[str, Any], registry: Registry) -> Ensemble:
    """The ensemble of an interrupted run, whose checkpoint has the weights.

    Raises:
        InputError: If the registry has a part no longer.
    """
    members = [load_pinned_member(Pin(**entry), registry) for entry in record["members"]]
    pin = record["trunk"]
    trunk = None if pin is None else load_pinned_trunk(Pin(**pin), registry)
    return Ensemble(EnsembleSpec.from_dict(record["spec"]), members, trunk)


def add_head(ensemble: Ensemble, task: TaskSpec, start: TaskEnsemble | None = None) -> TaskEnsemble:
    """The ensemble with a head for a task: that of the start where it is the same task's.

    Args:
        ensemble: What the head reads.
        task: The task.
        start: An ensemble with a head, if the run goes on from one.
    """
    network = TaskEnsemble(ensemble, task)
    if start is not None and _asks_the_same(start.spec, task):
        network.head.load_state_dict(start.head.state_dict())
    return network


def _asks_the_same(task: TaskSpec, other: TaskSpec) -> bool:
    """Whether a head of one task is one of the other, number for number."""
    names = ("task", "classes", "multi_label", "per_pixel", "head", "head_hidden_size", "decoder")
    same_bands = task.bands == other.bands or not looks_at_image(task)
    return same_bands and all(getattr(task, name) == getattr(other, name) for name in names)


def check_bands(ensemble: Ensemble, bands: tuple[Channel, ...], sensor_dropout: float) -> list[str]:
    """Refuse bands that no member can run on, with or without losing a sensor.

    Returns:
        Who cannot run, and what is missing, a line each.

    Raises:
        InputError: If nobody can run; or a sensor is to be lost where there is no second one, or
            where nobody can run without it.
    """
    lacking = {
        member.reference: describe_missing(plan)
        for member in ensemble.members
        if not (plan := member.network.spec.match(bands)).is_applicable
    }
    lines = [f"{name}: cannot run, missing {missing}" for name, missing in lacking.items()]
    if len(lacking) == len(ensemble.members):
        names = ", ".join(band.name for band in bands[:20])
        raise InputError(
            f"no member can run on the bands of the data, {names}: name others\n  "
            + "\n  ".join(lines)
        )
    if sensor_dropout > 0:
        _check_dropout(ensemble, bands)
    return lines


def _check_dropout(ensemble: Ensemble, bands: tuple[Channel, ...]) -> None:
    kinds = [kind for kind in KINDS if kind in set(map(kind_of_sensor, bands))]
    if len(kinds) < 2:
        raise InputError(
            f"trainer.sensor_dropout: the data have {kinds[0]} bands alone, so no sensor can be "
            "lost; set it to 0, or give data of several sensors"
        )
    for lost in kinds:
        left = tuple(band for band in bands if kind_of_sensor(band) != lost)
        if ensemble.trunk is None and not _can_run(ensemble.members, left):
            raise InputError(
                f"trainer.sensor_dropout: without the {lost} bands no member can run; add one that "
                "can, or name a trunk, whose own features are used then"
            )


def _can_run(members: tuple[Member, ...], bands: tuple[Channel, ...]) -> bool:
    return any(member.network.spec.match(bands).is_applicable for member in members)
