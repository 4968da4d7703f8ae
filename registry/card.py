"""The card: all there is to know about a registered specialist without opening its weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from registry.item import WEIGHTS, asset_sha256, frame_item, integers, weights_asset
from registry.licenses import UNSTATED, check_license
from registry.names import Reference, check_name, check_version
from registry.prototype import Prototype
from registry.stac import (
    PREFIX,
    expect,
    extensions,
    objects,
    spec_from_properties,
    spec_to_properties,
)
from registry.variant import Variant
from sensors.errors import InputError
from specialists.spec import SpecialistSpec

KIND = "specialist"
_PROTOTYPES = PREFIX + "prototypes"


@dataclass(frozen=True, kw_only=True)
class SpecialistCard:
    """A specialist's card; as a STAC Item it follows the MLM extension v1.5.2.

    Args:
        name, version: What it is registered as, such as `s2-landcover` and `1.0.0`.
        spec: Enough to build its network.
        sha256, size: Of its weight file: hexadecimal hash, and bytes.
        created: When it was registered, RFC 3339 in UTC.
        parameters: Number of parameters.
        macs: Multiply-accumulates for one chip of `spec.chip_size`.
        feature_channels, feature_reduction: Width and downsampling of each level of its feature
            pyramid, finest first.
        license: SPDX identifier of the weights' licence, or `other`.
        description: What it is good for, in a sentence; by default what its spec says.
        training: What the training run recorded: data with licence, counts and the hash of the
            split; seed, time, electricity, machine and versions; the pretrained file it began from.
        metrics: `selection` and `test` scores, and the `floors` on the same splits.
        parents: Models it was made from: `name@version`, or `sha256:` and the hash of a file.
        prototypes: Where its training data lie, in the space of one trunk each.
        variant: Its compiled form, if it has one; the weights are those that this was made of.

    Raises:
        InputError: If name, version or licence are not valid, or two prototypes are of one trunk.
    """

    name: str
    version: str
    spec: SpecialistSpec
    sha256: str
    size: int
    created: str
    parameters: int
    macs: int
    feature_channels: tuple[int, ...]
    feature_reduction: tuple[int, ...]
    license: str = UNSTATED
    description: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    prototypes: tuple[Prototype, ...] = ()
    variant: Variant | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        check_version(self.version)
        object.__setattr__(self, "license", check_license(self.license))
        object.__setattr__(self, "description", self.description or _describe(self.spec))
        if len({prototype.trunk for prototype in self.prototypes}) < len(self.prototypes):
            raise InputError(f"card {self.reference}: it has two prototypes of one trunk")

    @property
    def reference(self) -> Reference:
        """Name and version."""
        return Reference(self.name, self.version)

    @property
    def data_license(self) -> str | None:
        """Licence of the training data, as the run recorded it."""
        data = self.training.get("data")
        return data.get("licence") if isinstance(data, Mapping) else None

    def to_stac_item(self) -> dict[str, Any]:
        """The card as a STAC 1.1 Item, JSON-plain, see `registry.item`."""
        training = dict(self.training)
        data, pretrained = training.pop("data", {}), training.pop("pretrained", None)
        properties: dict[str, Any] = {
            "title": f"{self.name} {self.version}",
            "description": self.description,
            "datetime": self.created,
            "created": self.created,
            "license": self.license,
            "version": self.version,
            PREFIX + "kind": KIND,
            "mlm:name": self.name,
            **spec_to_properties(self.spec),
            "mlm:framework": "PyTorch",
            "mlm:total_parameters": self.parameters,
            "mlm:pretrained": pretrained is not None,
            "mlm:pretrained_source": pretrained and str(pretrained.get("file")),
            PREFIX + "macs": self.macs,
            PREFIX + "feature_channels": list(self.feature_channels),
            PREFIX + "feature_reduction": list(self.feature_reduction),
            PREFIX + "training_data": data,
            PREFIX + "training": training,
            PREFIX + "lineage": {"parents": list(self.parents), "pretrained": pretrained},
            PREFIX + "metrics": dict(self.metrics),
        }
        if self.prototypes:
            properties[_PROTOTYPES] = [prototype.to_dict() for prototype in self.prototypes]
        if self.variant:
            properties |= self.variant.to_properties()
        return frame_item(
            f"{self.name}-{self.version}",
            extensions(self.spec.bands, self.spec.task),
            properties,
            {
                WEIGHTS: weights_asset(self.sha256, self.size, self.spec.bands),
                **(self.variant.to_assets() if self.variant else {}),
            },
        )

    @classmethod
    def from_stac_item(cls, item: Mapping[str, Any]) -> "SpecialistCard":
        """Read a card back; it may come from anywhere.

        Raises:
            InputError: If a field is missing or malformed, or two of them contradict each other.
        """
        properties = expect(item, "properties", dict)
        if properties.get(PREFIX + "kind") != KIND:
            raise InputError(f"card of kind {properties.get(PREFIX + 'kind')!r}, expected {KIND}")
        lineage = expect(properties, PREFIX + "lineage", dict)
        training = expect(properties, PREFIX + "training", dict)
        data = expect(properties, PREFIX + "training_data", dict)
        prototypes = objects(properties, _PROTOTYPES) if _PROTOTYPES in properties else []
        sha256 = asset_sha256(item, WEIGHTS)
        return cls(
            name=expect(properties, "mlm:name", str),
            version=expect(properties, "version", str),
            spec=spec_from_properties(properties),
            sha256=sha256,
            size=expect(item["assets"][WEIGHTS], "file:size", int),
            created=expect(properties, "created", str),
            parameters=expect(properties, "mlm:total_parameters", int),
            macs=expect(properties, PREFIX + "macs", int),
            feature_channels=integers(properties, PREFIX + "feature_channels"),
            feature_reduction=integers(properties, PREFIX + "feature_reduction"),
            license=expect(properties, "license", str),
            description=expect(properties, "description", str),
            training={"data": data, **training, "pretrained": lineage.get("pretrained")},
            metrics=expect(properties, PREFIX + "metrics", dict),
            parents=tuple(expect(lineage, "parents", list)),
            prototypes=tuple(map(Prototype.from_dict, prototypes)),
            variant=Variant.from_stac_item(item),
        )


def _describe(spec: SpecialistSpec) -> str:
    bands = f"{'any of ' if spec.takes_any_known else ''}{len(spec.bands)} bands at {spec.gsd:g} m"
    if spec.task == "similarity-search":
        return f"backbone without a task for {bands}"
    return f"{spec.task} of {len(spec.classes)} from {bands}"
