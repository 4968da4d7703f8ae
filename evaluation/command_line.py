"""What the commands of this package have in common; it imports nothing that takes seconds."""

import argparse
from pathlib import Path

from rich.console import Console

console = Console()


def add_overrides(parser: argparse.ArgumentParser, words: str, folder: str) -> None:
    """Let a command take Hydra overrides.

    Args:
        parser: Of the command; it gets `overrides`, `config_dir` and `cfg`.
        words: What the overrides are, for the help.
        folder: What a folder of one's own may hold, for the help.
    """
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=words)
    parser.add_argument("--config-dir", type=Path, metavar="DIR", help=folder)
    parser.add_argument(
        "-c", "--cfg", choices=["job"], help="print the resolved configuration and leave"
    )


def say(text: str) -> None:
    """Print a sentence as it is: paths are not broken, and nothing in it is markup."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)
