"""Random changes of a training batch that leave its meaning as it is.

Everything is drawn per sample on the batch's own device from torch's global generator, so that
seeding torch seeds the augmentation. Pixels are physical, therefore the radiometric changes are
too: a gain multiplies reflectance, and adds its decibels to backscatter.

Shape suffixes: B batch, C channels, H height, W width, K classes, N any trailing axes.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sensors import InputError
from specialists.task_spec import TaskSpec

Batch = dict[str, Any]


@dataclass
class AugmentConfig:
    """What may happen to a training sample.

    Args:
        flip: Mirror left-right and up-down, each for half of the samples.
        rotate90: Turn by a random multiple of 90 degrees (of 180 where a chip is not square).
        shift: Move by up to this many pixels; the border is filled by reflection.
        brightness: Largest relative change of a band's gain, drawn per band and sample.
        noise: Standard deviation of added Gaussian noise, as a share of the band's own deviation.
        band_dropout: Probability that a band is marked invalid; at least one band stays.
        mixup, cutmix: Concentration of the Beta distribution of the mixing ratio; 0 is off. With
            both on, each batch is mixed by one of them.
    """

    flip: bool = True
    rotate90: bool = True
    shift: int = 0
    brightness: float = 0.0
    noise: float = 0.0
    band_dropout: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0


class Augment:
    """The augmentation of one specialist's training batches.

    Args:
        config: What may happen.
        spec: The specialist: its bands say how a gain acts, its deviations scale the noise.

    Raises:
        InputError: If samples are to be mixed for a task whose targets cannot be.
    """

    def __init__(self, config: AugmentConfig, spec: TaskSpec) -> None:
        if (config.mixup or config.cutmix) and spec.task != "scene-classification":
            raise InputError(
                f"mixup and cutmix mix scene labels, and the task is {spec.task}; "
                "set trainer.augment.mixup=0 trainer.augment.cutmix=0"
            )
        self.config = config
        self.num_classes = len(spec.classes)
        self.std = torch.tensor(spec.std)
        quantities = [band.quantity for band in spec.bands]
        self.is_scaled = torch.tensor([q in ("reflectance", "brightness") for q in quantities])
        self.is_decibel = torch.tensor([q == "backscatter" for q in quantities])

    def __call__(self, batch: Batch) -> Batch:
        """Augment a batch.

        Args:
            batch: `image` (B, C, H, W) physical, `valid` (B, C, H, W) bool, and `label` (B,) or
                (B, K), or `mask` (B, H, W) or (B, K, H, W).

        Returns:
            A batch of the same entries; a mixed single `label` becomes a distribution (B, K).
            Invalid pixels are 0.
        """
        config = self.config
        batch = dict(batch)
        spatial = [key for key in ("image", "valid", "mask") if key in batch]
        moved = _move(
            [batch[key] for key in spatial],
            replace(config, shift=min(config.shift, min(batch["image"].shape[-2:]) - 1)),
        )
        batch.update(zip(spatial, moved, strict=True))
        if config.brightness:
            batch["image"] = self._change_gain(batch["image"])
        if config.noise:
            scale_C11 = self.std.to(batch["image"])[:, None, None] * config.noise
            batch["image"] = batch["image"] + torch.randn_like(batch["image"]) * scale_C11
        if config.band_dropout:
            batch["valid"] = batch["valid"] & _keep_bands(batch["valid"], config.band_dropout)
        if config.mixup or config.cutmix:
            batch = self._mix(batch)
        batch["image"] = batch["image"].masked_fill(~batch["valid"], 0)
        return batch

    def _change_gain(self, x_BCHW: Tensor) -> Tensor:
        draw_BC11 = torch.rand(x_BCHW.shape[:2], device=x_BCHW.device)[..., None, None] * 2 - 1
        gain_BC11 = 1 + self.config.brightness * draw_BC11
        is_scaled_C11 = self.is_scaled.to(x_BCHW.device)[:, None, None]
        is_decibel_C11 = self.is_decibel.to(x_BCHW.device)[:, None, None]
        x_BCHW = x_BCHW * torch.where(is_scaled_C11, gain_BC11, 1.0)
        return x_BCHW + torch.where(is_decibel_C11, 10 * gain_BC11.log10(), 0.0)

    def _mix(self, batch: Batch) -> Batch:
        x_BCHW, valid_BCHW, label = batch["image"], batch["valid"], batch["label"]
        if label.ndim == 1:
            label = functional.one_hot(label, self.num_classes).to(x_BCHW.dtype)
        order_B = torch.randperm(len(x_BCHW), device=x_BCHW.device)
        mixup, cutmix = self.config.mixup, self.config.cutmix
        if mixup and (not cutmix or torch.rand(()) < 0.5):
            share_B = _draw_beta(mixup, x_BCHW)
            share_B111 = share_B[:, None, None, None]
            image = x_BCHW * share_B111 + x_BCHW[order_B] * (1 - share_B111)
            valid = valid_BCHW & valid_BCHW[order_B]
        else:
            inside_B1HW = _draw_boxes(1 - _draw_beta(cutmix, x_BCHW), *x_BCHW.shape[-2:])
            share_B = 1 - inside_B1HW.flatten(1).float().mean(1)
            image = torch.where(inside_B1HW, x_BCHW[order_B], x_BCHW)
            valid = torch.where(inside_B1HW, valid_BCHW[order_B], valid_BCHW)
        label = label * share_B[:, None] + label[order_B] * (1 - share_B[:, None])
        return batch | {"image": image, "valid": valid, "label": label}


def _move(tensors: list[Tensor], config: AugmentConfig) -> list[Tensor]:
    """Move all tensors (B, N, H, W) in the same random way, another for each sample."""
    first = tensors[0]
    size, device = len(first), first.device
    height, width = first.shape[-2:]

    def choose(flag_B: Tensor, moved: Tensor, still: Tensor) -> Tensor:
        return torch.where(flag_B.view(-1, *[1] * (still.ndim - 1)), moved, still)

    if config.flip:
        for axis in (-1, -2):
            flag_B = torch.rand(size, device=device) < 0.5
            tensors = [choose(flag_B, x.flip(axis), x) for x in tensors]
    if config.rotate90:
        turns_B = torch.randint(4, (size,), device=device)
        tensors = [choose(turns_B >= 2, x.flip((-1, -2)), x) for x in tensors]
        if height == width:
            tensors = [choose(turns_B % 2 == 1, x.rot90(1, (-2, -1)), x) for x in tensors]
    if config.shift:
        rows_BH = _draw_shifted(size, height, config.shift, device)
        columns_BW = _draw_shifted(size, width, config.shift, device)
        tensors = [_take(x, rows_BH, columns_BW) for x in tensors]
    return tensors


def _draw_shifted(size: int, length: int, shift: int, device: torch.device) -> Tensor:
    """Positions (size, length), shifted by one draw per sample and reflected at both ends."""
    offset = torch.randint(-shift, shift + 1, (size, 1), device=device)
    position = (torch.arange(length, device=device) + offset).abs()
    return (length - 1) - ((length - 1) - position).abs()


def _take(x: Tensor, rows_BH: Tensor, columns_BW: Tensor) -> Tensor:
    middle = [1] * (x.ndim - 3)
    x = torch.take_along_dim(x, rows_BH.view(len(x), *middle, -1, 1), dim=-2)
    return torch.take_along_dim(x, columns_BW.view(len(x), *middle, 1, -1), dim=-1)


def _keep_bands(valid_BCHW: Tensor, probability: float) -> Tensor:
    """Which bands stay, (B, C, 1, 1); the band with the highest draw of a sample always does."""
    draw_BC = torch.rand(valid_BCHW.shape[:2], device=valid_BCHW.device)
    # A band without one valid pixel must not be the only one that stays.
    draw_BC = draw_BC * valid_BCHW.flatten(2).any(2)
    keep_BC = (draw_BC >= probability) | (draw_BC == draw_BC.amax(1, keepdim=True))
    return keep_BC[..., None, None]


def _draw_beta(concentration: float, like: Tensor) -> Tensor:
    parameter = torch.full((len(like),), concentration, device=like.device)
    return torch.distributions.Beta(parameter, parameter).sample()


def _draw_boxes(area_B: Tensor, height: int, width: int) -> Tensor:
    """Boxes of the given share of the chip, cut at its border (CutMix, arXiv 1905.04899, eq. 2)."""
    device, half_B = area_B.device, area_B.sqrt() / 2

    def inside(length: int) -> Tensor:
        centre_B1 = torch.rand(len(area_B), 1, device=device) * length
        distance_BL = (torch.arange(length, device=device) + 0.5 - centre_B1).abs()
        return distance_BL < half_B[:, None] * length

    return (inside(height)[:, :, None] & inside(width)[:, None, :])[:, None]
