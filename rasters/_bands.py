"""Which band a layer of a file is: by what the file says of itself, never by position or count."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from sensors.bands import Band, Channel, channel_from_dict
from sensors.errors import InputError
from sensors.sensor import Sensor

BANDS_TAG = "TERRAGUILD_BANDS"
SKIP = "-"  # in a list of band names: leave this layer out

_WAVELENGTH = re.compile(
    r"(?P<value>\d+(?:\.\d+)?)\s*(?P<unit>nm|nanomet(?:er|re)s?|um|µm|μm|micromet(?:er|re)s?)\b",
    re.I,
)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_NUMBERED_BAND = re.compile(r"band[\s_]*(?P<number>\d+[a-z]?)[\s_]+(?P<quantity>\S.*)", re.I)
_RESOLUTION = re.compile(r"\d+m", re.I)
_GENERIC = re.compile(r"(?:band|layer)?[\s_]*\d*", re.I)


@dataclass(frozen=True)
class Layer:
    """A layer of a file (1-based, as in rasterio) and what it measures."""

    index: int
    channel: Channel


def identify_layers(
    path: Path, dataset: DatasetReader, sensors: Sequence[Sensor]
) -> tuple[Layer, ...]:
    """The layers whose bands the file tells; none if it says nothing.

    Tried in this order: our own tag, the layers' descriptions, the end of the file's name (one
    layer only), the colours of a PNG or JPEG.

    Args:
        path: The file.
        dataset: The file, open.
        sensors: Those among whose bands names are looked up.

    Raises:
        InputError: If two layers of the file claim to be the same band.
    """
    tag = dataset.tags().get(BANDS_TAG)
    if tag is not None:
        found: list[Channel | None] = list(_from_tag(path, tag, dataset.count))
    else:
        found = [match_description(text, sensors) for text in dataset.descriptions]
        if not any(found) and dataset.count == 1:
            found = [_match_file_name(path, sensors)]
        if not any(found) and dataset.driver in ("PNG", "JPEG"):
            found = [_match_color(color, sensors) for color in dataset.colorinterp]
    layers = [Layer(number, band) for number, band in enumerate(found, start=1) if band is not None]
    names = [layer.channel.name for layer in layers]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(
            f"{path}: several layers claim to be band {', '.join(repeated)}; name the layers in "
            "the file anew"
        )
    return tuple(layers)


def name_layers(
    unnamed: Sequence[tuple[Path, int]],
    names: Sequence[str] | None,
    sensors: Sequence[Sensor],
) -> dict[Path, tuple[Layer, ...]]:
    """Layers of files that say nothing of themselves, from the user's list in file order.

    Args:
        unnamed: Each file with its number of layers.
        names: The user's list.
        sensors: Those among whose bands names are looked up.

    Raises:
        InputError: If the list is not as long as there are layers, or holds a name no sensor knows.
    """
    count = sum(layers for _, layers in unnamed)
    if names is None or len(names) != count:
        files = ", ".join(str(path) for path, _ in unnamed[:3]) + (", ..." if unnamed[3:] else "")
        received = "no names were given" if names is None else f"{len(names)} names were given"
        raise InputError(
            f"{count} layers do not say which band they are ({files}) and {received}: name the "
            "sensor, and in `bands` (by file: in `layers`) one band for each of these layers in "
            f"file order ({SKIP!r} leaves a layer out)"
        )
    repeated = sorted({name for name in names if name != SKIP and names.count(name) > 1})
    if repeated:
        raise InputError(f"`bands` names {', '.join(repeated)} twice: a layer is one band")
    found: dict[Path, tuple[Layer, ...]] = {}
    left = list(names)
    for path, layers in unnamed:
        own, left = left[:layers], left[layers:]
        found[path] = tuple(
            Layer(number, find_channel(name, sensors))
            for number, name in enumerate(own, start=1)
            if name != SKIP
        )
    return found


def find_channel(name: str, sensors: Sequence[Sensor]) -> Channel:
    """The band of that name.

    Raises:
        InputError: If there is none; the message lists the names there are.
    """
    found = _match_name(name, sensors)
    if found is None:
        known = "; ".join(f"{sensor.name} has {', '.join(sensor.names)}" for sensor in sensors)
        raise InputError(f"no band is called {name!r}: {known or 'name the sensor'}")
    return found


def match_description(text: str | None, sensors: Sequence[Sensor]) -> Channel | None:
    """The channel that a layer's description means, or None.

    A name (`B04`, `SR_B4`, `VV`), a common name (`red`, `swir1`), a wavelength (`0.665`, `665 nm`)
    or a numbered band with its quantity (`band 4 reflectance`). `Band 4` alone is what software
    writes for any fourth layer, and says nothing.
    """
    text = (text or "").strip()
    is_generic = _GENERIC.fullmatch(text) is not None
    named = None if is_generic else _match_name(text, sensors)
    wavelength = _read_wavelength(text)
    if named is not None:
        return named
    if wavelength is not None:
        return _nearest(wavelength, sensors)
    if is_generic:
        return None
    numbered = _NUMBERED_BAND.fullmatch(text)
    if numbered is not None:
        found = _match_name(f"B{numbered['number']}", sensors)
        wanted = numbered["quantity"].casefold()
        return found if found is not None and found.quantity in wanted else None
    return _match_name(_tokens(text)[-1], sensors)


def _from_tag(path: Path, tag: str, count: int) -> list[Channel]:
    try:
        channels = [channel_from_dict(record) for record in json.loads(tag)]
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: its tag {BANDS_TAG} cannot be read ({error})") from error
    if len(channels) != count:
        raise InputError(
            f"{path}: its tag {BANDS_TAG} names {len(channels)} bands, but the file has {count} "
            "layers"
        )
    return channels


def _match_file_name(path: Path, sensors: Sequence[Sensor]) -> Channel | None:
    tokens = _tokens(path.stem)
    if len(tokens) > 1 and _RESOLUTION.fullmatch(tokens[-1]):
        tokens = tokens[:-1]  # Sentinel-2 L2A: ..._B04_10m.jp2
    return _match_name(tokens[-1], sensors)


def _match_color(color: ColorInterp, sensors: Sequence[Sensor]) -> Channel | None:
    if color not in (ColorInterp.red, ColorInterp.green, ColorInterp.blue):
        return None
    return _match_name(color.name, sensors)


def _match_name(name: str, sensors: Sequence[Sensor]) -> Channel | None:
    found = {sensor[name]: sensor.name for sensor in sensors if name in sensor}
    if len(found) > 1:
        choices = ", ".join(f"{band.describe()} of {owner}" for band, owner in found.items())
        raise InputError(f"band name {name!r} means several bands of the sensors given: {choices}")
    return next(iter(found), None)


def _nearest(wavelength: float, sensors: Sequence[Sensor]) -> Channel | None:
    bands = [
        channel for sensor in sensors for channel in sensor.channels if isinstance(channel, Band)
    ]
    if not bands:
        return None
    best = min(bands, key=lambda band: abs(band.center_wavelength - wavelength))
    distance = abs(best.center_wavelength - wavelength)
    return best if distance <= best.full_width_half_max / 2 else None


def _read_wavelength(text: str) -> float | None:
    """Micrometres, if the text tells a wavelength."""
    found = _WAVELENGTH.search(text)
    if found is not None:
        value = float(found["value"])
        return value / 1000 if found["unit"].lower().startswith("n") else value
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    if "." in text and 0.3 <= value <= 15:
        return value
    return value / 1000 if 300 <= value <= 15000 else None


def _tokens(text: str) -> list[str]:
    return [token for token in re.split(r"[\W_]+", text) if token] or [text]
