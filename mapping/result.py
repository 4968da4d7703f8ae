"""What a finished map holds."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class MapResult:
    """What `predict_map` made.

    Args:
        path: The map.
        probabilities_path: The file of class probabilities, where there is one.
        picture_path: The picture, where there is one.
        pixels: Pixels that have a prediction.
        nodata_pixels: Pixels that have none: the scene lacks a needed band there, for an ensemble
            all of them.
        pixel_area: Square metres that a pixel covers; None without a CRS in units of length.
        shares: Share of `pixels` by class (multi-label: of probability 0.5 or more); empty for
            regression.
        ranges: Minimum, mean and maximum by target; empty for classification.
        windows: Windows that cover the scene, those skipped for lack of data included.
        seconds: Wall time, without the picture.
        members_path: The map of the members asked, where there is one.
    """

    path: Path
    probabilities_path: Path | None
    picture_path: Path | None
    pixels: int
    nodata_pixels: int
    pixel_area: float | None
    shares: dict[str, float]
    ranges: dict[str, tuple[float, float, float]]
    windows: int
    seconds: float
    members_path: Path | None = None
