"""OpenVINO and NNCF, which are optional: found when they are needed, and quiet."""

import contextlib
import functools
import logging
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from io import StringIO
from typing import Any

from rich.console import Console

from sensors.errors import InputError

PRECISIONS = ("float32", "int8")
"""Of a compiled specialist: that of its convolutions and matrix products."""
INSTALL = "pip install 'terraguild[openvino]'"


def import_openvino() -> Any:  # noqa: ANN401 - it ships no types
    """The package `openvino`.

    Raises:
        InputError: If it is not installed.
    """
    return _import("openvino")


@functools.cache
def openvino_core() -> Any:  # noqa: ANN401
    """OpenVINO's core: one for the whole process.

    Every core that compiles for the CPU gives the thread a signal stack, and frees it with itself.
    Of two that overlap in time, the thread is left with one that was freed, and the next signal
    that Python handles (Ctrl-C, a child's end) ends the process.

    Raises:
        InputError: If OpenVINO is not installed.
    """
    return import_openvino().Core()


def import_nncf() -> Any:  # noqa: ANN401 - it ships no types
    """The package `nncf`.

    Raises:
        InputError: If it is not installed.
    """
    # It imports parts of torch that look for a CUDA compiler, and warn where there is none.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    nncf = _import("nncf")
    # Its own function would also set the level of handlers that others have put there.
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf


def tool_versions(*names: str) -> dict[str, str]:
    """Versions of installed packages, for a record."""
    return {name: version(name) for name in names}


@contextlib.contextmanager
def bars_on_stderr() -> Iterator[None]:
    """Show what a tool prints of its progress on standard error, and only where someone sees it."""
    shown = sys.stderr if Console(stderr=True).is_terminal else StringIO()
    with contextlib.redirect_stdout(shown):
        yield


def _import(name: str) -> Any:  # noqa: ANN401
    # Both tell their makers how they are used, unless this package of theirs is missing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(
            f"compiled specialists need the package {name}, which cannot be imported ({error}): "
            f"{INSTALL}"
        ) from error
