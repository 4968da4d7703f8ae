"""What members and trunk say of every chip of a split, written down once.

Members and trunk are frozen: whichever of them stay, each says the same of a chip. A search over
members runs each of them once, and then gate, fusion and head alone. Pyramids lie on disk, as
`.npy` files mapped into memory, so that a split may be larger than memory.

Shape suffixes: N chips, n rows asked for, C channels, H rows, W columns, M members, D width of the
trunk.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from rasters import ChipDataset
from rasters.progress import show_progress
from router.applicability import fit_members
from router.execution import Images, View, look, nobody_can, prepare_images, run_member
from router.fusion import TRUNK
from router.task_ensemble import TaskEnsemble
from sensors.bands import Channel
from sensors.errors import InputError
from specialists.heads import looks_at_image
from specialists.loading import collate
from specialists.run import write_json
from specialists.targets import target_of

_DONE = "recording.json"
_FACTS = ("vectors", "gsd", "applicable", "match", "targets", "image")


@dataclass(frozen=True)
class Recording:
    """What there is to know of a split.

    Args:
        levels: Key of a member, and `TRUNK`, to its pyramid: (N, C, H, W) each, finest first; 0 for
            chips that the member cannot run for. The trunk's is there where it is needed.
        reductions: Key to the reductions of its pyramid.
        view: What the gate sees; None where it looks at no image.
        applicable_NM: Which members can run.
        match_NM2: As `Gate.forward` takes it.
        targets: As `TaskMetrics.update` takes them.
        image: What a head that looks at the image sees, (N, C, H, W); None where none does.
        size: Rows and columns of a chip, grown to what the members take.
        chip_size: Rows and columns of a chip.
    """

    levels: dict[str, list[Any]]
    reductions: dict[str, Sequence[int]]
    view: View | None
    applicable_NM: Tensor
    match_NM2: Tensor
    targets: Tensor
    image: Tensor | None
    size: tuple[int, int]
    chip_size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.applicable_NM)

    def read(self, key: str, rows_n: Tensor) -> list[Tensor]:
        """The pyramid of a member, or of the trunk, for some chips."""
        return [torch.from_numpy(np.array(level[rows_n.numpy()])) for level in self.levels[key]]


@torch.no_grad()
def record(
    network: TaskEnsemble,
    chips: ChipDataset,
    folder: Path,
    *,
    batch_size: int = 32,
    device: torch.device | str = "cpu",
    title: str = "Members",
) -> Recording:
    """Run every member on every chip that it can run for; what was recorded before is opened.

    Args:
        network: The whole ensemble.
        chips: Labelled, of one size.
        folder: Where it is written; it is this recording's alone.
        batch_size: Chips at once.
        device: Where to compute.
        title: Of the progress bar.

    Raises:
        InputError: If the chips differ in size, or if no member can run for one and there is no
            trunk.
    """
    if not (folder / _DONE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write(network.to(device).eval(), chips, folder, batch_size, device, title)
    return _open(network, folder)


def _write(
    network: TaskEnsemble,
    chips: ChipDataset,
    folder: Path,
    batch_size: int,
    device: torch.device | str,
    title: str,
) -> None:
    ensemble = network.ensemble
    files: dict[tuple[str, int], Any] = {}
    facts: dict[str, list[Tensor]] = {name: [] for name in _FACTS}
    start, size, chip_size = 0, (0, 0), (0, 0)
    loader = DataLoader(chips, batch_size, collate_fn=collate)
    for batch in show_progress(loader, title):
        x_BCHW, valid = batch["image"].to(device), batch["valid"].to(device)
        images = prepare_images(x_BCHW, chips.bands, valid, ensemble.spec.reductions[-1])
        size, chip_size = _size(images.x_BCHW), _size(x_BCHW)
        for name, value in _ask(network, images, x_BCHW, chips.bands, valid).items():
            facts[name].append(value.cpu())
        facts["targets"].append(target_of(batch))
        for number, member in enumerate(ensemble.members):
            weights_B = facts["applicable"][-1][:, number].float().to(device)
            source = run_member(member, images, weights_B)
            if source is not None:
                rows = range(len(x_BCHW)) if source.rows is None else source.rows.tolist()
                _put(files, folder, member.key, source.levels, [start + row for row in rows], chips)
        alone = (~facts["applicable"][-1].any(1)).nonzero()[:, 0]
        if len(alone) and ensemble.trunk is None:
            raise InputError(nobody_can(ensemble.members, images, alone.to(device)))
        # Whoever is left later, the trunk answers where none of them can run.
        can_fail = not bool(facts["applicable"][-1].all())
        if ensemble.trunk is not None and (ensemble.spec.trunk_features or can_fail):
            levels = look(
                ensemble.trunk, ensemble.spec, images, network.spec.gsd, with_levels=True
            ).levels
            assert levels is not None
            _put(files, folder, TRUNK, levels, range(start, start + len(x_BCHW)), chips)
        start += len(x_BCHW)
    for file in files.values():
        file.flush()
    for name, parts in facts.items():
        if parts:
            np.save(folder / f"{name}.npy", torch.cat(parts).numpy())
    write_json(
        folder / _DONE,
        {
            "size": list(size),
            "chip_size": list(chip_size),
            "levels": [[key, level] for key, level in sorted(files)],
        },
    )


def _ask(
    network: TaskEnsemble,
    images: Images,
    x_BCHW: Tensor,
    bands: Sequence[Channel],
    valid: Tensor,
) -> dict[str, Tensor]:
    """What gate and head look at."""
    ensemble = network.ensemble
    fitting = fit_members(images.usable_BCHW, images.bands, ensemble.members)
    found = dict(zip(("applicable", "match"), fitting, strict=True))
    if ensemble.trunk is not None and ensemble.spec.needs_trunk:
        view = look(ensemble.trunk, ensemble.spec, images, network.spec.gsd)
        found |= {"vectors": view.vectors_BD, "gsd": view.gsd_B}
    if looks_at_image(network.spec):
        found["image"] = network.normalize(x_BCHW, bands, valid)
    return found


def _put(
    files: dict[tuple[str, int], Any],
    folder: Path,
    key: str,
    levels: Sequence[Tensor],
    rows: Iterable[int],
    chips: ChipDataset,
) -> None:
    for level, values in enumerate(levels):
        if (key, level) not in files:
            shape = (len(chips), *values.shape[1:])
            path = _level_file(folder, key, level)
            files[key, level] = np.lib.format.open_memmap(path, "w+", np.float32, shape)
        files[key, level][list(rows)] = values.float().cpu().numpy()


def _open(network: TaskEnsemble, folder: Path) -> Recording:
    facts = json.loads((folder / _DONE).read_text())
    arrays = {
        name: torch.from_numpy(np.load(folder / f"{name}.npy"))
        for name in _FACTS
        if (folder / f"{name}.npy").exists()
    }
    levels: dict[str, list[Any]] = {}
    for key, level in facts["levels"]:
        levels.setdefault(key, []).append(np.load(_level_file(folder, key, level), mmap_mode="r"))
    ensemble = network.ensemble
    reductions = {
        member.key: member.network.feature_info.reduction() for member in ensemble.members
    }
    if ensemble.trunk is not None:
        reductions[TRUNK] = ensemble.trunk.feature_info.reduction()
    view = View(arrays["vectors"], arrays["gsd"], None) if "vectors" in arrays else None
    return Recording(
        levels,
        reductions,
        view,
        arrays["applicable"],
        arrays["match"],
        arrays["targets"],
        arrays.get("image"),
        _pair(facts["size"]),
        _pair(facts["chip_size"]),
    )


def _level_file(folder: Path, key: str, level: int) -> Path:
    return folder / f"{key.replace(':', '.')}_{level}.npy"


def _size(x_BCHW: Tensor) -> tuple[int, int]:
    return x_BCHW.shape[-2], x_BCHW.shape[-1]


def _pair(values: list[int]) -> tuple[int, int]:
    return values[0], values[1]
