"""The number by which a probe chooses between its own settings."""

import numpy as np

from evaluation.predictions import Predictions
from evaluation.scores import Scorer
from evaluation.tasks import Task, main_metric
from sensors import InputError


def main_score(predictions: Predictions) -> float:
    """The metric of the task that decides, as the results have it.

    Raises:
        InputError: If it is not defined for these samples.
    """
    name, _ = main_metric(predictions.task)
    once_RN = np.ones((1, len(predictions.ids)))
    score = float(Scorer(predictions, [name])(once_RN)[name][0])
    if np.isnan(score):
        raise InputError(
            f"there is no {name} of the {len(predictions.ids)} samples that a probe's settings are "
            "chosen by: none of them has a label; give other samples to the selection split"
        )
    return score


def worth(task: Task, score: float) -> float:
    """A main metric turned so that more is better."""
    return score if main_metric(task)[1] == "max" else -score
