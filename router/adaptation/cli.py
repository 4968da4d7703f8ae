"""The command `adapt-trunk`."""

import shlex
import sys

from router.adaptation.config import parse_adapt_command_line
from router.adaptation.run import adapt_trunk
from sensors.errors import exit_on_input_error


@exit_on_input_error
def main() -> None:
    """Entry point of `adapt-trunk`."""
    config = parse_adapt_command_line(sys.argv[1:])
    if config is not None:
        adapt_trunk(config, command=shlex.join(["adapt-trunk", *sys.argv[1:]]))
