"""Data sets by the names of their files in `configs/data`, as lists of them are written down."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sensors import InputError
from specialists.config import compose_config
from specialists.data import DataConfig

T = TypeVar("T")


def load_data_config(entry: object, root: str, config_dir: Path | None = None) -> DataConfig:
    """A data set's configuration by its name in `configs/data`, perhaps with changes.

    Args:
        entry: The name, or a mapping with `base` and the fields to change.
        root: Folder of data sets.
        config_dir: A folder searched beside `configs`.

    Raises:
        InputError: If there is none of this name, or a change does not fit the schema.
    """
    name, changes = base_and_changes(entry, "data")
    root = str(changes.pop("root", root))
    composed = compose_config([f"data={name}", f"data.root={root}"], config_dir).data
    return changed(composed, changes, "data")


def base_and_changes(entry: object, group: str) -> tuple[str, dict[str, Any]]:
    """The name of a file in a group of `configs`, and what is to be changed in it.

    Args:
        entry: The name, or a mapping with it as `base` and the changes.
        group: Of the configuration, such as `data`.

    Raises:
        InputError: If it is neither.
    """
    if isinstance(entry, str):
        return entry, {}
    if isinstance(entry, Mapping) and isinstance(entry.get("base"), str):
        changes = {str(key): value for key, value in entry.items()}
        return changes.pop("base"), changes
    raise InputError(
        f"{group}: got {entry!r}, expected a name from configs/{group} or a mapping with such a "
        "name as `base` and what to change"
    )


def changed(config: T, changes: Mapping[str, Any], group: str) -> T:
    """A configuration with other values.

    Args:
        config: A dataclass.
        changes: What is to be changed, nested as in YAML.
        group: What it is, for messages.

    Raises:
        InputError: If a change does not fit the schema.
    """
    try:
        merged = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(config), dict(changes)))
    except OmegaConfBaseException as error:
        raise InputError(f"{group}: the change {changes} cannot be used: {error}") from error
    assert isinstance(merged, type(config))
    return merged
