"""`predict-map`: a scene and the name of a specialist or an ensemble become a map."""

import argparse
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from mapping.result import MapResult
from sensors import InputError
from sensors.errors import exit_on_input_error

if TYPE_CHECKING:
    from router.task_ensemble import TaskEnsemble
    from specialists.compiled import CompiledSpecialist
    from specialists.model import Specialist

BACKENDS = ("torch", "openvino")
_WEIGHTS = "weights.safetensors"  # the name within a run folder


@exit_on_input_error
def main() -> None:
    """Run the command; bad input leaves with exit code 2 and writes nothing."""
    arguments = parse_arguments()
    console = Console(stderr=True)
    with _plain_warnings(console):
        # Imported here: torch takes seconds, and `--help` needs none of it.
        from mapping.backends import choose_backend
        from mapping.predict import predict_map

        model = load(arguments.model, arguments.registry, arguments.backend)
        backend = choose_backend(model, arguments.device)
        result = predict_map(
            arguments.scene,
            model,
            arguments.out,
            probabilities=arguments.probabilities,
            window=arguments.window,
            overlap=arguments.overlap,
            batch_size=arguments.batch_size,
            picture=arguments.picture,
            members=arguments.members,
            backend=backend,
            sensor=arguments.sensor,
            bands=arguments.bands,
            processing_baseline=arguments.processing_baseline,
            scale=arguments.scale,
            offset=arguments.offset,
            same_grid=arguments.same_grid,
            gsd=arguments.gsd,
        )
    report(result, Console())


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line (`sys.argv` by default)."""
    parser = argparse.ArgumentParser(
        prog="predict-map",
        description="Turn a georeferenced scene into a map with one registered specialist, or an "
        "ensemble of them.",
        epilog="The map is a Cloud-Optimized GeoTIFF on the scene's own grid; QGIS shows classes "
        "by name and colour.",
    )
    parser.add_argument(
        "scene",
        nargs="+",
        type=Path,
        help="raster files that together hold the bands, or a folder of them",
    )
    parser.add_argument(
        "--specialist",
        "--model",
        dest="model",
        required=True,
        metavar="NAME[@VERSION]",
        help="a registered specialist or ensemble, the folder of a run or of an ensemble, or a "
        "specialist's .safetensors file",
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="MAP.tif", help="the map to write"
    )
    parser.add_argument(
        "--probabilities",
        action="store_true",
        help="write every class's probability to MAP_probabilities.tif too",
    )
    parser.add_argument(
        "--picture", type=Path, metavar="MAP.png", help="draw the scene beside its map here"
    )
    parser.add_argument(
        "--members",
        type=Path,
        metavar="MEMBERS.tif",
        help="for an ensemble: map here which member had the largest weight",
    )
    parser.add_argument(
        "--registry",
        type=Path,
        metavar="PATH",
        help="registry folder (default: $TERRAGUILD_REGISTRY)",
    )

    scene = parser.add_argument_group("what the scene holds, where its files do not say")
    scene.add_argument(
        "--sensor",
        type=_names,
        metavar="NAME[,NAME]",
        help="sensors of the catalogue, or a sensor's own file (.yaml)",
    )
    scene.add_argument(
        "--bands",
        type=_names,
        metavar="B02,B03,...",
        help="names of the bands in file order",
    )
    scene.add_argument(
        "--processing-baseline", metavar="NN.NN", help="of Sentinel-2 products, such as 04.00"
    )
    scene.add_argument(
        "--scale",
        type=float,
        help="physical = stored * scale + offset, instead of the sensor's own",
    )
    scene.add_argument("--offset", type=float, help="see --scale")
    scene.add_argument(
        "--same-grid",
        action="store_true",
        help="files of equal size show the same ground, whatever their georeference says",
    )

    how = parser.add_argument_group("how it is gone over")
    how.add_argument(
        "--gsd",
        type=float,
        metavar="METRES",
        help="resample the scene first; the map then has this grid (default: the scene's own)",
    )
    how.add_argument(
        "--window",
        type=int,
        metavar="PIXELS",
        help="side of a window (default: what the specialist was trained at)",
    )
    how.add_argument(
        "--overlap",
        type=float,
        metavar="FRACTION",
        help="shared by neighbouring windows (default: 0.5; chips of a scene classifier: 0.75)",
    )
    how.add_argument("--batch-size", type=int, default=8, help="windows run at once (default: 8)")
    how.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: CUDA where there is one)")
    how.add_argument(
        "--backend",
        choices=BACKENDS,
        help="what runs a specialist; OpenVINO runs on the CPU (default: openvino for one that was "
        "registered in its form, else torch)",
    )
    return parser.parse_args(arguments)


def _names(text: str) -> list[str]:
    return text.split(",")


def load(
    reference: str, registry: Path | None, backend: str | None = None
) -> "Specialist | CompiledSpecialist | TaskEnsemble":
    """The frozen network that a file, a folder or a registered name stands for.

    Args:
        reference: The name, file or folder.
        registry: Folder of the registry; by default the user's.
        backend: One of `BACKENDS`; by default `openvino` for what was registered in its form.

    Raises:
        InputError: If there is none, it has no head, or the backend cannot run it.
    """
    network = _find(reference, registry, backend)
    if backend != "openvino":
        return network
    from specialists.compiled import CompiledSpecialist, compile_specialist
    from specialists.model import Specialist

    if isinstance(network, Specialist):
        return compile_specialist(network)
    if not isinstance(network, CompiledSpecialist):
        raise InputError(
            f"{reference} is an ensemble, which OpenVINO cannot run: leave --backend out"
        )
    return network


def _find(
    reference: str, registry: Path | None, backend: str | None
) -> "Specialist | CompiledSpecialist | TaskEnsemble":
    from registry import Registry, SpecialistCard
    from registry.kinds import kind_of
    from router.ensemble_files import load_task_ensemble
    from router.manifest import FILE
    from specialists.files import load_specialist

    path = Path(reference)
    if path.suffix == ".json" or (path / FILE).is_file():
        return load_task_ensemble(path, Registry.open(registry)).freeze()
    if path.is_dir():
        path = path / _WEIGHTS
        if not path.is_file():
            raise InputError(
                f"{reference} is a folder without {_WEIGHTS}: give that of a finished training run"
            )
    if path.suffix == ".safetensors":
        return load_specialist(path).freeze()
    guild = Registry.open(registry)
    card = guild.card(reference)
    if kind_of(card) == "ensemble":
        return load_task_ensemble(reference, guild).freeze()
    if backend != "torch" and isinstance(card, SpecialistCard) and card.variant:
        return guild.compiled(card.reference)
    return guild.get(card.reference)


def report(result: MapResult, console: Console) -> None:
    """Print what the map holds and where it lies."""
    console.print(_table_of_targets(result) if result.ranges else _table_of_classes(result))
    total = result.pixels + result.nodata_pixels
    console.print(
        f"\n{result.pixels:,} of {total:,} pixels mapped, {result.windows:,} windows, "
        f"{result.seconds:.1f} s ({total / 1e6 / result.seconds:.2f} Mpixel/s)",
        highlight=False,
    )
    files = [result.path, result.probabilities_path, result.members_path, result.picture_path]
    written = ", ".join(dict.fromkeys(str(file) for file in files if file))
    console.print(
        f"Written: {written}; open {result.path} in QGIS.", soft_wrap=True, highlight=False
    )


def _table_of_classes(result: MapResult) -> Table:
    table = Table("class", box=None, pad_edge=False)
    table.add_column("share", justify="right")
    area = result.pixels * (result.pixel_area or 0)
    unit, square_metres = ("km2", 1e6) if area >= 1e7 else ("ha", 1e4)
    if result.pixel_area is not None:
        table.add_column(f"area ({unit})", justify="right")
    for name, share in sorted(result.shares.items(), key=lambda entry: -entry[1]):
        areas = [] if result.pixel_area is None else [f"{share * area / square_metres:,.2f}"]
        table.add_row(name, f"{share:.1%}", *areas)
    return table


def _table_of_targets(result: MapResult) -> Table:
    table = Table("target", box=None, pad_edge=False)
    for heading in ("minimum", "mean", "maximum"):
        table.add_column(heading, justify="right")
    for name, numbers in result.ranges.items():
        table.add_row(name, *(f"{number:.4g}" for number in numbers))
    return table


@contextmanager
def _plain_warnings(console: Console) -> Iterator[None]:
    """Show our warnings as one line for people, without file name and source line."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: console.print(
            f"warning: {message}", style="yellow", markup=False, highlight=False, soft_wrap=True
        )
        yield
