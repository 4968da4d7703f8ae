"""Images that lose a sensor while an ensemble learns, so that it does without one later.

Shape suffixes: B batch, C bands, H rows, W columns, S kinds of sensors.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sensors.bands import Channel, SarChannel
from specialists.augment import Batch

KINDS = ("optical", "radar", "thermal")


def kind_of_sensor(band: Channel) -> str:
    """Which of `KINDS` measures a band."""
    if isinstance(band, SarChannel):
        return "radar"
    return "thermal" if band.quantity == "temperature" else "optical"


class SensorDropout:
    """Takes all bands of one kind of sensor from some images, never the last kind that one has.

    What is drawn does not depend on the order of the bands.

    Args:
        bands: Of the batches.
        probability: That an image with several kinds loses one of them, each as likely.
    """

    def __init__(self, bands: Sequence[Channel], probability: float) -> None:
        self.probability = probability
        kinds = [kind_of_sensor(band) for band in bands]
        self.is_kind_SC = torch.tensor([[kind == one for kind in kinds] for one in KINDS])

    def __call__(self, batch: Batch) -> Batch:
        """The batch with fewer valid pixels; those are 0 in `image`.

        Args:
            batch: `image` (B, C, H, W) and `valid` of its shape.
        """
        valid_BCHW: Tensor = batch["valid"]
        is_kind_SC = self.is_kind_SC.to(valid_BCHW.device)
        has_BC = valid_BCHW.flatten(2).any(2)
        has_BS = (has_BC[:, None] & is_kind_SC).any(2)
        draw_BS = torch.rand(has_BS.shape, device=has_BS.device).masked_fill(~has_BS, -1)
        draw_B = torch.rand(len(has_BS), device=has_BS.device)
        loses_B = (draw_B < self.probability) & (has_BS.sum(1) > 1)
        lost_BC = is_kind_SC[draw_BS.argmax(1)] & loses_B[:, None]
        valid_BCHW = valid_BCHW & ~lost_BC[..., None, None]
        image_BCHW = batch["image"].masked_fill(~valid_BCHW, 0)
        return batch | {"image": image_BCHW, "valid": valid_BCHW}
