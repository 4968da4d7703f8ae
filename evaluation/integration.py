"""`integrate`: measure a new member on a frozen suite, decide, and write the decision down.

Nothing is trained. The ensemble as it is, with the new member, and with the new member in the place
of an old one are frozen encoders on the same chips; differences are drawn over the same samples.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from evaluation.encoders import wrap_ensemble
from evaluation.folder import ResultsFolder
from evaluation.integration_config import IntegrateConfig
from evaluation.integration_rules import Gain, Rules, Trial, Verdict, judge
from evaluation.integration_suite import (
    Measured,
    Suite,
    compare_measured,
    describe_suite,
    load_suite,
)
from registry import Registry
from router.ensemble import Ensemble
from router.ensemble_files import encoder_of, load_with_head, save_ensemble
from router.manifest import FILE, Manifest, read_manifest, write_manifest
from router.task_ensemble import TaskEnsemble
from sensors import InputError

_RESULTS = "integration"


@dataclass(frozen=True)
class Decision:
    """What was decided on a new member, and why.

    Args:
        verdict: The rule that applied.
        member: The new member, `name@version`.
        added: What it does beside all others, for each task.
        instead: What it does in the place of an old one, by the old one's reference.
        reasons: What the manifest says of it.
        manifest: The one that was written; None for a dry run.
    """

    verdict: Verdict
    member: str
    added: tuple[Gain, ...]
    instead: Mapping[str, Trial]
    reasons: tuple[str, ...]
    manifest: Manifest | None

    @property
    def action(self) -> str:
        """`add`, `replace` or `reject`."""
        return self.verdict.action


def integrate(config: IntegrateConfig, *, config_dir: Path | None = None) -> Decision:
    """Measure what a registered specialist does for an ensemble, and take it or not.

    The decision is the ensemble's next manifest; one that rejects has the members and weights of
    the one before. Until it is written the ensemble stays as it is, and what was measured is kept.

    Args:
        config: The ensemble, the new member, the suite.
        config_dir: Folder with data sets and protocols of one's own.

    Raises:
        InputError: If the ensemble, the member or a task cannot be had, the member is in it
            already, or another change was made to the ensemble meanwhile.
    """
    folder, registry = Path(config.ensemble), Registry.open(config.registry)
    start = open_manifest(folder)
    changed = _Change(folder, registry, config.member)
    with _results(config) as results:
        suite = load_suite(config, results, config_dir)
        describe_suite(suite)
        name = f"manifest {start.version}"
        before = _measure(suite, name, encoder_of(load_with_head(folder, registry)))
        after = _measure(suite, f"{name} + {changed.member}", encoder_of(changed.network))
        added = compare_measured(before, after)
        _refuse_unmeasured(before, after)
        instead = {}
        for old in _falling(before, after)[: config.tries]:
            swapped = _Change(folder, registry, config.member, without=old)
            title = f"{name} + {changed.member} - {old}"
            found = _measure(suite, title, encoder_of(swapped.network))
            gains, beside = compare_measured(before, found), compare_measured(after, found)
            instead[old] = Trial(gains, beside)
    rules = Rules(config.tolerance, config.min_gain, config.decide_by)
    verdict = judge(added, instead, rules)
    reasons = _reasons(changed.member, verdict, added, instead, suite, before)
    manifest = None
    if not config.dry_run:
        if open_manifest(folder).version != start.version:
            raise InputError(
                f"{folder} was changed while {changed.member} was measured; run the command again"
            )
        if verdict.replaced is not None:
            changed = _Change(folder, registry, config.member, without=verdict.replaced)
        manifest = _write(folder, start, changed.network, verdict.action, reasons)
    return Decision(verdict, changed.member, added, instead, reasons, manifest)


def open_manifest(folder: Path) -> Manifest:
    """The manifest of an ensemble's folder.

    Raises:
        InputError: If it is no such folder.
    """
    if not (folder / FILE).is_file():
        raise InputError(
            f"{folder} is no ensemble's folder: it has no {FILE}; give one that compose-ensemble, "
            "or Ensemble.save, wrote"
        )
    return read_manifest(folder)


class _Change:
    """The ensemble of a folder with a new member, in memory.

    Args:
        folder: Of the ensemble.
        registry: Where members are.
        new: The new member.
        without: An old member that goes.
    """

    def __init__(
        self, folder: Path, registry: Registry, new: str, without: str | None = None
    ) -> None:
        self.network: Ensemble | TaskEnsemble = load_with_head(folder, registry)
        self.member = encoder_of(self.network).add(new, registry).reference
        if without is not None:
            encoder_of(self.network).remove(without)


def _measure(suite: Suite, name: str, ensemble: Ensemble) -> Measured:
    return suite.measure(wrap_ensemble(name, ensemble))


@contextmanager
def _results(config: IntegrateConfig) -> Iterator[ResultsFolder]:
    """Where measurements are kept."""
    if config.out is not None:
        yield ResultsFolder(Path(config.out))
    elif not config.dry_run:
        yield ResultsFolder(Path(config.ensemble) / _RESULTS)
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield ResultsFolder(Path(folder))


def _refuse_unmeasured(before: Measured, after: Measured) -> None:
    """A task that neither can answer says nothing of the new member."""
    for task in before.unanswered.keys() & after.unanswered.keys():
        raise InputError(
            f"suite task {task} cannot be measured, with the new member or without: "
            f"{after.unanswered[task]}; leave it out of the suite"
        )


def _falling(before: Measured, after: Measured) -> list[str]:
    """Old members that the gate asks less with the new one, the most fallen first."""
    falls = {member: weight - after.gate.get(member, 0.0) for member, weight in before.gate.items()}
    return sorted((name for name in falls if falls[name] > 0), key=lambda name: -falls[name])


def _reasons(
    member: str,
    verdict: Verdict,
    added: Sequence[Gain],
    instead: Mapping[str, Trial],
    suite: Suite,
    before: Measured,
) -> tuple[str, ...]:
    reasons = [f"{member}: {verdict.reason}"]
    reasons += [f"with {member}, {gain}" for gain in added]
    for old, trial in instead.items():
        reasons += [f"with {member} in the place of {old}, {gain}" for gain in trial.gains]
    reasons += [
        f"{task}: no member could run before, so the score before is that of the training labels "
        "alone"
        for task in before.unanswered
    ]
    digests = {task.data.name: task.data.digest for task in suite.tasks}
    reasons += [f"data {name} has the SHA-256 {digest}" for name, digest in digests.items()]
    return tuple(reasons)


def _write(
    folder: Path,
    start: Manifest,
    network: Ensemble | TaskEnsemble,
    action: str,
    reasons: tuple[str, ...],
) -> Manifest:
    if action != "reject":
        return save_ensemble(network, folder, action, reasons)
    manifest = start.following(action, reasons)
    write_manifest(folder, manifest)
    return manifest
