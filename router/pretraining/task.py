"""Pretraining of a trunk as a LightningModule: masked modelling of any bands, and distillation.

Shape suffixes: B batch, C bands, H rows, W columns, N patches (row by row), P pixels of a patch.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics import MeanMetric

from router.pretraining.decoder import TrunkDecoder
from router.pretraining.distillation import Teacher, rgb_view, student_features
from router.pretraining.losses import (
    Reconstruction,
    cosine_loss,
    normalize_patches,
    patchify,
    unpatchify,
)
from router.pretraining.masking import choose_bands, draw_bands, hide_patches
from router.pretraining.recipe import TrunkRecipe
from router.trunk import Trunk
from sensors import Channel
from specialists.recipe import configure_adamw

_BETAS = (0.9, 0.95)  # of AdamW, as in the paper's pretraining
_REFERENCE_BATCH = 256


class PretrainTask(L.LightningModule):
    """A trunk that learns by completing what was hidden from it.

    A batch is a dictionary of `image` (B, C, H, W), physical; `valid`, bool of that shape; `bands`,
    a tuple of C channels; and `source`, the name of the data set it comes from.

    Args:
        trunk: What learns.
        recipe: How.
        teacher: What it learns from besides, if anything.

    Raises:
        InputError: If the recipe is not one.
    """

    def __init__(self, trunk: Trunk, recipe: TrunkRecipe, teacher: Teacher | None = None) -> None:
        super().__init__()
        recipe.check()
        self.recipe = recipe
        self.trunk = trunk
        self.decoder = TrunkDecoder(trunk.spec, recipe.decoder)
        self.teacher = teacher
        if teacher is not None:
            self.projector = nn.Linear(trunk.num_features, teacher.num_features)
        self.validation_errors: dict[str, MeanMetric] = {}
        self.train()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Error of the reconstruction of one batch, and of its distillation."""
        x_BCHW, bands, valid = batch["image"], batch["bands"], batch["valid"]
        loss = self._reconstruct_some(x_BCHW, bands, valid).error()
        terms = {"train_mse": loss}
        distance = self.distill(x_BCHW, bands, valid)
        if distance is not None:
            terms["train_distillation"] = distance
            loss = loss + self.recipe.distillation.alpha * distance
        self.log_dict(
            terms | {"train_loss": loss},
            on_step=False,
            on_epoch=True,
            prog_bar=True,
            batch_size=len(x_BCHW),
            sync_dist=True,
        )
        return loss

    def _reconstruct_some(
        self, x_BCHW: Tensor, bands: Sequence[Channel], valid: Tensor
    ) -> Reconstruction:
        """Reconstruct some of the bands from some of these, as the recipe says."""
        masking = self.recipe.masking
        if masking.max_bands is not None and len(bands) > masking.max_bands:
            chosen = list(choose_bands(len(bands), masking.max_bands))
            x_BCHW, valid = x_BCHW[:, chosen], valid[:, chosen]
            bands = [bands[number] for number in chosen]
        shown = draw_bands(len(bands), masking.drop_bands)
        return self.reconstruct(x_BCHW, bands, valid, shown=shown)

    def validation_step(
        self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Count one batch, of which the same is hidden in every epoch; all bands are shown."""
        generator = torch.Generator().manual_seed(batch_idx)
        made = self.reconstruct(batch["image"], batch["bands"], batch["valid"], generator=generator)
        metric = self.validation_errors.setdefault(batch["source"], MeanMetric())
        metric.to(self.device).update(made.error(), made.count())

    def on_validation_epoch_end(self) -> None:
        """Log the error of every source as `val_<source>_mse`, and their mean as `val_mse`."""
        errors = {source: metric.compute() for source, metric in self.validation_errors.items()}
        self.log_dict({f"val_{source}_mse": error for source, error in errors.items()})
        self.log("val_mse", torch.stack(list(errors.values())).mean(), prog_bar=True)
        self.validation_errors.clear()

    def reconstruct(
        self,
        x_BCHW: Tensor,
        bands: Sequence[Channel],
        valid: Tensor,
        *,
        shown: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
    ) -> Reconstruction:
        """Hide patches of a batch, and complete them in all bands.

        Args:
            x_BCHW: Physical pixels.
            bands: What each channel measures.
            valid: True where a pixel was measured, of the image's shape.
            shown: Numbers of the bands that the trunk is given; all by default. The others are to
                be completed at every patch.
            generator: On the CPU, decides which patches are hidden; without it, torch's global one
                does.

        Raises:
            InputError: If shapes do not fit together, or images are not made of whole patches, two
                at least.
        """
        grid = self.trunk.patch_embed.grid(*x_BCHW.shape[-2:])
        size = self.trunk.spec.patch_size
        valid = valid & x_BCHW.isfinite()
        scaled_BCHW = self.trunk.normalize(x_BCHW, bands, valid)
        mask = hide_patches(len(x_BCHW), grid, self.recipe.masking.ratio, x_BCHW.device, generator)
        given = list(range(len(bands)) if shown is None else shown)
        hidden_BNI = mask.hidden_BN[..., None].expand(-1, -1, size * size)
        seen_BCHW = torch.zeros_like(valid)
        seen_BCHW[:, given] = valid[:, given] & ~unpatchify(hidden_BNI, size, grid)
        tokens_BTD = self.trunk.forward_tokens(
            x_BCHW[:, given], [bands[number] for number in given], seen_BCHW[:, given], mask.keep_BV
        )
        codes_CE = self.trunk.patch_embed.encode(bands)
        tokens_BTD = self.trunk.fc_norm(tokens_BTD)
        predicted_BNPC = self.decoder(tokens_BTD, mask.keep_BV, grid, codes_CE).float()
        pixels_BNPC, valid_BNPC, seen_BNPC = (
            patchify(values, size).view_as(predicted_BNPC)
            for values in (scaled_BCHW, valid, seen_BCHW)
        )
        target_BNPC, mean, std = normalize_patches(pixels_BNPC, valid_BNPC, self.recipe.target)
        return Reconstruction(
            predicted_BNPC, target_BNPC, mean, std, valid_BNPC & ~seen_BNPC, seen_BCHW, grid
        )

    def distill(self, x_BCHW: Tensor, bands: Sequence[Channel], valid: Tensor) -> Tensor | None:
        """How far the trunk's features of the RGB view are from the teacher's: mean of 1 - cos.

        None without a teacher, or for images without red, green and blue. An image counts by its
        share of valid pixels.
        """
        if self.teacher is None:
            return None
        view = rgb_view(x_BCHW, bands, valid & x_BCHW.isfinite())
        if view is None:
            return None
        wanted_BD = self.teacher(self.trunk.normalize(*view))
        said_BD = self.projector(student_features(self.trunk, view))
        return cosine_loss(said_BD, wanted_BD, view.valid_B3HW.float().mean((1, 2, 3)))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW on all weights, and a learning rate that changes with every step."""
        trainer = self.trainer
        batch = self.recipe.batch_size * trainer.world_size * trainer.accumulate_grad_batches
        scaled = replace(self.recipe, lr=self.recipe.lr * batch / _REFERENCE_BATCH)
        return configure_adamw(self, scaled, int(trainer.estimated_stepping_batches), _BETAS)

    def transfer_batch_to_device(
        self, batch: dict[str, Any], device: torch.device, dataloader_idx: int
    ) -> dict[str, Any]:
        """Move the tensors of a batch; bands stay what they are."""
        return {
            name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
            for name, value in batch.items()
        }
