"""`evaluate-encoder`: evaluate encoders, or write the report of what was evaluated."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from rich.console import Console

from evaluation.config import compose_evaluation, to_plain
from evaluation.folder import ResultsFolder
from sensors.errors import InputError, exit_on_input_error

console = Console()


@exit_on_input_error
def main() -> None:
    """Entry point of `evaluate-encoder`."""
    options = _parse(sys.argv[1:])
    words = [word for word in options.words if word != "report"]
    if "report" in options.words:
        _report(words)
        return
    config = compose_evaluation(words, options.config_dir)
    if options.cfg is not None:
        print(yaml.safe_dump(to_plain(config), sort_keys=False), end="")
        return
    # Importing torch takes seconds, which a wrong key or a report should not wait for.
    from evaluation.run import evaluate

    command = shlex.join(["evaluate-encoder", *sys.argv[1:]])
    evaluate(config, config_dir=options.config_dir, command=command)


def _report(words: Sequence[str]) -> None:
    """Write the page of a folder of results."""
    from evaluation.report.page import write_report

    unknown = [word for word in words if not word.startswith("out=")]
    if unknown:
        raise InputError(f"report takes out=FOLDER alone, got {' '.join(unknown)}")
    folder = ResultsFolder(Path(words[-1].removeprefix("out=") if words else "evaluation-results"))
    write_report(folder.results, folder.report)
    console.print(f"Report: {folder.report}", soft_wrap=True, highlight=False)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="evaluate-encoder",
        description="Evaluate encoders on data sets by protocols, with intervals and floors; "
        "with the word `report`, write the page of what was evaluated.",
        epilog="example: evaluate-encoder encoders=[s2-landcover] data_sets=[eurosat_ms] "
        "out=results && evaluate-encoder report out=results",
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="report | KEY=VALUE",
        help="Hydra overrides, such as seeds=[0]; or `report` and out=FOLDER",
    )
    parser.add_argument(
        "--config-dir",
        type=Path,
        metavar="DIR",
        help="folder with data sets (data/) and protocols (protocol/) of your own",
    )
    parser.add_argument(
        "-c", "--cfg", choices=["job"], help="print the resolved configuration and leave"
    )
    return parser.parse_intermixed_args(arguments)
