"""Few labels: which training samples a probe may see, when only a share of them is labelled.

Shape suffixes: N samples, K classes or targets, H height, W width, L labelled samples.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rasters import IGNORE_INDEX
from sensors import InputError


def few_labels(targets: NDArray[Any], fraction: float, seed: int) -> NDArray[np.int64]:
    """Draw a share of the training samples.

    What is drawn for a small fraction is contained in what the same seed draws for a larger one, so
    that a curve over fractions shows the effect of more labels and not of other labels.

    - Class numbers (N,): the share of every class, rounded, and at least one sample of each.
    - Masks (N, H, W) or flags (N, K) of 0 and 1: the share of the samples, in which every class
      occurs if it can. Chips that bring a class not drawn yet come first, rarest class first; the
      others follow by chance. A mask without any labelled pixel costs no label and is not drawn.
    - Values of a regression: the share of the samples, at least one, by chance.

    Args:
        targets: Of all training samples.
        fraction: In 0..1, without 0.
        seed: Of the draw.

    Returns:
        Indices (L,) in increasing order.

    Raises:
        InputError: If the fraction is not in 0..1, or nothing is labelled.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"a fraction of {fraction} of the labels: expected above 0 and at most 1")
    generator = np.random.default_rng(seed)
    if targets.ndim == 1 and np.issubdtype(targets.dtype, np.integer):
        parts = [
            _share(generator.permutation(np.flatnonzero(targets == value)), fraction)
            for value in np.unique(targets)
        ]
        chosen_L = np.concatenate([np.empty(0, np.int64), *parts])
    else:
        chosen_L = _share(_order(targets, generator), fraction)
    if len(chosen_L) == 0:
        raise InputError(f"none of the {len(targets)} training samples has a label")
    return np.sort(chosen_L)


def _share(order_N: NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    return order_N[: max(1, round(fraction * len(order_N)))]


def _order(targets: NDArray[Any], generator: np.random.Generator) -> NDArray[np.int64]:
    """All labelled samples in the order in which they are drawn."""
    if targets.ndim == 3 and np.issubdtype(targets.dtype, np.integer):
        occurs_NK = np.stack([_classes_in(mask_HW) for mask_HW in targets])
        labelled_N = np.flatnonzero(occurs_NK.any(axis=1))
    elif targets.ndim == 2 and np.isin(targets, (0, 1)).all():
        occurs_NK = targets.astype(bool)
        labelled_N = np.arange(len(targets))
    else:
        known_N = np.array([np.isfinite(values).any() for values in targets], bool)
        return generator.permutation(np.flatnonzero(known_N))
    shuffled_N = generator.permutation(labelled_N)
    first_L = shuffled_N[_cover(occurs_NK[shuffled_N])]
    rest_N = shuffled_N[~np.isin(shuffled_N, first_L)]
    return np.concatenate([first_L, rest_N])


def _classes_in(mask_HW: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    occurs_K = np.zeros(IGNORE_INDEX, bool)
    occurs_K[mask_HW[mask_HW != IGNORE_INDEX]] = True
    return occurs_K


def _cover(occurs_NK: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Samples that hold every class between them, by greedy set cover, rarest class first."""
    count_K = occurs_NK.sum(axis=0)
    open_K = count_K > 0
    chosen: list[int] = []
    while open_K.any():
        rarest = np.where(open_K, count_K, len(occurs_NK) + 1).argmin()
        new_N = np.where(occurs_NK[:, rarest], occurs_NK[:, open_K].sum(axis=1), 0)
        chosen.append(int(new_N.argmax()))
        open_K &= ~occurs_NK[chosen[-1]]
    return np.array(chosen, np.int64)
