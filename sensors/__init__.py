"""What each band measures, the catalogue of sensors, and which given band serves a wanted one."""

from sensors._matching import BandMatch, MissingBand
from sensors.bands import (
    Band,
    Channel,
    Quantity,
    SarChannel,
    channel_from_dict,
    channel_to_dict,
)
from sensors.choice import BandChoice
from sensors.errors import InputError
from sensors.plan import BandPlan, MissingBandsError
from sensors.sensor import Sensor, list_sensors, load_sensor

__all__ = [
    "Band",
    "BandChoice",
    "BandMatch",
    "BandPlan",
    "Channel",
    "InputError",
    "MissingBand",
    "MissingBandsError",
    "Quantity",
    "SarChannel",
    "Sensor",
    "channel_from_dict",
    "channel_to_dict",
    "list_sensors",
    "load_sensor",
]
