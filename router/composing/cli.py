"""What `compose-ensemble` does with a task to learn, an image to explain, a data set to count."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path


def fit_main(argv: Sequence[str]) -> None:
    """`compose-ensemble KEY=VALUE...`: compose, and teach a task.

    Raises:
        InputError: If the configuration or what it names cannot be used.
    """
    from router.composing.config import parse_compose_command_line

    config = parse_compose_command_line(argv)
    if config is not None:
        from router.composing.run import compose_ensemble

        compose_ensemble(config, command=shlex.join(["compose-ensemble", *argv]))


def explain_main(argv: Sequence[str]) -> None:
    """`compose-ensemble explain ENSEMBLE IMAGE...`: who is asked for an image, and why not others.

    Raises:
        InputError: If the ensemble or the image cannot be opened.
    """
    options = _explain_parser().parse_args(argv)
    from router.composing.explaining import explain_image

    explain_image(
        options.ensemble,
        options.image,
        registry=options.registry,
        box=options.window,
        reading={
            "sensor": options.sensor,
            "bands": options.bands,
            "gsd": options.gsd,
            "scale": options.scale,
            "offset": options.offset,
            "processing_baseline": options.processing_baseline,
            "same_grid": options.same_grid,
        },
    )


def usage_main(argv: Sequence[str]) -> None:
    """`compose-ensemble usage ENSEMBLE data=...`: draw how often each member is asked.

    Raises:
        InputError: If the ensemble or the data cannot be used.
    """
    parser = argparse.ArgumentParser(
        prog="compose-ensemble usage",
        description="Draw how often an ensemble's gate asks each member over a data set, by class.",
        epilog="example: compose-ensemble usage runs/ensemble data=eurosat_ms split=test "
        "out=usage.png",
    )
    _add_ensemble(parser)
    parser.add_argument(
        "overrides",
        nargs="+",
        metavar="KEY=VALUE",
        help="data=NAME and its settings, as for training; split, out, batch_size",
    )
    parser.add_argument("--config-dir", type=Path, metavar="DIR", help="folder of your own groups")
    options = parser.parse_intermixed_args(argv)
    from router.composing.counting import count_usage

    count_usage(options.ensemble, options.overrides, options.registry, options.config_dir)


def _explain_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="compose-ensemble explain",
        description="Say which members an ensemble asks for an image, with what weight, and which "
        "of the others cannot run, and for want of which band.",
        epilog="example: compose-ensemble explain runs/ensemble s2.tif s1.tif",
    )
    _add_ensemble(parser)
    parser.add_argument(
        "image",
        nargs="+",
        type=Path,
        help="raster files that together hold the bands, or a folder of them",
    )
    parser.add_argument(
        "--window",
        type=int,
        nargs=4,
        metavar=("ROW", "COLUMN", "HEIGHT", "WIDTH"),
        help="look at this part alone, in pixels",
    )
    parser.add_argument("--sensor", type=_names, metavar="NAME[,NAME]", help="see predict-map")
    parser.add_argument("--bands", type=_names, metavar="B02,B03,...", help="see predict-map")
    parser.add_argument("--gsd", type=float, metavar="METRES", help="resample the image first")
    parser.add_argument("--scale", type=float, help="see predict-map")
    parser.add_argument("--offset", type=float, help="see predict-map")
    parser.add_argument("--processing-baseline", metavar="NN.NN", help="see predict-map")
    parser.add_argument("--same-grid", action="store_true", help="see predict-map")
    return parser


def _add_ensemble(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ensemble", metavar="ENSEMBLE", help="its folder, or its registered name")
    parser.add_argument("--registry", type=Path, metavar="PATH", help="registry folder")


def _names(text: str) -> list[str]:
    return text.split(",")
