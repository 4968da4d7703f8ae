"""Who an ensemble asks for one image, as a table."""

from collections.abc import Sequence
from pathlib import Path

import torch
from rasterio.windows import Window
from rich.console import Console
from rich.table import Table

from rasters import read_raster
from rasters.read import ReadOptions
from registry.registry import Registry
from router.ensemble_files import load_ensemble
from router.explanation import Explanation


def explain_image(
    ensemble: str,
    files: Sequence[Path],
    *,
    registry: Path | None = None,
    box: Sequence[int] | None = None,
    reading: ReadOptions | None = None,
) -> Explanation:
    """Print which members an ensemble asks for an image.

    Args:
        ensemble: Its folder, or its registered name.
        files: That together hold the bands.
        registry: Folder of the registry; the default one if not given.
        box: First row, first column, height and width of the part to look at, in pixels; all by
            default.
        reading: How to read the files, see `rasters.open_raster`.

    Raises:
        InputError: If the ensemble or the image cannot be opened.
    """
    network = load_ensemble(ensemble, Registry.open(registry))
    window = None if box is None else Window(box[1], box[0], box[3], box[2])
    image = read_raster(list(files), window=window, **(reading or {}))
    [explanation] = network.explain(
        torch.from_numpy(image.pixels)[None],
        image.bands,
        torch.from_numpy(image.valid)[None],
        (reading or {}).get("gsd"),
    )
    Console().print(explanation_table(explanation, f"{ensemble}: {', '.join(map(str, files))}"))
    return explanation


def explanation_table(explanation: Explanation, title: str) -> Table:
    """Members that run, then those that were not chosen, then those that cannot run."""
    table = Table(title=title)
    table.add_column("member")
    table.add_column("weight", justify="right")
    table.add_column("why")
    for name, weight in explanation.weights.items():
        share = explanation.probabilities[name]
        table.add_row(name, f"[bold]{weight:.3f}[/]", f"probability {share:.3f}")
    for name, share in explanation.probabilities.items():
        if name not in explanation.weights:
            table.add_row(name, "-", f"not chosen, probability {share:.3f}")
    for name, missing in explanation.missing.items():
        table.add_row(name, "-", f"[yellow]cannot run, missing {missing}[/]")
    if not explanation.weights:
        table.caption = "no member can run: the trunk's own features are used, if there is a trunk"
    return table
