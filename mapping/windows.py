"""Where the windows of a scene lie, and how much each of their pixels counts.

H, W: height and width of a window.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from sensors.errors import InputError


@dataclass(frozen=True)
class WindowPlan:
    """Equal windows on a grid that covers every pixel of a scene.

    Args:
        height, width: Size of the scene in pixels.
        window_height, window_width: Size of every window, never more than the scene's.
        rows, columns: First row and first column of the windows, ascending.
    """

    height: int
    width: int
    window_height: int
    window_width: int
    rows: tuple[int, ...]
    columns: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Upper left corners (row, column), row by row."""
        return product(self.rows, self.columns)

    def columns_touching(self, left: int, right: int) -> tuple[int, ...]:
        """First columns of the windows that have a pixel in the columns `left` to `right - 1`."""
        return tuple(c for c in self.columns if c < right and c + self.window_width > left)

    def weight_HW(self, row: int, column: int) -> NDArray[np.float32]:
        """Blending weight in (0, 1] of every pixel of the window at this corner.

        A raised cosine in each direction: a pixel near the edge of its window, where the network
        sees the least context, counts little. Where the window's edge is the scene's edge no other
        window has more context, so the weight stays 1 from the window's centre outwards.
        """
        down = _taper(self.window_height, row == 0, row + self.window_height == self.height)
        across = _taper(self.window_width, column == 0, column + self.window_width == self.width)
        return np.outer(down, across).astype(np.float32)


def plan_windows(height: int, width: int, window: int, overlap: float) -> WindowPlan:
    """Cover a scene with equal, evenly spaced windows.

    Neighbours share at least the fraction `overlap` of their length (to the pixel): the spacing is
    shortened where needed so that the last window ends exactly at the scene's edge. A scene smaller
    than the window gets one window of its own size.

    Args:
        height: Rows of the scene.
        width: Columns of the scene.
        window: Length of a window's side in pixels.
        overlap: Shared fraction of neighbouring windows, 0 <= overlap < 1.

    Raises:
        InputError: If a size is below one pixel or the overlap outside its range.
    """
    if min(height, width, window) < 1:
        raise InputError(
            f"a {height} x {width} scene cannot be covered by windows of {window} pixels: "
            "every length must be 1 or more"
        )
    if not 0 <= overlap < 1:
        raise InputError(f"overlap {overlap} is outside 0 <= overlap < 1 (0.5: windows share half)")
    stride = max(1, round(window * (1 - overlap)))
    return WindowPlan(
        height=height,
        width=width,
        window_height=min(window, height),
        window_width=min(window, width),
        rows=_starts(height, min(window, height), stride),
        columns=_starts(width, min(window, width), stride),
    )


def _starts(length: int, window: int, stride: int) -> tuple[int, ...]:
    steps = math.ceil((length - window) / stride)
    return tuple(round(i * (length - window) / max(steps, 1)) for i in range(steps + 1))


def _taper(length: int, flat_start: bool, flat_end: bool) -> NDArray[np.float64]:
    # Sampled at pixel centres, so that the first and the last pixel are above zero.
    phase = (np.arange(length) + 0.5) / length
    weight: NDArray[np.float64] = np.sin(np.pi * phase) ** 2
    if flat_start:
        weight[phase <= 0.5] = 1.0
    if flat_end:
        weight[phase >= 0.5] = 1.0
    return weight
