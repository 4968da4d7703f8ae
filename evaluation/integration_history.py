"""Every state that an ensemble ever had: shown, and brought back."""

from pathlib import Path

from rich.table import Table

from evaluation.integration import open_manifest
from registry import Registry
from router.ensemble_files import load_with_head
from router.manifest import Manifest, list_manifests, write_manifest
from sensors import InputError

_PARTS = ("members", "trunk", "weights_file", "weights_sha256", "spec", "task")


def rollback(folder: Path, version: int, registry: Registry) -> Manifest:
    """Make an earlier manifest's parts those of the next one; nothing is deleted.

    Args:
        folder: Of the ensemble.
        version: The manifest whose parts are wanted back.
        registry: Where its members and trunk are.

    Returns:
        The manifest that counts now.

    Raises:
        InputError: If there is no such earlier manifest, or a part of it is gone or was changed.
    """
    last = open_manifest(folder)
    manifests = list_manifests(folder)
    if not 1 <= version < last.version:
        raise InputError(
            f"{folder} is at manifest {last.version}, so it cannot go back to {version}; "
            + (f"give 1 to {last.version - 1}" if last.version > 1 else "there is no earlier one")
        )
    wanted = manifests[version - 1]
    load_with_head(folder / "manifests" / f"{version:04d}.json", registry)
    names = ", ".join(str(pin.reference) for pin in wanted.members)
    reasons = (f"back to manifest {version} from {last.version}: members {names}",)
    parts = {part: getattr(wanted, part) for part in _PARTS}
    manifest = last.following("rollback", reasons, **parts)
    write_manifest(folder, manifest)
    return manifest


def tabulate_history(folder: Path) -> Table:
    """A table of all manifests of an ensemble, the one that counts last.

    Raises:
        InputError: If it is no ensemble's folder, or a manifest is damaged.
    """
    open_manifest(folder)
    table = Table(title=f"Manifests of {folder}", show_lines=True)
    for heading in ("Version", "Created", "Action", "Members", "Reasons"):
        table.add_column(heading, overflow="fold")
    earlier: set[str] = set()
    for manifest in list_manifests(folder):
        members = {str(pin.reference) for pin in manifest.members}
        table.add_row(
            str(manifest.version),
            manifest.created,
            manifest.action,
            _describe_members(members, earlier),
            "\n".join(manifest.reasons),
        )
        earlier = members
    return table


def _describe_members(members: set[str], earlier: set[str]) -> str:
    """All members at first, later what came and went."""
    if not earlier:
        return "\n".join(sorted(members))
    lines = [f"+ {name}" for name in sorted(members - earlier)]
    lines += [f"- {name}" for name in sorted(earlier - members)]
    return "\n".join(lines) or "the same"
