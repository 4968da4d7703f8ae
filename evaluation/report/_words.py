"""Numbers and names as the page writes them."""

import math
import re
from collections.abc import Sequence

from markupsafe import Markup

from evaluation.report._results import Score

MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
_METRICS = {
    "accuracy": "Accuracy",
    "macro_accuracy": "Macro accuracy",
    "map": "Macro average precision",
    "micro_map": "Micro average precision",
    "macro_f1": "Macro F1",
    "micro_f1": "Micro F1",
    "miou": "Mean IoU",
    "micro_iou": "Micro IoU",
    "ece": "Calibration error (ECE)",
    "rmse": "RMSE",
    "mae": "Mean absolute error",
    "r2": "R²",
    "average_precision": "Average precision",
    "f1": "F1",
    "iou": "IoU",
}
_PREFIXES = ("", "k", "M", "G", "T", "P")
_IN_UNITS_OF_THE_TARGET = ("rmse", "mae")


def metric_title(name: str) -> str:
    """A metric for people; an unknown one keeps its name."""
    return _METRICS.get(name, name)


def number(value: float, metric: str) -> str:
    """A score: three decimals, or three digits where it has the unit of its target."""
    text = _digits(value, 3) if metric in _IN_UNITS_OF_THE_TARGET else f"{value:.3f}"
    return "0.000" if text == "-0.000" else text.replace("-", MINUS)


def signed(value: float, metric: str) -> str:
    """A difference, with its sign."""
    return ("+" if value > 0 else "") + number(value, metric)


def interval(score: Score, metric: str) -> str:
    """Both ends of an interval; empty where there is none."""
    if score.low is None or score.high is None:
        return ""
    return f"{number(score.low, metric)} to {number(score.high, metric)}"


def full(score: Score, metric: str) -> str:
    """A score with its interval, as in a sentence."""
    ends = interval(score, metric)
    return number(score.value, metric) + (f" [{ends}]" if ends else "")


def p_value(value: float | None) -> str:
    """A p-value with two digits; a bootstrap cannot tell smaller ones than about 0.001."""
    if value is None:
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def compact(value: float) -> str:
    """Three digits and an SI prefix: 3.39 M."""
    if value == 0:
        return "0"
    step = min(max(math.floor(math.log10(abs(value)) / 3 + 1e-9), 0), len(_PREFIXES) - 1)
    text = _digits(value / 1000**step, 3)
    return f"{text} {_PREFIXES[step]}".strip().replace("-", MINUS)


def breakable(name: str) -> Markup:
    """A name that may be broken after its separators, escaped for HTML."""
    return Markup("<wbr>").join(re.split(r"(?<=[:/_@])(?=\w)|(?<=\.)(?=[^\W\d])", name))


def listed(names: Sequence[str], most: int = 6) -> str:
    """Names in a sentence: a, b and c; the rest as a number."""
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def count(number_of: int, singular: str, plural: str | None = None) -> str:
    """A number of things: 1 seed, 3 seeds."""
    return f"{number_of:,} {singular if number_of == 1 else plural or singular + 's'}"


def _digits(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    decimals = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    return f"{value:.{min(decimals, 6)}f}"
