"""A sensor: the channels of one product and how its stored numbers become physical ones.

The catalogue ships one YAML file a sensor. A user's own file has the same form, or extends one of
the catalogue's (see `load_sensor`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path

from sensors._sensor_file import SensorFile, parse_sensor_file
from sensors.bands import Channel
from sensors.errors import InputError

_CATALOGUE = resources.files("sensors") / "catalogue"


@dataclass(frozen=True)
class Sensor:
    """The channels of one product of one sensor.

    Args:
        name: Name in the catalogue, such as `sentinel-2-l2a`.
        title: Platform, instrument and product in words.
        source: Document or URL that the numbers come from.
        channels: All channels, in the order of the product.
        aliases: Other spellings of channel names, lower case (`b1` for `B01`).
    """

    name: str
    title: str
    source: str
    channels: tuple[Channel, ...]
    aliases: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the channels, in the order of the product."""
        return tuple(channel.name for channel in self.channels)

    def __contains__(self, name: str) -> bool:
        return self._find(name) is not None

    def __getitem__(self, name: str) -> Channel:
        """The channel of a name, an alias or a common name that only one channel has.

        Case does not matter.

        Raises:
            InputError: If there is none; the message lists the names there are.
        """
        channel = self._find(name)
        if channel is None:
            raise InputError(
                f"{self.name} has no band {name!r}; its bands are {', '.join(self.names)}"
            )
        return channel

    def select(self, *names: str) -> tuple[Channel, ...]:
        """The channels of these names, in the order given."""
        return tuple(self[name] for name in names)

    def _find(self, name: str) -> Channel | None:
        wanted = name.strip().lower()
        wanted = self.aliases.get(wanted, wanted).lower()
        named = [channel for channel in self.channels if channel.name.lower() == wanted]
        if not named:
            named = [c for c in self.channels if getattr(c, "common_name", None) == wanted]
        return named[0] if len(named) == 1 else None


def list_sensors() -> tuple[str, ...]:
    """Names of the sensors in the catalogue, sorted."""
    names = (entry.name for entry in _CATALOGUE.iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def load_sensor(name: str, processing_baseline: str | None = None) -> Sensor:
    """Load a sensor from the catalogue or from a user's own file.

    A user's file may extend a sensor of the catalogue and say only what differs: numbers at its top
    are for every band, a band's own entry for that band alone, a band with a new name is added.

        extends: landsat-7-etm
        name: landsat-7-ledaps
        title: Landsat 7 ETM+, LEDAPS surface reflectance and brightness temperature
        source: LEDAPS product guide
        scale: 1.0e-4
        offset: 0.0
        nodata: -9999
        bands:
          - {name: SR_B1, aliases: [band 1 reflectance]}
          - {name: ST_B6, scale: 0.01, offset: 273.15, aliases: [band 6 temperature]}

    Args:
        name: A name of the catalogue, or the path of a `.yaml` file.
        processing_baseline: Processing baseline of the product, such as `05.09` or `N0509`, where
            the sensor's stored numbers depend on it (Sentinel-2: an offset of -0.1 from 04.00 on).
            None means a product from before the first change, or one harmonised to that.

    Raises:
        InputError: If there is no such sensor, the file is not of the form, or the baseline is not
            one or makes no difference for this sensor.
    """
    if name.lower().endswith((".yaml", ".yml")):
        entry = _read_user_file(Path(name))
    else:
        entry = _read_catalogue(name.lower())
    if processing_baseline is not None:
        entry = entry.at_baseline(_baseline_number(processing_baseline))
    return Sensor(
        name=entry.name,
        title=entry.title,
        source=entry.source,
        channels=entry.channels(),
        aliases=entry.aliases(),
    )


@cache
def _read_catalogue(name: str) -> SensorFile:
    if name not in list_sensors():
        raise InputError(
            f"no sensor {name!r} in the catalogue; there are {', '.join(list_sensors())}; "
            "for another one give the path of your own .yaml file"
        )
    text = (_CATALOGUE / f"{name}.yaml").read_text(encoding="utf-8")
    return parse_sensor_file(text, origin=f"{name}.yaml", extend=_read_catalogue)


def _read_user_file(path: Path) -> SensorFile:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"sensor file {path} cannot be read as text: {error}") from error
    return parse_sensor_file(text, origin=str(path), extend=_read_catalogue)


def _baseline_number(text: str) -> float:
    """Processing baseline as a number: `05.09`, `5.09`, `0509` and `N0509` are 5.09."""
    match = re.fullmatch(r"[Nn]?(\d{1,2})\.?(\d{2})", str(text))
    if match is None:
        raise InputError(
            f"processing baseline {text!r} is not of the form 05.09 or N0509, as it stands in the "
            "product's name (in YAML, put it in quotes)"
        )
    return float(f"{match[1]}.{match[2]}")
