"""`prune-ensemble`: let the members go that an ensemble can do without."""

import argparse
from dataclasses import asdict

import yaml

from evaluation.command_line import add_overrides, console, say
from sensors.errors import exit_on_input_error


@exit_on_input_error
def main() -> None:
    """Entry point of `prune-ensemble`."""
    parser = argparse.ArgumentParser(
        prog="prune-ensemble",
        description="Find the members that an ensemble can do without: those that stay take over "
        "what the others said, fusion and head are fitted again, and everything is measured at "
        "every step. Without a budget, members go as long as the score on the selection split "
        "falls by no more than half a point. The result is the ensemble's next manifest; the "
        "registry keeps all members, and compose-ensemble rollback brings them back.",
        epilog="example: prune-ensemble runs/guild data=eurosat_ms budget.drop=0.01 "
        "budget.latency_ms=20",
    )
    parser.add_argument("ensemble", metavar="ENSEMBLE", help="folder of an ensemble with a head")
    parser.add_argument(
        "--dry-run", action="store_true", help="measure, and leave the ensemble as it is"
    )
    add_overrides(
        parser,
        "Hydra overrides; data=NAME is needed: labelled chips of the ensemble's task",
        "folder with data sets (data/) of your own",
    )
    options = parser.parse_intermixed_args()
    from evaluation.pruning_config import compose_pruning

    config = compose_pruning(
        options.ensemble, options.overrides, options.config_dir, dry_run=options.dry_run
    )
    if options.cfg is not None:
        print(yaml.safe_dump(asdict(config), sort_keys=False), end="")
        return
    from evaluation.before_after import tabulate
    from evaluation.pruning import prune
    from router.pruning.picture import tabulate_redundancy

    found = prune(config)
    console.print(tabulate_redundancy(found.redundancy, f"Members of {config.ensemble}"))
    console.print(tabulate(f"{config.data.name}, test split", found.rows))
    for step, better in zip(found.steps[1:], found.better[1:], strict=False):
        say(f"{len(step.members)} members: {better} other choices are better before fitting.")
    say(f"What was measured: {found.folder} (redundancy.png, pareto.png, pruning.json).")
    if not found.chosen:
        say("Nobody can go under this budget: the ensemble is as it was.")
        return
    gone = ", ".join(step.removed or "" for step in found.steps[1 : found.chosen + 1])
    if found.manifest is None:
        say(f"Dry run: the ensemble is as it was; without it, {gone} would go.")
        return
    version = found.manifest.version
    say(f"{config.ensemble} is at manifest {version}, without {gone}. To go back:")
    say(f"compose-ensemble rollback {config.ensemble} {found.manifest.parent}")
