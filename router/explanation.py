"""Why an image was answered as it was: who was asked, and who could not be."""

from collections.abc import Sequence
from dataclasses import dataclass

from router.applicability import describe_missing
from router.gate import Routing
from router.member import Member
from sensors.choice import BandChoice
from sensors.plan import BandPlan


@dataclass(frozen=True)
class Explanation:
    """What the gate decided for one image.

    Args:
        weights: Reference to weight of the members that run, the largest first.
        probabilities: Reference to probability of all members that could run.
        missing: Reference to the bands that are missing, of those that cannot run.
    """

    weights: dict[str, float]
    probabilities: dict[str, float]
    missing: dict[str, str]

    def __str__(self) -> str:
        lines = [f"{name}: weight {weight:.2f}" for name, weight in self.weights.items()]
        lines += [
            f"{name}: not chosen (probability {share:.2f})"
            for name, share in self.probabilities.items()
            if name not in self.weights
        ]
        lines += [f"{name}: cannot run, missing {bands}" for name, bands in self.missing.items()]
        return "\n".join(lines)


def explain_routing(
    members: Sequence[Member],
    plans: Sequence[BandPlan | BandChoice],
    routing: Routing,
    row: int,
) -> Explanation:
    """Explain one image.

    Args:
        members: Of the ensemble.
        plans: For each, how it gets its input from the image's bands.
        routing: Of the batch.
        row: Which image.
    """
    names = [member.reference for member in members]
    weights = dict(zip(names, routing.weights_BM[row].tolist(), strict=True))
    shares = dict(zip(names, routing.probabilities_BM[row].tolist(), strict=True))
    return Explanation(
        weights=_falling({name: value for name, value in weights.items() if value > 0}),
        probabilities=_falling(
            {
                name: shares[name]
                for name, plan in zip(names, plans, strict=True)
                if plan.is_applicable
            }
        ),
        missing={
            name: describe_missing(plan)
            for name, plan in zip(names, plans, strict=True)
            if not plan.is_applicable
        },
    )


def _falling(values: dict[str, float]) -> dict[str, float]:
    return dict(sorted(values.items(), key=lambda entry: -entry[1]))
