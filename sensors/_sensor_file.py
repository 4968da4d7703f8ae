"""The form of a sensor's YAML file, checked so that an error names the file and the field."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from sensors.bands import Channel, channel_from_dict
from sensors.errors import InputError

_NUMBERS = (
    "center_wavelength",
    "full_width_half_max",
    "center_frequency",
    "gsd",
    "scale",
    "offset",
    "nodata",
)
_WORDS = ("common_name", "polarization", "quantity")
_STORED = ("scale", "offset", "nodata")
_DESCRIPTION = ("name", "title", "source", "notes")
_TOP = (*_DESCRIPTION, "extends", "processing_baselines", "bands", *_NUMBERS, *_WORDS)
_BAND = ("name", "aliases", *_NUMBERS, *_WORDS)

# libyaml's loader reads the 224 bands of EnMAP ten times faster where PyYAML was built with it.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class SensorFile:
    """A parsed file: `bands` maps a band's name to its fields, `baselines` is sorted."""

    origin: str
    name: str
    title: str
    source: str
    bands: Mapping[str, Mapping[str, Any]]
    baselines: tuple[tuple[float, Mapping[str, Any]], ...] = ()

    def at_baseline(self, baseline: float) -> "SensorFile":
        """The same file with the stored numbers of a processing baseline."""
        if not self.baselines:
            raise InputError(
                f"{self.name} has the same scaling at every processing baseline; leave it out"
            )
        changed: dict[str, Any] = {}
        for start, numbers in self.baselines:
            if baseline >= start:
                changed |= numbers
        return replace(self, bands={k: {**v, **changed} for k, v in self.bands.items()})

    def channels(self) -> tuple[Channel, ...]:
        """Build the channels; their own unit checks name the band."""
        built = []
        for name, fields in self.bands.items():
            record = {k: v for k, v in fields.items() if k != "aliases" and v is not None}
            try:
                built.append(channel_from_dict({"name": name} | record))
            except InputError as error:
                raise InputError(f"sensor file {self.origin}: {error}") from error
        return tuple(built)

    def aliases(self) -> dict[str, str]:
        """Lower-case alias to band name."""
        owners: dict[str, str] = {name.lower(): name for name in self.bands}
        for name, fields in self.bands.items():
            for alias in fields.get("aliases", ()):
                owner = owners.setdefault(alias.lower(), name)
                if owner != name:
                    raise InputError(
                        f"sensor file {self.origin}: bands: the alias {alias!r} belongs to both "
                        f"{owner} and {name}"
                    )
        return owners


def parse_sensor_file(text: str, *, origin: str, extend: Callable[[str], SensorFile]) -> SensorFile:
    """Parse the text of a sensor's file.

    Args:
        text: YAML.
        origin: What to call the file in a message.
        extend: Gives the parsed catalogue file that `extends` names.

    Raises:
        InputError: If the text is not of the form; the message names the file and the field.
    """
    try:
        content = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise InputError(f"sensor file {origin} is not YAML: {error}") from error
    top = _mapping(content, origin, "the file")
    _known(top, _TOP, origin, "the file")
    base = None
    if "extends" in top:
        try:
            base = extend(_text(top["extends"], origin, "extends"))
        except InputError as error:
            raise InputError(f"sensor file {origin}: extends: {error}") from error
    for key in ("name", "title", "source", "bands"):
        if base is None and not top.get(key):
            raise InputError(f"sensor file {origin}: {key} is missing")
    described = {
        key: _text(top[key], origin, key) if key in top else getattr(base, key)
        for key in ("name", "title", "source")
    }
    shared = _fields(top, origin, "the file")
    bands = {} if base is None else {k: {**v, **shared} for k, v in base.bands.items()}
    known = {} if base is None else base.aliases()
    for written, own in _own_bands(top.get("bands") or [], origin).items():
        name = known.get(written.lower(), written)
        before = bands.get(name, shared)
        aliases = (*before.get("aliases", ()), *own.get("aliases", ()))
        bands[name] = {**before, **own, "aliases": aliases}
    baselines = () if base is None else base.baselines
    if "processing_baselines" in top:
        baselines = _baselines(top["processing_baselines"], origin)
    parsed = SensorFile(origin, **described, bands=bands, baselines=baselines)
    parsed.channels()
    parsed.aliases()
    return parsed


def _own_bands(entries: object, origin: str) -> dict[str, dict[str, Any]]:
    if not isinstance(entries, list):
        raise InputError(f"sensor file {origin}: bands is not a list")
    bands: dict[str, dict[str, Any]] = {}
    for number, entry in enumerate(entries, start=1):
        where = f"band {number}"
        band = _mapping(entry, origin, where)
        if "name" not in band:
            raise InputError(f"sensor file {origin}: {where}: name is missing")
        name = _text(band["name"], origin, f"{where}: name")
        where = f"band {name}"
        _known(band, _BAND, origin, where)
        if name.lower() in (known.lower() for known in bands):
            raise InputError(f"sensor file {origin}: {where} is there twice")
        aliases = band.get("aliases", [])
        if not isinstance(aliases, list):
            raise InputError(f"sensor file {origin}: {where}: aliases is not a list")
        bands[name] = _fields(band, origin, where)
        bands[name]["aliases"] = tuple(_text(a, origin, f"{where}: aliases") for a in aliases)
    return bands


def _baselines(entries: object, origin: str) -> tuple[tuple[float, Mapping[str, Any]], ...]:
    if not isinstance(entries, list):
        raise InputError(f"sensor file {origin}: processing_baselines is not a list")
    rules = []
    for entry in entries:
        rule = _mapping(entry, origin, "processing_baselines")
        _known(rule, ("from", *_STORED), origin, "processing_baselines")
        start = _number(rule.get("from"), origin, "processing_baselines: from")
        rules.append((start, _fields(rule, origin, "processing_baselines")))
    return tuple(sorted(rules, key=lambda rule: rule[0]))


def _fields(mapping: Mapping[str, Any], origin: str, where: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key in (k for k in (*_NUMBERS, *_WORDS) if k in mapping):
        value = mapping[key]
        if value is None:  # `nodata: null` takes a shared nodata back
            fields[key] = None
        else:
            read = _number if key in _NUMBERS else _text
            fields[key] = read(value, origin, f"{where}: {key}")
    return fields


def _mapping(value: object, origin: str, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"sensor file {origin}: {where} is not a mapping of fields to values")
    return value


def _known(mapping: Mapping[str, Any], fields: tuple[str, ...], origin: str, where: str) -> None:
    for key in mapping:
        if key not in fields:
            raise InputError(
                f"sensor file {origin}: {where}: unknown field {key!r}; "
                f"the fields are {', '.join(fields)}"
            )


def _text(value: object, origin: str, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"sensor file {origin}: {where} is {value!r}, expected text")
    return value.strip()


def _number(value: object, origin: str, where: str) -> float:
    # YAML 1.1 reads 1e-4 (without a point) as text, so text that is a number is taken as one.
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):
            return float(value)
    raise InputError(f"sensor file {origin}: {where} is {value!r}, expected a number")
