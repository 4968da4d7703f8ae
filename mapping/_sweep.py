"""Over a scene, stripe by stripe: read a row of windows, run the network, blend, hand out rows.

B: batch. C: the bands of the network. S: the scene's bands. K: classes or targets.
H, W: height and width of a window or of finished rows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from mapping._attribution import NOBODY, ChoiceRows
from mapping.backends import Backend
from mapping.blending import BlendingRows
from mapping.windows import WindowPlan
from rasters import Raster, RasterImage
from sensors import Channel

Choose = Callable[[NDArray[np.float32], NDArray[np.bool_]], NDArray[np.uint8]]

_STRIPE_BYTES = 64 * 2**20  # for one row of windows across a stripe
_BLOCK = 512  # the tile side of the files written: stripes that end on a tile write every tile once


@dataclass(frozen=True)
class MapRows:
    """A finished part of the map.

    Args:
        row, column: Where its upper left pixel lies.
        values_KHW: Blended probabilities or target values.
        valid_HW: Where the scene holds what the network needs.
        scene_SHW, scene_valid_SHW: The scene itself there, all S bands of it.
        choices_HW: Who was asked, where that is wanted.
    """

    row: int
    column: int
    values_KHW: NDArray[np.float32]
    valid_HW: NDArray[np.bool_]
    scene_SHW: NDArray[np.float32]
    scene_valid_SHW: NDArray[np.bool_]
    choices_HW: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class _Run:
    """What a stripe is run by, and what gathers the answers."""

    backend: Backend
    blending: BlendingRows
    choose: Choose | None
    choices: ChoiceRows | None
    advance: Callable[[int], None]


@dataclass(frozen=True)
class Sweep:
    """How a scene is gone over.

    The scene is cut into stripes of columns, so narrow that one row of windows fits a fixed budget:
    memory depends on the window and not on the scene. A window that lies on the border of two
    stripes runs for both, so stripes leave no trace in the map.

    Args:
        raster: The scene.
        bands: Those to read.
        layers: K.
        plan: The windows.
        batch_size: Windows run at once.
        any_band: A pixel counts where any of the bands is valid; otherwise all must be.
    """

    raster: Raster
    bands: tuple[Channel, ...]
    layers: int
    plan: WindowPlan
    batch_size: int
    any_band: bool = False

    @property
    def stripes(self) -> list[tuple[int, int]]:
        """First column and first column behind, of every stripe."""
        # Three float32 numbers for everything: as read, as used, and one on the way between.
        pixel_bytes = 12 * (len(self.raster.bands) + len(self.bands) + self.layers + 1)
        width = _STRIPE_BYTES // (pixel_bytes * self.plan.window_height)
        width = max(1, width // _BLOCK) * _BLOCK
        return [
            (left, min(left + width, self.plan.width)) for left in range(0, self.plan.width, width)
        ]

    @property
    def windows(self) -> int:
        """Number of windows to go over, those on a border of stripes counted twice."""
        return len(self.plan.rows) * sum(
            len(self.plan.columns_touching(*stripe)) for stripe in self.stripes
        )

    def rows(
        self,
        backend: Backend,
        advance: Callable[[int], None],
        choose: Choose | None = None,
    ) -> Iterator[MapRows]:
        """Yield the map's parts: every pixel of the scene once, rows ascending within a stripe.

        Args:
            backend: Runs the network.
            advance: Told how many windows were dealt with.
            choose: Says who was asked; given the same as the backend.
        """
        plan = self.plan
        for left, right in self.stripes:
            columns = plan.columns_touching(left, right)
            first, last = columns[0], columns[-1] + plan.window_width
            blending = BlendingRows(self.layers, plan.window_height, left, right)
            choices = ChoiceRows(plan.window_height, left, right) if choose else None
            run = _Run(backend, blending, choose, choices, advance)
            for row, below in zip(plan.rows, (*plan.rows[1:], plan.height), strict=True):
                scene = self.raster.read(Window(first, row, last - first, plan.window_height))
                image = scene.select(self.bands)
                valid_HW = np.asarray(image.valid.any(0)) if self.any_band else image.valid_HW
                self._predict_row(image, valid_HW, row, columns, run)
                done = np.s_[..., : below - row, left - first : right - first]
                yield MapRows(
                    row=row,
                    column=left,
                    values_KHW=blending.finish(below),
                    valid_HW=valid_HW[done],
                    scene_SHW=scene.pixels[done],
                    scene_valid_SHW=scene.valid[done],
                    choices_HW=_where(choices, below, valid_HW[done]),
                )

    def _predict_row(
        self,
        image: RasterImage,
        valid_HW: NDArray[np.bool_],
        row: int,
        columns: Sequence[int],
        run: _Run,
    ) -> None:
        """Run the windows of one row that hold any data; `image` starts at `columns[0]`."""
        width = self.plan.window_width
        spans = {c: slice(c - columns[0], c - columns[0] + width) for c in columns}
        coverage = {c: valid_HW[:, spans[c]].mean() for c in columns}
        wanted = [c for c in columns if coverage[c] > 0]
        run.advance(len(columns) - len(wanted))
        for i in range(0, len(wanted), self.batch_size):
            batch = wanted[i : i + self.batch_size]
            x_BCHW = np.stack([image.pixels[:, :, spans[c]] for c in batch])
            valid_BCHW = np.stack([image.valid[:, :, spans[c]] for c in batch])
            values = run.backend(x_BCHW, valid_BCHW)
            if run.choose and run.choices:
                chosen_B = run.choose(x_BCHW, valid_BCHW).tolist()
                for column, choice in zip(batch, chosen_B, strict=True):
                    run.choices.add(choice, self.plan.weight_HW(row, column), row, column)
            for column, values_K in zip(batch, values, strict=True):
                weight_HW = self.plan.weight_HW(row, column)
                if values_K.ndim == 1:
                    # One answer for a whole window is worth what the window shows.
                    weight_HW = weight_HW * np.float32(coverage[column])
                    values_K = values_K[:, None, None]
                run.blending.add(values_K, weight_HW, row, column)
            run.advance(len(batch))


def _where(
    choices: ChoiceRows | None, below: int, valid_HW: NDArray[np.bool_]
) -> NDArray[np.uint8] | None:
    """Finished rows of a map of choices, nothing where the map itself has nothing."""
    if choices is None:
        return None
    return np.where(valid_HW, choices.finish(below), NOBODY).astype(np.uint8)
