"""Rows of an array on disk, read when they are used."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray


class Rows:
    """A choice of an array's rows that costs nothing until it is indexed.

    Args:
        array: (N, ...), usually memory-mapped.
        indices: Which rows, in this order; all if not given.
    """

    def __init__(self, array: NDArray[Any], indices: NDArray[np.int64] | None = None) -> None:
        self._array = array
        self._indices = np.arange(len(array)) if indices is None else indices
        self.shape = (len(self._indices), *array.shape[1:])
        self.dtype = array.dtype

    def take(self, indices: ArrayLike) -> "Rows":
        """Some of these rows."""
        return Rows(self._array, self._indices[np.asarray(indices, dtype=np.int64)])

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: Any) -> NDArray[Any]:  # noqa: ANN401 - whatever numpy takes
        """The rows of a number, slice or array of numbers, in memory."""
        return np.array(self._array[self._indices[index]])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(dtype or self.dtype, copy=False)
