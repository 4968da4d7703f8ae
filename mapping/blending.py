"""The open rows of a map: overlapping windows are added, finished rows are taken out.

K: layers (classes or targets). H, W: height and width of a window. R: rows of a finished part.
"""

import numpy as np
from numpy.typing import NDArray


class BlendingRows:
    """Weighted mean of overlapping windows, for a stripe of columns and the few rows still open.

    Windows come in order of their first row. A row is finished once every later window starts below
    it; then it is taken out, and its memory is used for the next rows. Memory is `layers + 1`
    float32 numbers for each of `columns x window_height` pixels, however tall the map is.

    Args:
        layers: K.
        window_height: Rows of the tallest window.
        left, right: First column and first column behind the stripe; what lies outside is dropped.
    """

    def __init__(self, layers: int, window_height: int, left: int, right: int) -> None:
        self.left, self.right = left, right
        self.top = 0
        self._sum_KHW = np.zeros((layers, window_height, right - left), np.float32)
        self._weight_HW = np.zeros((window_height, right - left), np.float32)

    def add(
        self, values_KHW: NDArray[np.float32], weight_HW: NDArray[np.float32], row: int, column: int
    ) -> None:
        """Add a window whose upper left pixel lies at (`row`, `column`) of the map.

        `values_KHW` may be (K, 1, 1): one answer for the whole window.
        """
        height, width = weight_HW.shape
        first, last = max(column, self.left), min(column + width, self.right)
        inside = slice(first - column, last - column)
        here = (
            slice(row - self.top, row - self.top + height),
            slice(first - self.left, last - self.left),
        )
        weight = weight_HW[:, inside]
        if values_KHW.shape[1:] == weight_HW.shape:
            values_KHW = values_KHW[:, :, inside]
        self._sum_KHW[:, *here] += values_KHW * weight
        self._weight_HW[here] += weight

    def finish(self, row: int) -> NDArray[np.float32]:
        """Take out the rows above `row` (exclusive): (K, R, columns), 0 where no window reached."""
        count = row - self.top
        sum_KRW, weight_RW = self._sum_KHW[:, :count], self._weight_HW[:count]
        values_KRW = np.zeros_like(sum_KRW)
        np.divide(sum_KRW, weight_RW, out=values_KRW, where=weight_RW > 0)
        for rows in (*self._sum_KHW, self._weight_HW):
            rows[:-count] = rows[count:].copy()
            rows[-count:] = 0
        self.top = row
        return values_KRW
