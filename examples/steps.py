"""What every story of the examples needs: a folder of its own, and commands that are shown."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from sensors.errors import InputError

console = Console(highlight=False, soft_wrap=True)

MARKER = ".quickstart"  # so that only a folder of our own is ever emptied


def run(*command: str) -> None:
    """Print a command, run it, and leave with its exit code if it fails."""
    console.print(f"\n[bold cyan]$ {escape(shlex.join(command))}[/]")
    # The commands lie beside the interpreter, whether or not its environment is activated.
    program = str(Path(sys.executable).with_name(command[0]))
    finished = subprocess.run([program, *command[1:]], check=False)
    if finished.returncode:
        sys.exit(finished.returncode)


def prepare_output(out: Path) -> None:
    """Empty the folder of an earlier quickstart, or make a new one."""
    if out.exists() and any(out.iterdir()):
        if not (out / MARKER).exists():
            raise InputError(f"{out} holds files that are not a quickstart's: name another --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).touch()
