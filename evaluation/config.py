"""What `evaluate-encoder` is asked for: its schema, and the data sets and protocols it names.

`configs/evaluate.yaml` has the defaults, `configs/data` the data sets (those that specialists are
trained on) and `configs/protocol` the protocols.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from evaluation.probes import ProbeConfig
from sensors import InputError
from specialists.config import compose_checked
from specialists.named_data import base_and_changes, changed

SPLITS = ("own", "random", "block")


@dataclass
class ProtocolConfig:
    """A probe, and how the data set is used.

    The probe is always fitted on the training split as it is delivered; what is dropped or changed
    below concerns the test images alone, as it would happen to a model in use.

    Args:
        title: What a table calls it.
        description: A sentence for the report.
        probe: What is fitted on the frozen features.
        label_fraction: Share of the labels, of the training and of the selection split alike.
        split: `own` of the data set; `random`, all its chips dealt anew by hash of their names in
            the same numbers; `block`, dealt in blocks of ground.
        block_size: For `block`, the edge of a block in degrees.
        drop_wavelengths: Optical bands with a centre from the first to the second number
            (micrometres) are missing in the test images.
        drop_bands: The same, by name.
        test_sensor: Test images as this sensor would deliver them.
        test_data: Test images of another data set, with classes of the same names.
    """

    title: str
    description: str
    probe: ProbeConfig
    label_fraction: float = 1.0
    split: str = "own"
    block_size: float | None = None
    drop_wavelengths: list[float] | None = None
    drop_bands: list[str] = field(default_factory=list)
    test_sensor: str | None = None
    test_data: str | None = None

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise InputError(f"protocol split {self.split!r} is not one of {', '.join(SPLITS)}")
        if (self.split == "block") != (self.block_size is not None):
            raise InputError("protocol split=block goes with a block_size in degrees, others not")
        if not 0 < self.label_fraction <= 1:
            raise InputError(f"label_fraction {self.label_fraction} is not above 0 and at most 1")
        if self.drop_wavelengths is not None and len(self.drop_wavelengths) != 2:
            raise InputError(
                f"drop_wavelengths {self.drop_wavelengths}: expected two wavelengths in "
                "micrometres, from and to"
            )


_VARIATIONS = ("label_fraction", "drop_wavelengths", "drop_bands", "test_sensor", "test_data")


@dataclass
class EvaluateConfig:
    """One evaluation: encoders x data sets x protocols x seeds.

    Args:
        encoders: Each a name from the registry (`name` or `name@version`), a weight file or run
            folder of a specialist, `timm:NAME`, `torchgeo:NAME`, or a mapping of the fields of
            `EncoderConfig`.
        data_sets: Each a name from `configs/data`, or a mapping with `base`, such a name, and what
            to change.
        protocols: Each a name from `configs/protocol`, or a mapping with `base` and changes; a
            protocol is left out for data sets of a task that its probe does not serve.
        seeds: Of random encoders, label subsets and probes.
        floors: Evaluate the floors beside: majority, image statistics, random convolution, and a
            network of random weights for each architecture among the encoders.
        root: Folder of data sets.
        out: Folder of results; what is finished in it is not done again.
        cache: Folder of features, `out`/features if not given.
        registry: The registry of specialists; by default `$TERRAGUILD_REGISTRY`, else the user's.
        device: `auto`, `cpu` or `cuda`.
        batch_size: Images at once.
        workers: Processes that read chips beside; 0 reads in a thread.
        image_size: Resize every image to this edge, in pixels; by default as it is.
        resamples: Bootstrap resamples of an interval.
        efficiency: Measure cost on one data set (its name) or on `all`; `none` for none.
        energy_seconds: How long each measurement of energy lasts.
        examples: Test chips whose maps the report shows, for each data set of a per-pixel task.
    """

    encoders: list[Any]
    data_sets: list[Any]
    protocols: list[Any]
    root: str
    out: str
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    floors: bool = True
    cache: str | None = None
    registry: str | None = None
    device: str = "auto"
    batch_size: int = 64
    workers: int = 0
    image_size: int | None = None
    resamples: int = 1000
    efficiency: str = "all"
    energy_seconds: float = 5.0
    examples: int = 2


# `configs/evaluate.yaml` starts from it, so that Hydra knows every key, its type and its default.
ConfigStore.instance().store(name="evaluate_schema", node=EvaluateConfig)


def compose_evaluation(
    overrides: Sequence[str] = (), config_dir: Path | None = None
) -> EvaluateConfig:
    """Compose the configuration `evaluate` with Hydra.

    Args:
        overrides: In Hydra's grammar, such as `data_sets=[eurosat_rgb]`.
        config_dir: A folder of one's own groups, searched beside `configs`.

    Raises:
        InputError: If a key or value is not what it may be, or a list is empty.
    """
    config = compose_checked("evaluate", EvaluateConfig, overrides, config_dir)
    for name in ("data_sets", "protocols", "seeds"):
        if not getattr(config, name):
            raise InputError(f"{name} is empty: name at least one")
    if not config.encoders and not config.floors:
        raise InputError("encoders is empty and floors is false: there is nothing to evaluate")
    return config


def load_protocol(entry: object, config_dir: Path | None = None) -> tuple[str, ProtocolConfig]:
    """A protocol and its name, by the name of its file in `configs/protocol`, or with changes.

    Args:
        entry: The name, or a mapping with `base`, the fields to change, and perhaps a `name`.
        config_dir: A folder searched beside `configs`.

    Raises:
        InputError: If there is none of this name, or a change does not fit the schema.
    """
    base, changes = base_and_changes(entry, "protocol")
    known = list_protocols(config_dir)
    if base not in known:
        raise InputError(f"there is no protocol {base}; there are {', '.join(known)}")
    name = str(changes.pop("name", base))
    composed = compose_checked(f"protocol/{base}", _ProtocolFile, (), config_dir).protocol
    if changes and name == base:
        raise InputError(f"protocol {base} with changes {changes} needs a name of its own")
    return name, changed(composed, changes, "protocol")


def base_of(name: str, protocols: Mapping[str, ProtocolConfig]) -> str | None:
    """The protocol of which another is a variation, in labels or in test images alone.

    Args:
        name: Of the variation.
        protocols: All that are evaluated.

    Returns:
        The name of the protocol that uses all labels and changes no test image, and is the same
        otherwise; None if there is none, or `name` is such a one itself.
    """
    plain = {other: to_plain(protocol) for other, protocol in protocols.items()}
    default = {entry.name: entry.default for entry in fields(ProtocolConfig)} | {"drop_bands": []}
    words = {key: "" for key in ("title", "description")}
    wanted = plain[name] | {key: default[key] for key in _VARIATIONS} | words
    if wanted == plain[name] | words:
        return None
    return next((other for other in plain if plain[other] | words == wanted), None)


def list_protocols(config_dir: Path | None = None) -> list[str]:
    """Names of the protocols there are, in `configs` and a folder of one's own."""
    folders: list[Traversable] = [resources.files("configs") / "protocol"]
    if config_dir is not None and (config_dir / "protocol").is_dir():
        folders.append(config_dir / "protocol")
    files = [file.name for folder in folders for file in folder.iterdir()]
    return sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))


def to_plain(config: object) -> dict[str, Any]:
    """A configuration as dictionaries, lists, strings and numbers."""
    plain = OmegaConf.to_container(DictConfig(OmegaConf.structured(config)), resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


@dataclass
class _ProtocolFile:
    """Hydra puts the content of a file in a group under the group's name."""

    protocol: ProtocolConfig
