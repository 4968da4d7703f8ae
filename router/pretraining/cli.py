"""The command `pretrain-trunk`."""

import shlex
import sys

from router.pretraining.config import parse_trunk_command_line
from router.pretraining.run import pretrain_trunk
from sensors.errors import exit_on_input_error


@exit_on_input_error
def main() -> None:
    """Entry point of `pretrain-trunk`."""
    config = parse_trunk_command_line(sys.argv[1:])
    if config is not None:
        pretrain_trunk(config, command=shlex.join(["pretrain-trunk", *sys.argv[1:]]))
