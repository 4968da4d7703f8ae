"""Who was asked: the open rows of a map of choices, one number a window.

H, W: height and width of a window. R: rows of a finished part.
"""

import numpy as np
from numpy.typing import NDArray

NOBODY = 255  # what no window reached: nodata of the file


class ChoiceRows:
    """The choice of the window that counts most at every pixel, for a stripe and its open rows.

    Windows come in order of their first row, as for `mapping.blending.BlendingRows`. Of windows
    that count the same the first one wins.

    Args:
        window_height: Rows of the tallest window.
        left, right: First column and first column behind the stripe; what lies outside is dropped.
    """

    def __init__(self, window_height: int, left: int, right: int) -> None:
        self.left, self.right = left, right
        self.top = 0
        self._choice_HW = np.full((window_height, right - left), NOBODY, np.uint8)
        self._weight_HW = np.zeros((window_height, right - left), np.float32)

    def add(self, choice: int, weight_HW: NDArray[np.float32], row: int, column: int) -> None:
        """Add a window whose upper left pixel lies at (`row`, `column`) of the map."""
        height, width = weight_HW.shape
        first, last = max(column, self.left), min(column + width, self.right)
        here = (
            slice(row - self.top, row - self.top + height),
            slice(first - self.left, last - self.left),
        )
        weight_HW = weight_HW[:, first - column : last - column]
        wins_HW = weight_HW > self._weight_HW[here]
        self._choice_HW[here][wins_HW] = choice
        self._weight_HW[here][wins_HW] = weight_HW[wins_HW]

    def finish(self, row: int) -> NDArray[np.uint8]:
        """Take out the rows above `row` (exclusive): (R, columns)."""
        count = row - self.top
        choice_RW = self._choice_HW[:count].copy()
        for rows, empty in ((self._choice_HW, NOBODY), (self._weight_HW, 0)):
            rows[:-count] = rows[count:].copy()
            rows[-count:] = empty
        self.top = row
        return choice_RW
