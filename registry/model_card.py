"""The card of what is no specialist: a trunk, or an ensemble."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from registry.checksum import check_sha256
from registry.item import WEIGHTS, asset_sha256, frame_item, integers, pinned_asset, weights_asset
from registry.licenses import UNSTATED, check_license
from registry.names import Reference, check_name, check_version
from registry.stac import (
    PREFIX,
    band_from_stac,
    band_to_stac,
    check_input_bands,
    classes_from_stac,
    expect,
    extensions,
    objects,
    output_to_stac,
    single,
)
from sensors.bands import Channel
from sensors.errors import InputError
from specialists.task_spec import TASKS

MODEL_KINDS = ("trunk", "ensemble")
FEATURES = "similarity-search"
"""What STAC MLM calls the task of a model that gives features and no answers."""
_ARCHITECTURES = {"trunk": "DOFA vision transformer", "ensemble": "ensemble of specialists"}


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """The card of a trunk or an ensemble; as a STAC Item it follows the MLM extension v1.5.2.

    Args:
        name, version, sha256, size, created, license, description, training, metrics, parents: As
            for `SpecialistCard`; `training` is kept as it is.
        kind: One of `MODEL_KINDS`.
        spec: Enough to build it, JSON-plain. The registry does not look into it.
        parameters: Number of parameters, those of an ensemble's members and trunk included.
        macs: Multiply-accumulates for one image; `router.registering` says which image.
        feature_channels, feature_reduction: Width and downsampling of each level of its feature
            pyramid, finest first.
        bands: What its answers need; empty: it takes any.
        gsd: Ground sample distance in metres that it was trained for; None: any.
        task: What it answers; None: it gives features.
        classes: Names of the answers, as for `SpecialistSpec`.
        pinned: Label (`trunk`, `member:NAME@VERSION`) to the SHA-256 of a blob that must stay as
            long as this card does.

    Raises:
        InputError: If a value cannot be.
    """

    name: str
    version: str
    kind: str
    spec: Mapping[str, Any]
    sha256: str
    size: int
    created: str
    parameters: int
    macs: int
    feature_channels: tuple[int, ...]
    feature_reduction: tuple[int, ...]
    bands: tuple[Channel, ...] = ()
    gsd: float | None = None
    task: str | None = None
    classes: tuple[str, ...] = ()
    license: str = UNSTATED
    description: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    pinned: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.name)
        check_version(self.version)
        if self.kind not in MODEL_KINDS:
            raise InputError(f"card of kind {self.kind!r}, expected {' or '.join(MODEL_KINDS)}")
        if not self.spec:
            raise InputError(f"card {self.reference}: its spec is empty, and so builds nothing")
        if self.task == FEATURES:
            object.__setattr__(self, "task", None)
        if self.task is not None and self.task not in TASKS:
            raise InputError(f"card {self.reference}: task {self.task!r} is not {', '.join(TASKS)}")
        if bool(self.classes) != bool(self.task) or not _are_names(self.classes):
            raise InputError(
                f"card {self.reference}: task {self.task} with the classes {self.classes!r:.200}; "
                "a task has names of classes, and features have none"
            )
        if self.gsd is not None and not 0 < self.gsd < float("inf"):
            raise InputError(f"card {self.reference}: gsd {self.gsd} is not a distance in metres")
        for sha256 in self.pinned.values():
            check_sha256(sha256)
        if WEIGHTS in self.pinned:
            raise InputError(f"card {self.reference}: {WEIGHTS!r} names its own file, not a pin")
        object.__setattr__(self, "license", check_license(self.license))
        object.__setattr__(self, "description", self.description or _describe(self))

    @property
    def reference(self) -> Reference:
        """Name and version."""
        return Reference(self.name, self.version)

    def to_stac_item(self) -> dict[str, Any]:
        """The card as a STAC 1.1 Item, JSON-plain, see `registry.item`."""
        task = self.task or FEATURES
        properties: dict[str, Any] = {
            "title": f"{self.name} {self.version}",
            "description": self.description,
            "datetime": self.created,
            "created": self.created,
            "license": self.license,
            "version": self.version,
            PREFIX + "kind": self.kind,
            "mlm:name": self.name,
            **({} if self.gsd is None else {"gsd": self.gsd}),
            **({"bands": [band_to_stac(band) for band in self.bands]} if self.bands else {}),
            "mlm:architecture": _ARCHITECTURES[self.kind],
            "mlm:tasks": [task],
            "mlm:input": [_input(self.bands)],
            "mlm:output": [
                output_to_stac(
                    task, self.classes, is_per_pixel=self.task == "semantic-segmentation"
                )
            ],
            "mlm:hyperparameters": dict(self.spec),
            "mlm:framework": "PyTorch",
            "mlm:total_parameters": self.parameters,
            PREFIX + "macs": self.macs,
            PREFIX + "feature_channels": list(self.feature_channels),
            PREFIX + "feature_reduction": list(self.feature_reduction),
            PREFIX + "training": dict(self.training),
            PREFIX + "lineage": {"parents": list(self.parents)},
            PREFIX + "metrics": dict(self.metrics),
        }
        pins = {label: pinned_asset(label, sha256) for label, sha256 in self.pinned.items()}
        return frame_item(
            f"{self.name}-{self.version}",
            extensions(self.bands, task),
            properties,
            {WEIGHTS: weights_asset(self.sha256, self.size, self.bands), **pins},
        )

    @classmethod
    def from_stac_item(cls, item: Mapping[str, Any]) -> "ModelCard":
        """Read a card back; it may come from anywhere.

        Raises:
            InputError: If a field is missing or malformed, or two of them contradict each other.
        """
        properties = expect(item, "properties", dict)
        sha256 = asset_sha256(item, WEIGHTS)
        assets = item["assets"]
        described = objects(properties, "bands") if "bands" in properties else []
        bands = tuple(map(band_from_stac, described))
        given, result = (single(objects(properties, f"mlm:{part}")) for part in ("input", "output"))
        if bands:
            check_input_bands(given, [band.name for band in bands])
        return cls(
            name=expect(properties, "mlm:name", str),
            version=expect(properties, "version", str),
            kind=expect(properties, PREFIX + "kind", str),
            spec=expect(properties, "mlm:hyperparameters", dict),
            sha256=sha256,
            size=expect(assets[WEIGHTS], "file:size", int),
            created=expect(properties, "created", str),
            parameters=expect(properties, "mlm:total_parameters", int),
            macs=expect(properties, PREFIX + "macs", int),
            feature_channels=integers(properties, PREFIX + "feature_channels"),
            feature_reduction=integers(properties, PREFIX + "feature_reduction"),
            bands=bands,
            gsd=float(expect(properties, "gsd", (int, float))) if "gsd" in properties else None,
            task=single(expect(properties, "mlm:tasks", list)),
            classes=tuple(classes_from_stac(result)),
            license=expect(properties, "license", str),
            description=expect(properties, "description", str),
            training=expect(properties, PREFIX + "training", dict),
            metrics=expect(properties, PREFIX + "metrics", dict),
            parents=tuple(expect(expect(properties, PREFIX + "lineage", dict), "parents", list)),
            pinned={label: asset_sha256(item, label) for label in assets if label != WEIGHTS},
        )


def _are_names(values: tuple[str, ...]) -> bool:
    return all(isinstance(value, str) and value for value in values)


def _input(bands: tuple[Channel, ...]) -> dict[str, Any]:
    """Entry of `mlm:input`; only named bands may be a dimension called so."""
    named = {"bands": [band.name for band in bands]} if bands else {}
    return {
        "name": "image",
        "description": "Physical pixels; see unit and quantity of each band. Any height and width."
        if bands
        else "Physical pixels of any bands, told beside them. Any height and width.",
        **named,
        "input": {
            "shape": [-1, len(bands) or -1, -1, -1],
            "dim_order": ["batch", "bands" if bands else "channel", "height", "width"],
            "data_type": "float32",
        },
        "resize_type": None,
    }


def _describe(card: ModelCard) -> str:
    if card.kind == "trunk":
        return f"trunk of width {max(card.feature_channels, default=0)} for any bands"
    members = sum(label.startswith("member:") for label in card.pinned)
    answer = f"{card.task} of {len(card.classes)}" if card.task else "features"
    return f"{answer} from an ensemble of {members} specialists"
