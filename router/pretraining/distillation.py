"""Learning from a published network of RGB pictures (DOFA, arXiv 2403.15356, section 3.3).

Shape suffixes: B batch, C bands, H rows, W columns, D features.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
import torch.nn.functional as F
from torch import Tensor

from rasters.picture import picture_bands
from router.trunk import Trunk
from sensors import BandPlan, Channel, InputError


class RgbView(NamedTuple):
    """Red, green and blue of a batch.

    Args:
        x_B3HW: Physical pixels.
        bands: What they measure.
        valid_B3HW: True where a pixel was measured.
    """

    x_B3HW: Tensor
    bands: tuple[Channel, ...]
    valid_B3HW: Tensor


def rgb_view(x_BCHW: Tensor, bands: Sequence[Channel], valid_BCHW: Tensor) -> RgbView | None:
    """Red, green and blue as `BandPlan` finds them, or None for images without them."""
    wanted = picture_bands(bands)
    if len(wanted) < 3:
        return None
    plan = BandPlan.match(wanted, bands)
    # A given band is told to the trunk as what it is, a mix of several as what it stands for.
    told = tuple(
        plan.given[match.sources[0]] if len(match.sources) == 1 else match.wanted
        for match in plan.matches
    )
    return RgbView(plan.apply(x_BCHW), told, plan.apply_valid(valid_BCHW))


class Teacher:
    """A frozen timm network; no module, so that it is neither trained nor kept in a checkpoint.

    It tells the mean over the picture of the second-last output of a transformer, as in the paper,
    or of the last output of a network that goes down in resolution.

    Args:
        name: As in `timm.list_models()`.
        weights: Its local weight file; without it, timm fetches the published weights.

    Raises:
        InputError: If timm has no such model, or its weights cannot be had or read.
    """

    def __init__(self, name: str, weights: Path | str | None = None) -> None:
        if not timm.is_model(name):
            raise InputError(
                f"timm has no model {name!r} to be a teacher; timm.list_models() has all names"
            )
        settings: dict[str, Any] = {"pretrained": True}
        if weights is not None:
            settings["pretrained_cfg_overlay"] = {"file": str(weights)}
        try:
            network: Any = timm.create_model(name, **settings)
        except Exception as error:  # no network, no such file, a broken or foreign one
            raise InputError(
                f"teacher {name} cannot be had from {weights or 'its published weights'} "
                f"({type(error).__name__}: {error!s:.300}); give a weight file of this model as "
                "distillation.weights"
            ) from error
        self._index = -2 if hasattr(network, "blocks") else -1
        self.network = network.requires_grad_(False).eval()
        config = network.pretrained_cfg
        self.size = tuple(config["input_size"][-2:])
        self.mean_311 = torch.tensor(config["mean"])[:, None, None]
        self.std_311 = torch.tensor(config["std"])[:, None, None]
        self.num_features: int = network.feature_info[self._index]["num_chs"]

    @torch.no_grad()
    def __call__(self, normalized_B3HW: Tensor) -> Tensor:
        """Features (B, D).

        Args:
            normalized_B3HW: Red, green and blue with mean 0 and deviation 1 over the data. They are
                stretched to the mean and deviation of the pictures that the teacher knows, and cut
                to 0..1, as pictures are.
        """
        device = normalized_B3HW.device
        mean_311, std_311 = self.mean_311.to(device), self.std_311.to(device)
        picture_B3HW = (normalized_B3HW * std_311 + mean_311).clamp(0, 1)
        picture_B3HW = F.interpolate(picture_B3HW, self.size, mode="bilinear", antialias=True)
        network = self.network.to(device)
        [map_BDYX] = network.forward_intermediates(
            (picture_B3HW - mean_311) / std_311, indices=[self._index], intermediates_only=True
        )
        features_BD: Tensor = map_BDYX.mean((2, 3))
        return features_BD


def student_features(trunk: Trunk, view: RgbView) -> Tensor:
    """Mean (B, D) of the patches' tokens before the last block, of a picture with nothing hidden.

    A trunk of a single block gives those after it.
    """
    outputs = trunk.run_blocks(trunk.embed_patches(*view))
    for _ in range(max(1, len(trunk.blocks) - 1)):
        tokens_BTD = next(outputs)
    return tokens_BTD[:, 1:].mean(1)
