"""The report: one HTML page that holds everything it needs and asks for nothing outside itself."""

import base64
import hashlib
import os
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from evaluation.report._costs import efficiency_tables, scatters
from evaluation.report._curves import curve_charts
from evaluation.report._details import (
    MAX_CLASSES,
    class_tables,
    commands,
    confusions,
    empty_places,
    gate_usage,
    map_examples,
)
from evaluation.report._findings import Winner, findings, winners
from evaluation.report._panels import comparison_panels, score_panels, transfer_panels
from evaluation.report._results import Results, read_results
from evaluation.report._tables import calibration, leaderboards
from evaluation.report._words import breakable, compact, count

_PACKAGE = "evaluation.report"


def write_report(results: str | Path, out: str | Path) -> Path:
    """Write the page of an evaluation.

    Args:
        results: The JSON file of results.
        out: The HTML file; it appears at once and whole.

    Returns:
        Path of the page.

    Raises:
        InputError: If the results are missing, damaged or of another format.
    """
    page = render_report(read_results(Path(results)))
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(page)
    Path(temporary).chmod(0o644)
    Path(temporary).replace(path)
    return path


def render_report(results: Results) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader(_PACKAGE, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"breakable": breakable, "compact": compact, "count": count, "key": _key}
    script, style = _read("page.js"), _read("style.css")
    return environment.get_template("template.html.j2").render(
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=Markup(style),
        results=results,
        **_sections(results),
    )


def _sections(results: Results) -> dict[str, Any]:
    table = winners(results)
    costs = scatters(results)
    return {
        "winners": table,
        "findings": findings(results, table),
        "leaderboards": leaderboards(results),
        "scores": score_panels(results),
        "comparisons": comparison_panels(results),
        "curves": curve_charts(results),
        "highlighted": _highlighted(table),
        "transfers": transfer_panels(results),
        "calibration": calibration(results),
        "efficiency": efficiency_tables(results),
        "scatters": costs,
        "scatter_choices": {
            key: list(dict.fromkeys(scatter.keys[key] for scatter in costs))
            for key in ("data set", "cost")
        },
        "confusions": confusions(results),
        "max_classes": MAX_CLASSES,
        "classes": class_tables(results),
        "maps": map_examples(results),
        "gates": gate_usage(results),
        "empty": empty_places(results),
        "commands": commands(results),
    }


def _highlighted(table: list[Winner]) -> set[str]:
    """What the curves show first: the encoders that are best somewhere, and the best floors."""
    return {name for winner in table for name in (winner.best, winner.floor)}


def _key(value: float | str) -> str:
    """What a table is sorted by, no longer than it must be."""
    return value if isinstance(value, str) else f"{value:.6g}"


def _read(name: str) -> str:
    return resources.files(_PACKAGE).joinpath(name).read_text(encoding="utf-8")
