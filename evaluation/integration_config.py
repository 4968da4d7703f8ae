"""What `compose-ensemble add` is asked for; `configs/integrate.yaml` has the defaults."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from sensors import InputError
from specialists.config import compose_checked

DECIDE_BY = ("interval", "mean")
"""Whether a gain counts by its interval, or by its size alone."""


@dataclass
class IntegrateConfig:
    """One new member for one ensemble.

    Args:
        ensemble: The ensemble's folder.
        member: The new member, `name@version` or `name` in the registry.
        suite: The frozen tasks, each a mapping of `data` and `protocol`: names from `configs/data`
            and `configs/protocol`, or mappings with such a name as `base` and what to change; and
            perhaps `digest`, the SHA-256 that the data must have.
        root: Folder of data sets.
        out: Folder of results, where a measurement that is finished is not done again; by default
            `integration` in the ensemble's folder, and for a dry run one that is deleted.
        registry: Where members and trunk are; by default `$TERRAGUILD_REGISTRY`, else the user's.
        seeds: Of the probes that depend on one.
        tolerance: A task that surely loses more than this is harmed.
        min_gain: With decide_by=mean, the least gain that counts.
        decide_by: One of `DECIDE_BY`.
        tries: Old members in whose place the new one is tried, at most.
        resamples: Bootstrap resamples of an interval.
        device: `auto`, `cpu` or `cuda`.
        batch_size: Images at once.
        workers: Processes that read chips beside; 0 reads in a thread.
        image_size: Resize every image to this edge, in pixels; by default as it is.
        dry_run: Decide, and leave the ensemble as it is.
    """

    suite: list[Any]
    root: str
    ensemble: str = ""
    member: str = ""
    out: str | None = None
    registry: str | None = None
    seeds: list[int] = field(default_factory=lambda: [0])
    tolerance: float = 0.005
    min_gain: float = 0.005
    decide_by: str = "interval"
    tries: int = 2
    resamples: int = 1000
    device: str = "auto"
    batch_size: int = 64
    workers: int = 0
    image_size: int | None = None
    dry_run: bool = False


# `configs/integrate.yaml` starts from it, so that Hydra knows every key, its type and its default.
ConfigStore.instance().store(name="integrate_schema", node=IntegrateConfig)


def compose_integration(
    ensemble: str,
    member: str,
    overrides: Sequence[str] = (),
    config_dir: Path | None = None,
    *,
    dry_run: bool = False,
) -> IntegrateConfig:
    """Compose the configuration `integrate` with Hydra.

    Args:
        ensemble: The ensemble's folder.
        member: The new member.
        overrides: In Hydra's grammar, such as `seeds=[0,1,2]`.
        config_dir: A folder of one's own groups, searched beside `configs`.
        dry_run: Leave the ensemble as it is.

    Raises:
        InputError: If a key or value is not what it may be.
    """
    # `suite` is also a group of evaluate-encoder, and Hydra would look for a file of that name.
    words = [word for word in overrides if not word.startswith("suite=")]
    config = compose_checked("integrate", IntegrateConfig, words, config_dir)
    for word in overrides:
        if word.startswith("suite="):
            config.suite = _parse_suite(word)
    config = replace(config, ensemble=ensemble, member=member, dry_run=dry_run or config.dry_run)
    if not config.suite or not config.seeds:
        raise InputError("suite and seeds: name at least one of each")
    if config.decide_by not in DECIDE_BY:
        raise InputError(f"decide_by={config.decide_by} is not one of {', '.join(DECIDE_BY)}")
    for name in ("tolerance", "min_gain", "tries"):
        if not getattr(config, name) >= 0:
            raise InputError(f"{name}={getattr(config, name)} is below 0")
    if config.resamples < 2:
        raise InputError(f"resamples={config.resamples}: an interval takes at least 2")
    return config


def _parse_suite(word: str) -> list[Any]:
    try:
        value = OverridesParser.create().parse_override(word).value()
    except HydraException as error:
        raise InputError(f"{word} cannot be read: {error}") from error
    if not isinstance(value, list):
        raise InputError(
            f"{word}: expected a list such as 'suite=[{{data: eurosat_ms, protocol: linear}}]'"
        )
    return value
