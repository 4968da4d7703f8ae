"""A trunk with the head of a task, and its file.

Tensor shapes: B batch, C bands, H rows, W columns, D width, K outputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from router.input_size import fit_to_patches
from router.trunk import Trunk
from router.trunk_spec import TrunkSpec
from sensors.bands import Channel
from sensors.errors import InputError
from specialists.header import decode_record, encode_record
from specialists.heads import build_head, looks_at_image
from specialists.network import TaskNetwork, check_shapes
from specialists.task_spec import TaskSpec
from specialists.tensor_files import load_module, write_tensors

METADATA_KEY = "adapted-trunk"


@dataclass(frozen=True, kw_only=True)
class AdaptedSpec:
    """Everything that an `AdaptedTrunk` is built from; JSON-plain through `to_dict`.

    Args:
        trunk: The trunk.
        task: The task and its head.
        image_size: Edge in pixels that images are resized to for the trunk; None: they grow to
            whole patches.

    Raises:
        InputError: If `image_size` is not made of whole patches.
    """

    trunk: TrunkSpec
    task: TaskSpec
    image_size: int | None = None

    def __post_init__(self) -> None:
        size, patch = self.image_size, self.trunk.patch_size
        if size is not None and (type(size) is not int or size < patch or size % patch):
            raise InputError(
                f"image_size {size!r} is not made of whole patches of {patch} pixels; give a "
                "multiple of that"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON form: strings, numbers, lists and dictionaries only."""
        return {
            "trunk": self.trunk.to_dict(),
            "task": self.task.to_dict(),
            "image_size": self.image_size,
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "AdaptedSpec":
        """Inverse of `to_dict`, for records that may come from anywhere.

        Raises:
            InputError: If a part is missing, unknown or refused.
        """
        if not isinstance(record, dict) or set(record) != {"trunk", "task", "image_size"}:
            raise InputError("an adapted trunk is described by trunk, task and image_size")
        return cls(
            trunk=TrunkSpec.from_dict(record["trunk"]),
            task=TaskSpec.from_dict(record["task"]),
            image_size=record["image_size"],
        )


class AdaptedTrunk(TaskNetwork):
    """A trunk that answers a task.

    The trunk looks at all bands that are given, whatever they are. A `pool` head or `linear`
    decoder looks at nothing but its features; other heads look at the image, too, and need the
    bands that they were trained on (`bands`).

    It keeps the contract of every feature network here, see `Trunk`; H and W there are those of the
    resized image.

    Args:
        spec: What to build; weights are random.
    """

    def __init__(self, spec: AdaptedSpec) -> None:
        super().__init__(spec.task)
        self.image_size = spec.image_size
        self.trunk = Trunk(spec.trunk)
        info = self.trunk.feature_info
        self.head = build_head(spec.task, info.channels(), info.reduction())

    @property
    def adapted_spec(self) -> AdaptedSpec:
        """What it was built from."""
        return AdaptedSpec(trunk=self.trunk.spec, task=self.spec, image_size=self.image_size)

    @property
    def bands(self) -> tuple[Channel, ...] | None:
        """What it needs; None: it takes any."""
        return self.spec.bands if looks_at_image(self.spec) else None

    @property
    def feature_info(self) -> Any:  # noqa: ANN401 - timm ships no types
        """`channels()` and `reduction()` of every level, finest first."""
        return self.trunk.feature_info

    @property
    def num_features(self) -> int:
        """Width of every level."""
        return self.trunk.num_features

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Which weights belong to which layer, as timm's tools ask for it."""
        return {
            "stem": r"trunk\.(?:cls_token|patch_embed)",
            "blocks": [(r"trunk\.blocks\.(\d+)", None), (r"trunk\.(?:norm|fc_norm)", (99999,))],
        }

    def forward_features(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> list[Tensor]:
        """Levels of the trunk, finest first; arguments and errors as for `forward`."""
        x_BCHW, usable, given = self._prepare(x_BCHW, bands, valid)
        return self.trunk.forward_features(x_BCHW, given, usable)

    def forward(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """Raw outputs (B, K) or (B, K, H, W), see `TaskNetwork`.

        Args:
            x_BCHW: Physical pixels.
            bands: What each channel measures; without it, they are `spec.bands` in this order.
            valid: True where a pixel was measured, shape of `x_BCHW`.

        Raises:
            InputError: If shapes do not fit together; `MissingBandsError` if one of `bands` is
                needed and not given.
        """
        x_BChw, usable, given = self._prepare(x_BCHW, bands, valid)
        image = x_BChw if self.bands is None else self.normalize(x_BChw, given, usable)
        if self.spec.is_per_pixel or self.spec.head != "pool":
            features = self.trunk.forward_features(x_BChw, given, usable)
        else:
            features = [self.trunk.embed(x_BChw, given, usable)[:, :, None, None]]
        outputs: Tensor = self.head(features, image)
        if self.spec.is_per_pixel and outputs.shape[-2:] != x_BCHW.shape[-2:]:
            outputs = F.interpolate(outputs, x_BCHW.shape[-2:], mode="bilinear", antialias=True)
        return outputs

    def _prepare(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None, valid: Tensor | None
    ) -> tuple[Tensor, Tensor, tuple[Channel, ...]]:
        given = self.spec.bands if bands is None else tuple(bands)
        check_shapes(x_BCHW, given, valid)
        patch_size = self.trunk.spec.patch_size
        x_BCHW, usable = fit_to_patches(x_BCHW, valid, patch_size, self.image_size)
        return x_BCHW, usable, given


def save_adapted(network: AdaptedTrunk, path: Path | str) -> None:
    """Write an adapted trunk's weights and spec; the same weights are the same bytes every time.

    The file appears complete or not at all.

    Args:
        network: On any device.
        path: The `.safetensors` file to write or replace.

    Raises:
        InputError: If a weight is not finite.
    """
    write_tensors(network, path, encode_record(METADATA_KEY, network.adapted_spec.to_dict()))


def load_adapted(path: Path | str) -> AdaptedTrunk:
    """Rebuild an adapted trunk from its file, in evaluation mode on the CPU.

    Raises:
        InputError: If the file is missing, truncated or not an adapted trunk's, if its tensors are
            not those of its spec, or if a weight is not finite.
    """
    return load_module(path, _decode_header, AdaptedTrunk)


def _decode_header(metadata: Mapping[str, str] | None, path: Path) -> AdaptedSpec:
    return decode_record(metadata, METADATA_KEY, AdaptedSpec.from_dict, path)
