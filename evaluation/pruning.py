"""`prune-ensemble`: find the members that can go, measure what that saves, and write it down."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from evaluation.before_after import Row, draw_pareto, measure_row, predict_chips
from evaluation.cells import find_device
from evaluation.dataset import EvaluationData, load_data
from evaluation.integration import open_manifest
from evaluation.pruning_config import PruneConfig
from rasters.progress import show_progress
from registry import Registry
from router.composing.parts import check_bands
from router.ensemble_files import load_task_ensemble, save_ensemble, write_weights
from router.manifest import Manifest, Pin
from router.pruning.budget import TOLERATED, Budget, Point
from router.pruning.parts import Parts
from router.pruning.picture import draw_redundancy
from router.pruning.recording import Recording, record
from router.pruning.redundancy import Redundancy, measure_redundancy
from router.pruning.search import Search, Step
from router.task_ensemble import TaskEnsemble
from router.trunk import Trunk
from sensors import InputError
from specialists.run import write_json

_OUT = "pruning"
_RECORDED = ("train", "selection")


@dataclass(frozen=True)
class Outcome:
    """What was found.

    Args:
        redundancy: Of the members.
        steps: Of the search; the first has all members, and fusion and head fitted once more.
        rows: The ensemble as it was, and then every step, on the test split.
        chosen: Number of the step that meets the budget; 0: nobody can go.
        better: With exhaustive=true, for each step how many choices of as many members score better
            on the selection split, before fusion and head are fitted; else empty.
        folder: Where all of this was written.
        manifest: The one that was written; None where nobody goes, and for a dry run.
    """

    redundancy: Redundancy
    steps: tuple[Step, ...]
    rows: tuple[Row, ...]
    chosen: int
    better: tuple[int, ...]
    folder: Path
    manifest: Manifest | None


def prune(config: PruneConfig) -> Outcome:
    """Find the members that an ensemble can do without, and write it without them.

    The result is the ensemble's next manifest; members stay in the registry. Until it is written
    the ensemble stays as it is, and what was measured is kept: an interrupted run goes on.

    Args:
        config: The ensemble, the data, the budget.

    Raises:
        InputError: If the ensemble has no head or a single member, the data are not of its task or
            have none of its members' bands, the budget cannot be met, or another change was made
            to the ensemble meanwhile.
    """
    budget, folder = config.check(), Path(config.ensemble)
    registry = Registry.open(config.registry)
    start = open_manifest(folder)
    network = load_task_ensemble(folder, registry)
    if len(network.ensemble.members) < 2:
        raise InputError(
            f"{folder} has one member, {network.ensemble.members[0].reference}, and nobody who "
            "could stay without it; add members by compose-ensemble add"
        )
    data = load_data(config.data)
    _check_task(network, data)
    # Of a member that no chip can run the data say nothing: it stays.
    absent = check_bands(network.ensemble, data.bands, 0)
    search, out = _open_search(config, budget, start, network, data)
    redundancy = measure_redundancy(search, config.seed)
    write_json(out / "redundancy.json", redundancy.to_dict())
    draw_redundancy(redundancy, out / "redundancy.png", f"{folder.name}, {data.name}: redundancy")
    keep = [name for name, share in redundancy.can_run.items() if share == 0]
    path = search.go(keep)
    networks = [network, *(parts.to_network(_trunk(network)) for _, parts in path)]
    rows = _measure(networks, [step for step, _ in path], data, registry, config, out)
    draw_pareto(rows, out / "pareto.png")
    better = _compare(search, [step for step, _ in path], keep) if config.exhaustive else ()
    points = [_point(step, path[0][0], row) for (step, _), row in zip(path, rows[1:], strict=True)]
    steps = tuple(step for step, _ in path)
    write_json(
        out / "pruning.json",
        {
            "data": data.name,
            "budget": str(budget),
            "rows": [row.to_dict() for row in rows],
            "steps": [step.to_dict() for step in steps],
            "better": list(better),
        },
    )
    try:
        chosen = budget.choose(points)
    except InputError as error:
        raise InputError(f"{error}; what was measured: {out}") from error
    manifest = None
    if chosen and not config.dry_run:
        if open_manifest(folder).version != start.version:
            raise InputError(
                f"{folder} was changed while its members were judged; run the command again"
            )
        reasons = _reasons(steps[: chosen + 1], rows, budget, redundancy, data, absent)
        manifest = save_ensemble(networks[chosen + 1], folder, "prune", reasons)
    return Outcome(redundancy, steps, rows, chosen, better, out, manifest)


def _check_task(network: TaskEnsemble, data: EvaluationData) -> None:
    spec, task = network.spec, data.task
    if (spec.task, spec.multi_label, spec.classes) == (task.kind, task.multi_label, task.classes):
        return
    raise InputError(
        f"data {data.name} asks for {task.kind} of {', '.join(task.classes)}, and the ensemble "
        f"answers {spec.task} of {', '.join(spec.classes)}; give data of its own task, or teach it "
        "this one by compose-ensemble with start"
    )


def _trunk(network: TaskEnsemble) -> tuple[Trunk, Pin] | None:
    ensemble = network.ensemble
    if ensemble.trunk is None or ensemble.trunk_pin is None:
        return None
    return ensemble.trunk, ensemble.trunk_pin


def _open_search(
    config: PruneConfig,
    budget: Budget,
    start: Manifest,
    network: TaskEnsemble,
    data: EvaluationData,
) -> tuple[Search, Path]:
    """What was recorded of the members, in a folder of this ensemble, data and settings alone."""
    tolerated = TOLERATED if budget.drop is None else budget.drop
    facts = {
        "manifest": start.to_dict() | {"version": 0, "parent": None, "created": "", "reasons": []},
        "data": data.digest,
        "chips": config.chips,
        "tolerated": tolerated,
        "refit": asdict(config.refit),
        "seed": config.seed,
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    out = Path(config.out or Path(config.ensemble) / _OUT) / digest
    recordings: dict[str, Recording] = {}
    for split in _RECORDED:
        chips = data.chips[split]
        if split == "train" and len(chips) > config.chips:
            generator = torch.Generator().manual_seed(config.seed)
            rows = torch.randperm(len(chips), generator=generator)[: config.chips]
            chips = chips.subset(sorted(rows.tolist()))
        recordings[split] = record(
            network,
            chips,
            out / "recorded" / split,
            batch_size=config.batch_size,
            device=find_device(config.device),
            title=f"Members on the {split} split",
        )
    network.to("cpu")
    settings = replace(config.refit, seed=config.seed)
    train, selection = (recordings[split] for split in _RECORDED)
    whole = Parts(network, train)
    return Search(whole, train, selection, settings, out / "steps", tolerated), out


def _measure(
    networks: Sequence[TaskEnsemble],
    steps: Sequence[Step],
    data: EvaluationData,
    registry: Registry,
    config: PruneConfig,
    out: Path,
) -> tuple[Row, ...]:
    """What the ensemble as it was and each step are worth and cost, all in one go."""
    names = ["before", *(_name(step) for step in steps)]
    chips, groups = data.chips["test"], data.groups("test")
    rows = []
    for network, name in show_progress(list(zip(networks, names, strict=True)), "Costs"):
        said = predict_chips(
            network, chips, batch_size=config.batch_size, groups=groups, title=name
        )
        size = _file_bytes(network, registry, out / "weights.safetensors")
        rows.append(measure_row(name, network, chips, file_bytes=size, predictions=said))
    return tuple(rows)


def _name(step: Step) -> str:
    count = len(step.members)
    what = "all fitted again" if step.removed is None else f"without {step.removed}"
    return f"{count} {'member' if count == 1 else 'members'}, {what}"


def _file_bytes(network: TaskEnsemble, registry: Registry, scratch: Path) -> int:
    """Bytes of members, trunk and the ensemble's own weights."""
    ensemble = network.ensemble
    pins = [member.pin for member in ensemble.members]
    pins += [ensemble.trunk_pin] if ensemble.trunk_pin is not None else []
    write_weights(network, scratch)
    own = scratch.stat().st_size
    scratch.unlink()
    return own + sum(registry.blob(pin.sha256).stat().st_size for pin in pins)


def _point(step: Step, first: Step, row: Row) -> Point:
    drop = step.worth.drop(first.worth)
    return Point(len(step.members), drop, row.parameters, row.macs, row.latency_ms[1])


def _compare(search: Search, steps: Sequence[Step], keep: Sequence[str]) -> tuple[int, ...]:
    """For each step, how many choices of as many members are better, before fitting."""
    found = search.try_all(keep)
    better = []
    for step in steps[1:]:
        own = found[tuple(sorted(step.members, key=search.whole.references.index))]
        same = [worth for chosen, worth in found.items() if len(chosen) == len(step.members)]
        better.append(sum(worth.rank[0] > own.rank[0] for worth in same))
    return (0, *better)


def _reasons(
    steps: Sequence[Step],
    rows: Sequence[Row],
    budget: Budget,
    redundancy: Redundancy,
    data: EvaluationData,
    absent: Sequence[str],
) -> list[str]:
    before, after, last = rows[0], rows[len(steps)], steps[-1]
    reasons = [
        f"pruned on {data.name} under a budget of {budget}: {before.metric} on the selection split "
        f"{steps[0].worth.score:.4f} with all members, {last.worth.score:.4f} with "
        f"{len(last.members)}"
    ]
    for step in steps[1:]:
        assert step.removed is not None
        alike = redundancy.most_alike(step.removed)
        nearest = "" if alike is None else f"; most like {alike[0]} (linear CKA {alike[1]:.2f})"
        reasons.append(
            f"{step.removed} went: its going cost {step.losses[step.removed]:+.4f} before fusion "
            f"and head were fitted again{nearest}"
        )
    reasons += [f"{line}: the data say nothing of it, so it stayed" for line in absent]
    reasons.append(
        f"test {before.metric} {before.score.value:.4f} before, {after.score.value:.4f} after; "
        f"parameters {before.parameters:,} and {after.parameters:,}, multiply-adds "
        f"{before.macs:,} and {after.macs:,}, one image {before.latency_ms[1]:.1f} and "
        f"{after.latency_ms[1]:.1f} ms"
    )
    reasons.append(f"data {data.name} has the SHA-256 {data.digest}")
    return reasons
