"""What a network that takes any bands reads of a scene, and who cannot run on it."""

import warnings
from collections.abc import Sequence

from router.applicability import describe_missing
from router.ensemble import Ensemble
from router.task_ensemble import TaskEnsemble
from sensors.bands import Channel
from sensors.choice import BandChoice
from sensors.errors import InputError
from sensors.plan import BandPlan
from specialists.model import Specialist

ALONE = "trunk alone"


def bands_to_read(network: TaskEnsemble, given: Sequence[Channel]) -> tuple[Channel, ...]:
    """Those of the ensemble's bands that a scene has, with a warning where it has not all.

    Args:
        network: The ensemble.
        given: The scene's bands.

    Raises:
        MissingBandsError: If the scene has none of them.
        InputError: If no member can run, and there is no trunk.
    """
    plan = BandPlan.match(network.spec.bands, given)
    if plan.is_applicable:
        return network.spec.bands
    missing = {entry.wanted for entry in plan.missing}
    there = tuple(band for band in network.spec.bands if band not in missing)
    if not there:
        plan.require()
    idle = _describe_idle(network.ensemble, there)
    text = f"the scene lacks {describe_missing(plan)}, on which the ensemble was trained"
    if len(idle) == len(network.ensemble.members) and network.ensemble.trunk is None:
        raise InputError(
            f"{text}; no member can run without:{''.join(idle)}\n"
            "give a scene that has the bands of one of them"
        )
    # Beyond predict_map, to whoever called it.
    warnings.warn(f"{text}{'; without, cannot run:' if idle else ''}{''.join(idle)}", stacklevel=4)
    return there


def bands_to_take(specialist: Specialist, given: Sequence[Channel]) -> tuple[Channel, ...]:
    """The scene's bands that a wavelength-conditioned specialist takes, warning of what it lacks.

    Args:
        specialist: With such a stem.
        given: The scene's bands.

    Raises:
        MissingBandsError: If it knows none of them.
    """
    choice = BandChoice.match(specialist.bands, given).require()
    if choice.missing:
        lacking = ", ".join(entry.wanted.name for entry in choice.missing)
        # Beyond predict_map, to whoever called it.
        warnings.warn(
            f"the scene has nothing like {lacking}, which the specialist knows; the map is made "
            f"from {', '.join(band.name for band in choice.bands)}",
            stacklevel=4,
        )
    return choice.bands


def name_choices(ensemble: Ensemble) -> tuple[str, ...]:
    """Names of all who may be asked, in the numbers that a map of members holds."""
    return (*(member.reference for member in ensemble.members), ALONE)


def _describe_idle(ensemble: Ensemble, there: Sequence[Channel]) -> list[str]:
    """A line for each member that cannot run on these bands."""
    plans = {member.reference: member.network.spec.match(there) for member in ensemble.members}
    return [
        f"\n  {name}: missing {describe_missing(plan)}"
        for name, plan in plans.items()
        if not plan.is_applicable
    ]
