"""The command `specialist-registry`."""

import argparse
import json
from pathlib import Path

from rich.console import Console

from registry.kinds import KINDS, Card
from registry.registry import Registry
from registry.tables import card_table, cards_table
from sensors.errors import InputError, exit_on_input_error
from sensors.sensor import load_sensor

console = Console(markup=False, highlight=False)


@exit_on_input_error
def registry_main() -> None:
    """Entry point of `specialist-registry`."""
    parser = argparse.ArgumentParser(
        prog="specialist-registry", description="Look into a registry of models, and tidy it."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("list", help="every version of every model")
    command.set_defaults(run=_list)
    _add_kind(command, "any")
    _add_json(command)

    command = commands.add_parser("show", help="the card of one model")
    command.set_defaults(run=_show)
    command.add_argument("reference", metavar="NAME[@VERSION]")
    _add_json(command)

    command = commands.add_parser("search", help="the models that meet every condition given")
    command.set_defaults(run=_search)
    command.add_argument("text", nargs="*", help="words of name, description, classes or data")
    command.add_argument("--task", help="such as semantic-segmentation")
    command.add_argument("--sensor", help="the sensor at hand must serve all of its bands")
    command.add_argument("--gsd", type=float, metavar="METRES", help="within a factor of 2")
    _add_kind(command, "specialist")
    _add_json(command)

    command = commands.add_parser("verify", help="check every card and every byte of weights")
    command.set_defaults(run=_verify)
    command.add_argument(
        "--sweep", action="store_true", help="delete what interrupted additions have left"
    )
    _add_json(command)

    command = commands.add_parser("remove", help="remove one version")
    command.set_defaults(run=_remove)
    command.add_argument("reference", metavar="NAME@VERSION")
    command.add_argument("--yes", action="store_true", help="do it: there is no way back")
    _add_json(command)

    for command in commands.choices.values():
        add_registry_option(command)
    options = parser.parse_args()
    options.run(Registry.open(options.registry), options)


def add_registry_option(parser: argparse.ArgumentParser) -> None:
    """The option `--registry`, for a command that works with one."""
    parser.add_argument(
        "--registry",
        type=Path,
        metavar="PATH",
        help="default: $TERRAGUILD_REGISTRY, else a folder among your user data",
    )


def _add_kind(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--kind", choices=(*KINDS, "any"), default=default, help="default: %(default)s"
    )


def _kind(options: argparse.Namespace) -> str | None:
    return None if options.kind == "any" else str(options.kind)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, for machines")


def _list(registry: Registry, options: argparse.Namespace) -> None:
    _print_cards(registry.list(_kind(options)), registry, options)


def _search(registry: Registry, options: argparse.Namespace) -> None:
    cards = registry.search(
        task=options.task,
        bands=load_sensor(options.sensor).channels if options.sensor else None,
        gsd=options.gsd,
        text=" ".join(options.text),
        kind=_kind(options),
    )
    _print_cards(cards, registry, options)


def _show(registry: Registry, options: argparse.Namespace) -> None:
    card = registry.card(options.reference)
    if options.json:
        _print_json(card.to_stac_item())
    else:
        console.print(card_table(card))


def _verify(registry: Registry, options: argparse.Namespace) -> None:
    problems = registry.verify()
    litter = registry.store.sweep() if options.sweep else ()
    count = len(registry.store.references())
    if options.json:
        _print_json({"checked": count, "problems": problems, "deleted": [str(p) for p in litter]})
    else:
        console.print(f"{count} checked in {registry.store.root}", soft_wrap=True)
        for path in litter:
            console.print(f"deleted {path}", soft_wrap=True)
    if problems:
        listed = "\n".join(f"{reference}: {problem}" for reference, problem in problems.items())
        raise InputError(f"{len(problems)} of {count} are not sound\n{listed}")


def _remove(registry: Registry, options: argparse.Namespace) -> None:
    if not options.yes:
        raise InputError(f"nothing was removed; to remove {options.reference} for good, add --yes")
    removed = registry.remove(options.reference)
    if options.json:
        _print_json({"removed": str(removed)})
    else:
        console.print(f"removed {removed}")


def _print_cards(cards: tuple[Card, ...], registry: Registry, options: argparse.Namespace) -> None:
    if options.json:
        items = [card.to_stac_item() for card in cards]
        _print_json({"type": "FeatureCollection", "features": items})
    elif cards:
        console.print(cards_table(cards))
    else:
        console.print(f"none in {registry.store.root}", soft_wrap=True)


def _print_json(content: object) -> None:
    print(json.dumps(content, indent=2, ensure_ascii=False))
