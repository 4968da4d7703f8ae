"""A linear model on frozen features, its penalty chosen on the selection split.

Shape suffixes: N samples, D features, K classes or targets.
"""

import copy
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from evaluation._selection import main_score, worth
from evaluation.predictions import ScenePredictions
from evaluation.tasks import Task
from sensors import InputError

Samples = tuple[NDArray[np.float32], NDArray[Any]]

_MAX_ITERATIONS = 1000
_PATIENCE = 3
_WORTH_THREADS = 2e7  # multiply-adds of one product


class LinearModel:
    """Logistic regression (L-BFGS; one against the rest for multi-label), or ridge regression.

    Features are standardised by the training samples. Penalties are tried from the strongest on, on
    the selection samples or, without them, on training samples held out fold by fold, until three
    in a row were worse than the best: weaker ones overfit more, and take the longest. Of equally
    good ones the strongest is kept. The model is fitted on the training samples alone, so that a
    share of the labels stays that share.

    Args:
        task: What the targets are.
        train: Features (N, D), and class numbers (N,), flags (N, K) or values (N, K).
        selection: The same of the selection split.
        penalties: Weights of the squared L2 norm: 1/C of scikit-learn's `LogisticRegression`, alpha
            of its `Ridge`.
        folds: Number of folds, where there are no selection samples.
        seed: Which training sample is in which fold.

    Attributes:
        hyperparameters: The chosen `C` or `alpha`; whether that fit `converged`; `sweep`, the main
            metric of each one that was tried.

    Raises:
        InputError: If no penalty is given or one is not positive, there are fewer samples (of every
            class) than folds, or the main metric is not defined for the selection samples.
    """

    def __init__(
        self,
        task: Task,
        train: Samples,
        selection: Samples | None = None,
        *,
        penalties: Sequence[float],
        folds: int = 5,
        seed: int = 0,
    ) -> None:
        if not penalties or min(penalties) <= 0:
            raise InputError(f"probe.penalties {list(penalties)}: expected one or more above 0")
        # Strong penalties make small weights, and each fit starts from the last.
        path = sorted(penalties, reverse=True)
        truth = train[1] if selection is None else selection[1]
        names = [str(number) for number in range(len(truth))]
        trials = (
            _try_path(task, train, selection[0], path)
            if selection is not None
            else _try_path_in_folds(task, train, path, folds, seed)
        )
        models, scores = [], []
        for model, prediction_NK in trials:
            models.append(model)
            scores.append(main_score(ScenePredictions.of(task, names, prediction_NK, truth)))
            worths = [worth(task, score) for score in scores]
            # As bad as the best does not count: the strongest all say the most frequent class.
            if all(value < max(worths) for value in worths[-_PATIENCE:]):
                break
        best = worths.index(max(worths))
        self._model = models[best]
        name = "alpha" if task.kind == "regression" else "C"
        tried = path if name == "alpha" else [1 / penalty for penalty in path]
        self.hyperparameters: dict[str, Any] = {
            name: tried[best],
            "converged": self._model.converged,
            "sweep": {f"{value:g}": score for value, score in zip(tried, scores, strict=False)},
        }

    def predict(self, features_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities or values, (N, K)."""
        return self._model.predict(features_ND)


class _Estimator(Protocol):
    """A model that begins each fit where the last one ended."""

    @property
    def converged(self) -> bool: ...

    def fit(self, x_ND: NDArray[np.float64], targets: NDArray[Any], penalty: float) -> None: ...

    def predict(self, x_ND: NDArray[np.float64]) -> NDArray[np.float64]: ...


class _Classes:
    """Multinomial logistic regression; a class without a sample has probability 0."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.converged = True
        self._logistic = LogisticRegression(warm_start=True, max_iter=_MAX_ITERATIONS)
        self._present = np.empty(0, np.int64)

    def fit(self, x_ND: NDArray[np.float64], targets: NDArray[Any], penalty: float) -> None:
        self._present = np.unique(targets).astype(np.int64)
        if len(self._present) > 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # kept as `converged`
                # One label a class looks to scikit-learn like the values of a regression.
                warnings.filterwarnings("ignore", "The number of unique classes is greater")
                self._logistic.set_params(C=1 / penalty).fit(x_ND, targets)
            self.converged = bool(self._logistic.n_iter_.max() < _MAX_ITERATIONS)

    def predict(self, x_ND: NDArray[np.float64]) -> NDArray[np.float64]:
        probability_NK = np.zeros((len(x_ND), self.count))
        several = len(self._present) > 1
        probability_NK[:, self._present] = self._logistic.predict_proba(x_ND) if several else 1
        return probability_NK


class _Labels:
    """One logistic regression a label against the rest."""

    def __init__(self, count: int) -> None:
        self._models = [_Classes(2) for _ in range(count)]

    @property
    def converged(self) -> bool:
        return all(model.converged for model in self._models)

    def fit(self, x_ND: NDArray[np.float64], targets: NDArray[Any], penalty: float) -> None:
        for model, flags_N in zip(self._models, targets.T, strict=True):
            model.fit(x_ND, flags_N, penalty)

    def predict(self, x_ND: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack([model.predict(x_ND)[:, 1] for model in self._models], axis=1)


class _Values:
    """Ridge regression, solved exactly."""

    converged = True

    def __init__(self) -> None:
        self._ridge = Ridge()

    def fit(self, x_ND: NDArray[np.float64], targets: NDArray[Any], penalty: float) -> None:
        self._ridge.set_params(alpha=penalty).fit(x_ND, targets)

    def predict(self, x_ND: NDArray[np.float64]) -> NDArray[np.float64]:
        values_NK: NDArray[np.float64] = self._ridge.predict(x_ND)
        return values_NK.reshape(len(x_ND), -1)  # of a single target, scikit-learn gives (N,)


class _Fitted:
    """An estimator behind the scaling of its training features."""

    def __init__(self, scaler: StandardScaler, estimator: _Estimator) -> None:
        self._scaler = scaler
        self._estimator = estimator
        self.converged = estimator.converged

    def predict(self, features_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        x_ND = self._scaler.transform(features_ND.astype(np.float64))
        return self._estimator.predict(x_ND).astype(np.float32)


Trial = tuple[_Fitted, NDArray[np.float32]]
"""A model fitted on all training samples, and the predictions to judge its penalty by."""


def _fit_path(task: Task, train: Samples, penalties: Sequence[float]) -> Iterator[_Fitted]:
    """One model a penalty; in double precision, as L-BFGS stops early at weak ones in single."""
    scaler = StandardScaler()
    x_ND = scaler.fit_transform(train[0].astype(np.float64))
    count = len(task.classes)
    estimator: _Estimator
    if task.kind == "regression":
        estimator = _Values()
    elif task.multi_label:
        estimator = _Labels(count)
    else:
        estimator = _Classes(count)
    # Products of small matrices end sooner than threads that share them have found each other.
    threads = 1 if x_ND.size * count < _WORTH_THREADS else None
    for penalty in penalties:
        with threadpool_limits(threads):
            estimator.fit(x_ND, train[1], penalty)
        yield _Fitted(scaler, copy.deepcopy(estimator))


def _try_path(
    task: Task, train: Samples, features_ND: NDArray[np.float32], penalties: Sequence[float]
) -> Iterator[Trial]:
    for model in _fit_path(task, train, penalties):
        yield model, model.predict(features_ND)


def _try_path_in_folds(
    task: Task, train: Samples, penalties: Sequence[float], folds: int, seed: int
) -> Iterator[Trial]:
    """Each training sample's prediction is that of a model that was not fitted on it."""
    features_ND, targets = train
    parts = list(_split(task, targets, folds, seed))
    paths = [
        _fit_path(task, (features_ND[fitted_N], targets[fitted_N]), penalties)
        for fitted_N, _ in parts
    ]
    for model, *others in zip(_fit_path(task, train, penalties), *paths, strict=True):
        prediction_NK = np.empty((len(features_ND), len(task.classes)), np.float32)
        for (_, held_out_N), other in zip(parts, others, strict=True):
            prediction_NK[held_out_N] = other.predict(features_ND[held_out_N])
        yield model, prediction_NK


def _split(
    task: Task, targets: NDArray[Any], folds: int, seed: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    is_stratified = task.kind != "regression" and not task.multi_label
    most = int(np.bincount(targets).max()) if is_stratified else len(targets)
    if not 2 <= folds <= most:
        of = " of the largest class" if is_stratified else ""
        raise InputError(
            f"{most} training samples{of} for probe.folds={folds}: give a selection split, "
            "more labels, or other folds (2 or more)"
        )
    kind = StratifiedKFold if is_stratified else KFold
    with warnings.catch_warnings():
        # A class with fewer samples than folds is missing in some, which is no harm.
        warnings.filterwarnings("ignore", "The least populated class")
        yield from kind(folds, shuffle=True, random_state=seed).split(targets, targets)
