"""A spec in the words of STAC: common metadata, MLM v1.5.2, EO v2.0.0, raster, SAR.

Every part of the spec has one place, so that a card cannot contradict itself: bands in `bands`,
scaling in `mlm:input`, classes in `mlm:output`, the rest in `mlm:hyperparameters`. Fields that no
extension has carry our own prefix. Physics is in the extensions' units: wavelengths in micrometres,
`gsd` in metres, radar frequencies in GHz.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sensors.bands import Channel, SarChannel, channel_from_dict, channel_to_dict
from sensors.errors import InputError
from specialists.spec import SpecialistSpec

PREFIX = "terraguild:"
_EXTENSION = "https://stac-extensions.github.io/{}/schema.json"
_BAND_FIELDS = {
    "name": "name",
    "gsd": "gsd",
    "nodata": "nodata",
    "center_wavelength": "eo:center_wavelength",
    "full_width_half_max": "eo:full_width_half_max",
    "common_name": "eo:common_name",
    "polarization": "sar:polarizations",
    "center_frequency": "sar:center_frequency",
    "scale": "raster:scale",
    "offset": "raster:offset",
}
_CHANNEL_FIELDS = {key: field for field, key in _BAND_FIELDS.items()}
_EO_COMMON_NAMES = (
    "pan",
    "coastal",
    "blue",
    "green",
    "green05",
    "yellow",
    "red",
    "rededge",
    "rededge071",
    "rededge075",
    "rededge078",
    "nir",
    "nir08",
    "nir09",
    "cirrus",
    "swir16",
    "swir22",
    "lwir",
    "lwir11",
    "lwir12",
)
# GHz from, GHz up to, and the letter that the SAR extension has for it.
_RADAR_BANDS = (
    (0.25, 0.5, "P"),
    (1, 2, "L"),
    (2, 4, "S"),
    (4, 8, "C"),
    (8, 12, "X"),
    (12, 18, "Ku"),
    (18, 27, "K"),
    (27, 40, "Ka"),
)
_OUTPUT_DIMENSIONS = {
    "scene-classification": "class",
    "semantic-segmentation": "class",
    "regression": "channel",
    "similarity-search": "channel",
}


def expect(record: Mapping[str, Any], field: str, kind: type | tuple[type, ...]) -> Any:  # noqa: ANN401
    """A field of a record that came from outside, if it is of the expected kind.

    Raises:
        InputError: If it is missing or of another kind.
    """
    value = record.get(field)
    # JSON's true and false are not numbers, though Python's are.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        expected = " or ".join(entry.__name__ for entry in kinds)
        raise InputError(f"card field {field} holds {value!r}, expected {expected}")
    return value


def extensions(bands: Iterable[Channel], task: str) -> list[str]:
    """Schema addresses of the STAC extensions that a card of these bands and this task uses."""
    fields = {field for band in bands for field in band_to_stac(band)}
    names = ["mlm/v1.5.2", "file/v2.1.0", "version/v1.2.0"]
    for prefix, name in (
        ("eo:", "eo/v2.0.0"),
        ("raster:", "raster/v2.0.0"),
        ("sar:", "sar/v1.3.1"),
    ):
        if any(field.startswith(prefix) for field in fields):
            names.append(name)
    if task in ("scene-classification", "semantic-segmentation"):
        names.append("classification/v2.0.0")
    return [_EXTENSION.format(name) for name in names]


def spec_to_properties(spec: SpecialistSpec) -> dict[str, Any]:
    """The Item properties that hold a spec; `spec_from_properties` is the inverse."""
    record = spec.to_dict()
    for field in ("architecture", "task", "bands", "classes", "mean", "std", "gsd"):
        del record[field]
    return {
        "gsd": spec.gsd,
        "bands": [band_to_stac(band) for band in spec.bands],
        "mlm:architecture": spec.architecture,
        "mlm:tasks": [spec.task],
        "mlm:input": [_input(spec)],
        "mlm:output": [
            output_to_stac(
                spec.task,
                spec.classes,
                is_per_pixel=spec.is_per_pixel,
                activation="sigmoid" if spec.multi_label else "softmax",
            )
        ],
        "mlm:hyperparameters": record,
    }


def spec_from_properties(properties: Mapping[str, Any]) -> SpecialistSpec:
    """Read the spec back from a card's properties, which may come from anywhere.

    Raises:
        InputError: If a field is missing, malformed, or contradicts another one.
    """
    bands = [_channel_record(band) for band in objects(properties, "bands")]
    given, result = (single(objects(properties, f"mlm:{part}")) for part in ("input", "output"))
    check_input_bands(given, [band["name"] for band in bands])
    scaling = objects(given, "value_scaling")
    if any(entry.get("type") != "z-score" for entry in scaling):
        raise InputError("card field value_scaling must hold one z-score per band")
    return SpecialistSpec.from_dict(
        expect(properties, "mlm:hyperparameters", dict)
        | {
            "architecture": properties.get("mlm:architecture"),
            "task": single(expect(properties, "mlm:tasks", list)),
            "bands": bands,
            "classes": classes_from_stac(result),
            "mean": [entry.get("mean") for entry in scaling],
            "std": [entry.get("stddev") for entry in scaling],
            "gsd": properties.get("gsd"),
        }
    )


def band_to_stac(channel: Channel) -> dict[str, Any]:
    """STAC band object of a channel; `band_from_stac` is the inverse."""
    record = channel_to_dict(channel)
    del record["kind"]
    if record["scale"] == 1 and record["offset"] == 0:
        del record["scale"], record["offset"]
    band = {_BAND_FIELDS.get(field, PREFIX + field): value for field, value in record.items()}
    if band.get("eo:common_name", "red") not in _EO_COMMON_NAMES:
        band[PREFIX + "common_name"] = band.pop("eo:common_name")
    if isinstance(channel, SarChannel):
        band["sar:polarizations"] = [channel.polarization]
        frequency = channel.center_frequency
        for low, high, letter in _RADAR_BANDS:
            if low <= frequency < high:
                band["sar:frequency_band"] = letter
    return band | {"unit": channel.unit}


def band_from_stac(band: Mapping[str, Any]) -> Channel:
    """Read a channel back from a STAC band object, which may have fields of others beside ours.

    Raises:
        InputError: If what it says is not a channel.
    """
    return channel_from_dict(_channel_record(band))


def _channel_record(band: Mapping[str, Any]) -> dict[str, Any]:
    """What `channel_from_dict` takes, from a STAC band object."""
    record = {
        _CHANNEL_FIELDS.get(key) or key.removeprefix(PREFIX): value
        for key, value in band.items()
        if key in _CHANNEL_FIELDS or key.startswith(PREFIX)
    }
    if "sar:polarizations" in band:
        record["polarization"] = single(expect(band, "sar:polarizations", list))
    expect(record, "name", str)
    for field in record.keys() & {"common_name", "quantity"}:
        expect(record, field, str)
    for field in record.keys() & {"gsd", "nodata", "scale", "offset"}:
        expect(record, field, (int, float))
    return record


def _input(spec: SpecialistSpec) -> dict[str, Any]:
    description = "Physical pixels; see unit and quantity of each band. Any height and width."
    if spec.takes_any_known:
        description += " Any of these bands, or others that are like one of them."
    return {
        "name": "image",
        "description": description,
        "bands": [band.name for band in spec.bands],
        "input": {
            "shape": [-1, -1 if spec.takes_any_known else len(spec.bands), -1, -1],
            "dim_order": ["batch", "bands", "height", "width"],
            "data_type": "float32",
        },
        "value_scaling": [
            {"type": "z-score", "mean": mean, "stddev": std}
            for mean, std in zip(spec.mean, spec.std, strict=True)
        ],
        "resize_type": None,
    }


def check_input_bands(given: Mapping[str, Any], names: Sequence[str]) -> None:
    """Refuse an entry of `mlm:input` that does not name the bands that the card describes.

    Raises:
        InputError: See above.
    """
    if given.get("bands") != names:
        raise InputError(
            f"card field mlm:input has the bands {given.get('bands')}, and bands describes {names}"
        )


def output_to_stac(
    task: str, classes: Sequence[str], *, is_per_pixel: bool, activation: str | None = None
) -> dict[str, Any]:
    """Entry of `mlm:output`; `classes_from_stac` reads the classes back.

    Args:
        task: One of STAC MLM's.
        classes: Names of the classes, or of a regression's targets; none for similarity search.
        is_per_pixel: It has a value for every pixel.
        activation: What makes probabilities of the logits, if that is known.
    """
    pixel = (-1, -1) if is_per_pixel else ()
    outputs = -1 if task == "similarity-search" else len(classes)
    dimensions = ["batch", _OUTPUT_DIMENSIONS[task], "height", "width"]
    output: dict[str, Any] = {
        "name": task,
        "tasks": [task],
        "result": {
            "shape": [-1, outputs, *pixel],
            "dim_order": dimensions[: 2 + len(pixel)],
            "data_type": "float32",
        },
    }
    if task == "similarity-search":
        return output | {"classification:classes": []}
    if task == "regression":
        return output | {"classification:classes": [], PREFIX + "targets": list(classes)}
    output["description"] = f"Logits; {activation} of them" if activation else "Logits"
    output["classification:classes"] = [
        {"value": value, "name": _slug(value, name), "title": name}
        for value, name in enumerate(classes)
    ]
    return output


def classes_from_stac(output: Mapping[str, Any]) -> list[Any]:
    """Names of the classes in an entry of `mlm:output`, which may come from anywhere.

    Raises:
        InputError: If they are not counted from 0.
    """
    if PREFIX + "targets" in output:
        return list(expect(output, PREFIX + "targets", list))
    classes = objects(output, "classification:classes")
    if [entry.get("value") for entry in classes] != list(range(len(classes))):
        raise InputError("card field classification:classes must count its values from 0")
    return [entry.get("title") for entry in classes]


def _slug(value: int, name: str) -> str:
    """A class name of the letters that the classification extension allows."""
    return re.sub(r"[^0-9A-Za-z_-]+", "_", name).strip("_") or f"class_{value}"


def objects(record: Mapping[str, Any], field: str) -> list[dict[str, Any]]:
    """A field that holds a list of objects.

    Raises:
        InputError: If it does not.
    """
    values: list[dict[str, Any]] = expect(record, field, list)
    if not all(isinstance(value, dict) for value in values):
        raise InputError(f"card field {field} must be a list of objects")
    return values


def single(values: Sequence[Any]) -> Any:  # noqa: ANN401
    """The only one of these.

    Raises:
        InputError: If there are more, or none.
    """
    if len(values) != 1:
        raise InputError(f"a card has one of each, got {len(values)}: {values!r:.200}")
    return values[0]
