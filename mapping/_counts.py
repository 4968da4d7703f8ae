"""What a map holds, counted while it is made.

K: classes or targets. N: valid pixels.
"""

import numpy as np

from mapping._sweep import MapRows
from specialists.task_spec import TaskSpec


class LayerCounts:
    """Classes or values over the valid pixels of a map.

    Args:
        spec: Says what the layers are.
    """

    def __init__(self, spec: TaskSpec) -> None:
        self._spec = spec
        layers = len(spec.classes)
        self.pixels = 0
        self._class_pixels = np.zeros(layers, np.int64)
        self._sums = np.zeros(layers, np.float64)
        self._minima = np.full(layers, np.inf)
        self._maxima = np.full(layers, -np.inf)

    def add(self, rows: MapRows) -> None:
        """Count one finished part."""
        values_KN = rows.values_KHW[:, rows.valid_HW]
        layers, pixels = values_KN.shape
        if not pixels:
            return
        self.pixels += pixels
        if self._spec.task == "regression":
            self._sums += values_KN.sum(1, dtype=np.float64)
            self._minima = np.minimum(self._minima, values_KN.min(1))
            self._maxima = np.maximum(self._maxima, values_KN.max(1))
        elif self._spec.multi_label:
            self._class_pixels += (values_KN >= 0.5).sum(1)
        else:
            self._class_pixels += np.bincount(values_KN.argmax(0), minlength=layers)

    @property
    def shares(self) -> dict[str, float]:
        """Share of the valid pixels by class; empty for regression."""
        if self._spec.task == "regression":
            return {}
        shares = self._class_pixels / max(self.pixels, 1)
        return dict(zip(self._spec.classes, shares.tolist(), strict=True))

    @property
    def ranges(self) -> dict[str, tuple[float, float, float]]:
        """Minimum, mean and maximum by target of a regression, where there is a valid pixel."""
        if self._spec.task != "regression" or not self.pixels:
            return {}
        means = self._sums / self.pixels
        numbers = zip(self._minima.tolist(), means.tolist(), self._maxima.tolist(), strict=True)
        return dict(zip(self._spec.classes, numbers, strict=True))
