"""Which layers of which files make up a stack."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from rasterio.io import DatasetReader

from rasters._bands import Layer, identify_layers, name_layers
from sensors.bands import Channel
from sensors.errors import InputError
from sensors.sensor import Sensor, load_sensor

Sensors = str | Sensor | Sequence[str | Sensor]
Datasets = Mapping[Path, DatasetReader]
Layers = dict[Path, tuple[Layer, ...]]

_SAFE_BASELINE = re.compile(r"_N(\d\d)(\d\d)_")
_NO_BASELINE = "99.99"  # N9999 marks products of the Sentinel-2 toolbox, whatever their offset

# A data set opens thousands of files of one sensor: its YAML is read once.
_cached_sensor = lru_cache(maxsize=64)(load_sensor)


def load_sensors(
    sensors: Sensors | None, processing_baseline: str | None, datasets: Datasets
) -> list[Sensor]:
    """The sensors named, with the scaling of the files' processing baseline."""
    if sensors is None:
        return []
    given = [sensors] if isinstance(sensors, str | Sensor) else list(sensors)
    loaded = []
    for sensor in given:
        baseline = processing_baseline
        if isinstance(sensor, Sensor):
            loaded.append(sensor)
            continue
        if sensor.startswith("sentinel-2"):
            baseline = baseline or _find_baseline(datasets)
        elif len(given) > 1:
            baseline = None  # it was given for another one of them
        loaded.append(_cached_sensor(sensor, baseline))
    return loaded


def _find_baseline(datasets: Datasets) -> str | None:
    """Sentinel-2 processing baseline that the files or the product's name tell."""
    found = set()
    for path, dataset in datasets.items():
        in_name = _SAFE_BASELINE.search(str(path.absolute()))
        tag = dataset.tags().get("PROCESSING_BASELINE")
        found.add(tag or (f"{in_name[1]}.{in_name[2]}" if in_name else None))
    found -= {None, _NO_BASELINE}
    if len(found) > 1:
        raise InputError(
            f"files of several processing baselines ({', '.join(sorted(map(str, found)))}) have "
            "different offsets: stack files of one product"
        )
    return found.pop() if found else None


def choose_layers(
    groups: Sequence[Sequence[Path]],
    datasets: Datasets,
    sensors: Sequence[Sensor],
    bands: Sequence[str] | None,
    drop_bands: Sequence[str],
    names: Mapping[str, Sequence[str]],
) -> tuple[Layers, list[Channel]]:
    """Layers to read of every file, and the order of the stack.

    Args:
        groups: Files of each source; a folder is one source.
        datasets: The files, open.
        sensors: Those among whose bands names are looked up.
        bands: Names for layers that say nothing of themselves; or else the bands wanted.
        drop_bands: Those not wanted.
        names: Names of the layers of some files, by the file's name.

    Raises:
        InputError: If a layer cannot be told, a band is there twice, or none is left.
    """
    layers: Layers = {}
    unnamed: list[tuple[Path, int]] = []
    for group in groups:
        found = {
            path: _named_layers(path, datasets[path], sensors, names[path.name])
            if path.name in names
            else identify_layers(path, datasets[path], sensors)
            for path in group
        }
        layers |= found
        if not any(found.values()):
            unnamed += [(path, datasets[path].count) for path in group]
    if unnamed:
        layers |= name_layers(unnamed, bands, sensors)
    layers = _drop_coarser(groups, layers, datasets)
    order = [layer.channel for found in layers.values() for layer in found]
    if bands is not None and not unnamed:
        order = _select(order, bands, sensors)
    dropped = _select(order, drop_bands, sensors)
    order = [channel for channel in order if channel not in dropped]
    if dropped and not order:
        raise InputError(f"drop_bands names all the bands: {', '.join(drop_bands)}")
    layers = {
        path: tuple(layer for layer in found if layer.channel in order)
        for path, found in layers.items()
    }
    return {path: found for path, found in layers.items() if found}, order


def _named_layers(
    path: Path, dataset: DatasetReader, sensors: Sequence[Sensor], names: Sequence[str]
) -> tuple[Layer, ...]:
    """Layers of a file whose names are given; none if they are another sensor's."""
    if not any(name in sensor for sensor in sensors for name in names):
        return ()
    return name_layers([(path, dataset.count)], names, sensors)[path]


def _select(
    given: Sequence[Channel], names: Sequence[str], sensors: Sequence[Sensor]
) -> list[Channel]:
    stack = Sensor("the stack", "", "", tuple(given))
    selected: list[Channel] = []
    for name in names:
        candidates = [source[name] for source in (stack, *sensors) if name in source]
        found = next((band for band in candidates if band in given), None)
        if found is None:
            raise InputError(
                f"no band is called {name!r} in these files: they hold {', '.join(stack.names)}"
            )
        if found in selected:
            raise InputError(f"band {found.name} is asked for twice")
        selected.append(found)
    return selected


def _drop_coarser(groups: Sequence[Sequence[Path]], layers: Layers, datasets: Datasets) -> Layers:
    """Of a product that holds a band at several resolutions, keep the finest."""
    chosen: dict[Channel, Path] = {}
    folder_of = {path: number for number, group in enumerate(groups) for path in group}
    for path, found in layers.items():
        for layer in found:
            other = chosen.setdefault(layer.channel, path)
            if other == path:
                continue
            sizes = {candidate: datasets[candidate].width for candidate in (other, path)}
            if folder_of[other] != folder_of[path] or sizes[other] == sizes[path]:
                raise InputError(
                    f"band {layer.channel.name} is in {other} and in {path}: give it once"
                )
            chosen[layer.channel] = max(sizes, key=lambda candidate: sizes[candidate])
    return {
        path: tuple(layer for layer in found if chosen[layer.channel] == path)
        for path, found in layers.items()
    }
