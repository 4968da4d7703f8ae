"""Pictures of test chips: what is there, what was labelled, and what an encoder's probe said.

Shape suffixes: H height, W width.
"""

import base64
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import matplotlib.image
import numpy as np
from numpy.typing import NDArray
from rasterio.transform import Affine

from evaluation.cells import Subject
from evaluation.folder import ResultsFolder
from rasters import IGNORE_INDEX, RasterImage, class_colors
from rasters.picture import NODATA, render_scene


def write_examples(
    folder: ResultsFolder, subject: Subject, protocol: str, maps: Mapping[str, NDArray[np.uint8]]
) -> None:
    """Keep pictures of some test chips with the map of each.

    Args:
        folder: Where.
        subject: Encoder and data set.
        protocol: Name of the protocol.
        maps: Class of every pixel (H, W), by the chip's id.
    """
    chips, classes = subject.data.chips["test"], subject.data.task.classes
    colors = class_colors(classes)
    items = []
    for id_, map_HW in maps.items():
        chip = chips[chips.ids.index(id_)]
        scene = RasterImage(
            chip["image"].numpy(), chip["valid"].numpy(), chips.bands, Affine.identity(), None
        )
        picture, shows = render_scene(scene)
        items.append(
            {
                "id": id_,
                "shows": shows,
                "image": _data_uri(picture),
                "label": _data_uri(_paint(chip["mask"].numpy(), colors)),
                "prediction": _data_uri(_paint(map_HW, colors)),
            }
        )
    content = {
        "data": subject.data.name,
        "protocol": protocol,
        "encoder": subject.encoder.name,
        "classes": [
            [name, f"#{red:02x}{green:02x}{blue:02x}"]
            for name, (red, green, blue) in zip(classes, colors, strict=True)
        ],
        "items": items,
    }
    folder.write("examples", subject.data.name, protocol, subject.encoder.name, content=content)


def _paint(classes_HW: NDArray[Any], colors: list[tuple[int, int, int]]) -> NDArray[np.float64]:
    """Colours 0..1 of a map, grey where there is no label."""
    table = np.full((IGNORE_INDEX + 1, 3), NODATA)
    table[: len(colors)] = np.array(colors) / 255
    painted: NDArray[np.float64] = table[classes_HW]
    return painted


def _data_uri(picture: NDArray[np.float64]) -> str:
    file = BytesIO()
    matplotlib.image.imsave(file, np.clip(picture, 0, 1), format="png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
