"""The command that repeats one number."""

import os
import shlex
from dataclasses import asdict, fields

from evaluation.config import EvaluateConfig
from evaluation.encoders import EncoderConfig

_PASSED_ON = ("image_size", "batch_size", "registry", "device")


def repeat_command(
    config: EvaluateConfig, encoder: EncoderConfig, data: str, protocol: str, seed: int
) -> str:
    """A command line that evaluates this cell alone, in a folder of its own.

    Args:
        config: The evaluation the cell was part of.
        encoder: Its encoder.
        data: Name of its data set.
        protocol: Name of its protocol.
        seed: Its seed.
    """
    words = [
        f"encoders=[{_write(encoder)}]",
        f"data_sets=[{_entry(config.data_sets, data)}]",
        f"protocols=[{_entry(config.protocols, protocol)}]",
        f"seeds=[{seed}]",
        "floors=false",
        "efficiency=none",
    ]
    for name in _PASSED_ON:
        value = getattr(config, name)
        if value != getattr(EvaluateConfig, name, None):
            words.append(f"{name}={value}")
    if config.root != os.environ.get("TERRAGUILD_DATA"):
        words.append(f"root={config.root}")
    return shlex.join(["evaluate-encoder", *words])


def _write(encoder: EncoderConfig) -> str:
    changed = {
        setting.name: value
        for setting in fields(EncoderConfig)
        if (value := asdict(encoder)[setting.name]) != setting.default
    }
    return _in_hydra(encoder.source if changed.keys() == {"source"} else changed)


def _entry(entries: list[object], name: str) -> str:
    """What was asked for under a name: the name itself, or a mapping that has it."""
    for entry in entries:
        if isinstance(entry, dict) and name in (entry.get("name"), entry.get("base")):
            return _in_hydra(entry)
    return _in_hydra(name)


def _in_hydra(value: object) -> str:
    """A value in the grammar of Hydra's overrides."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_in_hydra(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_in_hydra, value)) + "]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'" if set(escaped) & set(" ,:{}[]()='\"@$") else value
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )
