"""`slim-specialist`: fewer channels for a registered specialist."""

import argparse
import shlex
import sys

import yaml

from evaluation.command_line import add_overrides
from sensors.errors import exit_on_input_error


@exit_on_input_error
def main() -> None:
    """Entry point of `slim-specialist`."""
    options = _parser().parse_intermixed_args()
    from specialists.config import to_plain
    from specialists.slimming_config import compose_slim_config

    config = compose_slim_config(options.source, options.overrides, options.config_dir)
    if options.cfg is not None:
        print(yaml.safe_dump(to_plain(config), sort_keys=False), end="")
        return
    # Importing torch and its graphs takes seconds, which a wrong word should not wait for.
    from evaluation.slimming import slim_registered

    slim_registered(config, command=shlex.join(["slim-specialist", *sys.argv[1:]]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="slim-specialist",
        description="Cut the channels of a registered specialist that matter least, let it "
        "recover, measure it before and after, and register it under a name of its own. The same "
        "command goes on where it was stopped. The source stays as it is.",
        epilog="example: slim-specialist s2-landcover data=eurosat_ms ratio=0.5 scope=full "
        "recover=labels trainer.epochs=20 run_dir=runs/slim",
    )
    parser.add_argument("source", metavar="NAME[@VERSION]", help="the registered specialist")
    add_overrides(
        parser,
        "Hydra overrides: data, ratio, scope (hidden, full), importance (magnitude, taylor), "
        "recover (distil, labels, none), name, version, run_dir, trainer.epochs, ...",
        "folder with configuration groups of your own",
    )
    return parser
