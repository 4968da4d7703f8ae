"""`compose-ensemble`: teach an ensemble a task, look into it, and let members come and go."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from evaluation.command_line import add_overrides, console, say
from sensors.errors import exit_on_input_error

HELP = """\
usage: compose-ensemble KEY=VALUE ...
       compose-ensemble WORD ...

Compose registered specialists to an ensemble and teach it a task, or

  add ENSEMBLE NEW       measure a new member on a frozen suite of tasks; take it, put it in the
                         place of an old one, or turn it away, and write down why
  rollback ENSEMBLE N    make the parts of manifest N count again
  history ENSEMBLE       show every manifest, what it changed and why
  explain ENSEMBLE IMAGE ...
                         show which members an image is sent to, and which cannot run
  usage ENSEMBLE data=NAME ...
                         show how the gate chooses over a data set

ENSEMBLE is the folder of an ensemble. Each WORD says more with --help, and so does a run:
compose-ensemble data=NAME --help.

examples:
  compose-ensemble data=eurosat_ms 'members=[s2-landcover,s1-flood]' trunk=dofa run_dir=runs/guild
  compose-ensemble add runs/guild hls-water@1.0.0
  compose-ensemble rollback runs/guild 1
"""


@exit_on_input_error
def main() -> None:
    """Entry point of `compose-ensemble`."""
    arguments = sys.argv[1:]
    first = arguments[0] if arguments else ""
    if first in ("", "-h", "--help"):
        print(HELP, end="")
        if not first:
            sys.exit(2)
        return
    own: dict[str, Callable[[Sequence[str]], None]] = {
        "add": _add,
        "rollback": _rollback,
        "history": _history,
    }
    if first in own:
        own[first](arguments[1:])
        return
    # Importing torch takes seconds, which a wrong word should not wait for.
    from router.composing import cli

    if first == "explain":
        cli.explain_main(arguments[1:])
    elif first == "usage":
        cli.usage_main(arguments[1:])
    else:
        cli.fit_main(arguments)


def _add(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="compose-ensemble add",
        description="Measure what a registered specialist does for an ensemble on a frozen suite "
        "of tasks, without training anything. It is added if some task gains and none loses, put "
        "in the place of an old member where that is no worse, and else turned away. The decision "
        "and its figures are the ensemble's next manifest.",
        epilog="example: compose-ensemble add runs/guild s1-flood@1.0.0 "
        "'suite=[{data: sen1floods11, protocol: pixel_linear}]' tolerance=0.01",
    )
    parser.add_argument("ensemble", metavar="ENSEMBLE", help="folder of the ensemble")
    parser.add_argument("member", metavar="NEW", help="registered specialist, name@version")
    parser.add_argument(
        "--dry-run", action="store_true", help="decide and leave the ensemble as it is"
    )
    add_overrides(
        parser,
        "Hydra overrides, such as seeds=[0,1,2]",
        "folder with data sets (data/) and protocols (protocol/) of your own",
    )
    options = parser.parse_intermixed_args(arguments)
    from evaluation.integration_config import compose_integration

    config = compose_integration(
        options.ensemble,
        options.member,
        options.overrides,
        options.config_dir,
        dry_run=options.dry_run,
    )
    if options.cfg is not None:
        print(yaml.safe_dump(vars(config), sort_keys=False), end="")
        return
    from evaluation.integration import integrate
    from evaluation.integration_table import tabulate_decision

    decision = integrate(config, config_dir=options.config_dir)
    console.print(tabulate_decision(decision))
    say(f"{decision.action}: {decision.reasons[0]}")
    if decision.manifest is None:
        say("Dry run: the ensemble is as it was.")
    else:
        say(f"{config.ensemble} is at manifest {decision.manifest.version}.")


def _rollback(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="compose-ensemble rollback",
        description="Make the members, trunk and weights of an earlier manifest count again, as "
        "the next manifest. Nothing is deleted.",
    )
    parser.add_argument("ensemble", metavar="ENSEMBLE", type=Path, help="folder of the ensemble")
    parser.add_argument("version", metavar="N", type=int, help="the earlier manifest")
    parser.add_argument("--registry", metavar="DIR", help="where its members and trunk are")
    options = parser.parse_args(arguments)
    from evaluation.integration_history import rollback
    from registry import Registry

    manifest = rollback(options.ensemble, options.version, Registry.open(options.registry))
    say(f"{options.ensemble} is at manifest {manifest.version}: {manifest.reasons[0]}.")


def _history(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="compose-ensemble history",
        description="Show every manifest of an ensemble, what it changed and why.",
    )
    parser.add_argument("ensemble", metavar="ENSEMBLE", type=Path, help="folder of the ensemble")
    options = parser.parse_args(arguments)
    from evaluation.integration_history import tabulate_history

    console.print(tabulate_history(options.ensemble))
