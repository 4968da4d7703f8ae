"""The error that means "your input, not our bug", and how a command turns it into exit code 2."""

import functools
import sys
from collections.abc import Callable

from rich.console import Console


class InputError(ValueError):
    """Input that cannot be used as it is: what came, what was expected, what to do."""


def exit_on_input_error(command: Callable[[], None]) -> Callable[[], None]:
    """Make a command print an `InputError` on standard error and leave with exit code 2."""

    @functools.wraps(command)
    def run() -> None:
        try:
            command()
        except InputError as error:
            Console(stderr=True, soft_wrap=True).print(
                f"error: {error}", style="bold red", markup=False, highlight=False
            )
            sys.exit(2)

    return run
