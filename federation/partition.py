"""Who holds which chips, where one data set is divided to simulate several holders.

Shape suffixes: N chips, P places, K classes.
"""

import math

import numpy as np
from numpy.typing import NDArray

from rasters import IGNORE_INDEX, ChipDataset, block_split, see_as
from rasters.progress import show_progress
from sensors import InputError
from specialists.splitting import SplitConfig, groups_of

__all__ = ["METHODS", "partition", "see_as"]

METHODS = ("iid", "location", "label")

Parts = list[list[int]]


def partition(
    chips: ChipDataset,
    clients: int,
    by: str,
    *,
    seed: int = 0,
    alpha: float = 0.5,
    split: SplitConfig | None = None,
) -> Parts:
    """Divide chips among clients: each chip to one of them, and to each of them one at least.

    - `iid`: by chance, in parts of equal size.
    - `location`: by where they are. Georeferenced chips are cut in two across the longest side of
      the box around their centres, and each part again, so that every client has a region of its
      own, with about equal numbers; chips at one place stay together, and there is no chance in it.
      Other chips go by whole groups, which are dealt out by size and then by chance.
    - `label`: parts of equal size, in each of which the classes are mixed in shares of its own,
      drawn from a Dirichlet distribution (Hsu et al., arXiv 1909.06335). The class of a chip is the
      one that most of its labelled pixels have; of several labels (multi-label) it is the one that
      the fewest chips have. Chips without a label are a class of their own.

    The same arguments give the same parts on every node with the same numpy; where files lie and
    which process asks has no influence.

    Args:
        chips: All there are to divide.
        clients: Into how many parts.
        by: One of `METHODS`.
        seed: Of what goes by chance.
        alpha: Concentration of the Dirichlet distribution. Its parameter is alpha for each of K
            equally frequent classes, and alpha K p for one of frequency p; Hsu et al. call alpha K
            what is alpha here. At 100 parts are nearly alike, at 0.1 very unlike. A client
            whose classes are used up takes of what is left.
        split: Tells the group of a chip by `group_pattern` or `group_table`; without, it is the
            chips' own.

    Returns:
        Increasing indices into `chips` for each client.

    Raises:
        InputError: If there are too few chips, places or groups for the clients, the method is
            unknown, or it lacks what it needs.
    """
    if by not in METHODS:
        raise InputError(f"a partition by {by!r} is not one of {', '.join(METHODS)}")
    if clients < 1 or len(chips) < clients:
        raise InputError(
            f"{len(chips)} chips cannot be divided among {clients} clients: expected 1 to "
            f"{len(chips)} of them"
        )
    if not (alpha > 0 and math.isfinite(alpha)):
        raise InputError(f"alpha {alpha} of the partition by label: expected a number above 0")
    if by == "label":
        parts = _by_label(chips, clients, np.random.default_rng(seed), alpha)
    elif by == "iid":
        order_N = np.random.default_rng(seed).permutation(len(chips))
        parts = [part.tolist() for part in np.array_split(order_N, clients)]
    elif chips.locations is not None:
        parts = _by_region(chips.locations, clients)
    else:
        parts = _by_group(chips, clients, seed, split or SplitConfig())
    return [sorted(part) for part in parts]


def _by_group(chips: ChipDataset, clients: int, seed: int, split: SplitConfig) -> Parts:
    try:
        groups = groups_of(chips, split)
    except InputError as error:
        raise InputError(
            "a partition by location needs georeferenced chips, or groups of chips of one place "
            f"each: {error}"
        ) from error
    if len(set(groups)) < clients:
        raise InputError(
            f"{len(set(groups))} groups of chips cannot be divided among {clients} clients: "
            "expected one group for each at least"
        )
    shares = {f"{number:06d}": 1 / clients for number in range(clients)}
    return list(block_split(groups, None, shares, seed).values())


def _by_region(locations_N2: NDArray[np.float64], clients: int) -> Parts:
    places_P2, place_N = np.unique(locations_N2.round(6), axis=0, return_inverse=True)
    if len(places_P2) < clients:
        raise InputError(
            f"chips at {len(places_P2)} places cannot be divided among {clients} clients: expected "
            "one place for each at least"
        )
    place_N = place_N.reshape(-1)
    longitude_P, latitude_P = np.radians(places_P2.T)
    # On the sphere no distance is distorted, and none is torn at 180 degrees.
    points_P3 = np.stack(
        [
            np.cos(latitude_P) * np.cos(longitude_P),
            np.cos(latitude_P) * np.sin(longitude_P),
            np.sin(latitude_P),
        ],
        axis=1,
    ).round(12)
    regions = _halve(points_P3, np.bincount(place_N), np.arange(len(places_P2)), clients)
    return [np.flatnonzero(np.isin(place_N, region)).tolist() for region in regions]


def _halve(
    points_P3: NDArray[np.float64],
    chips_P: NDArray[np.int64],
    chosen: NDArray[np.int64],
    clients: int,
) -> list[NDArray[np.int64]]:
    """Cut the chosen places in two until there is a region for each client."""
    if clients == 1:
        return [chosen]
    axis = int(np.ptp(points_P3[chosen], axis=0).argmax())
    order = chosen[np.argsort(points_P3[chosen, axis], kind="stable")]
    left = clients // 2
    before = np.cumsum(chips_P[order])
    wanted = before[-1] * left / clients
    cut = int(np.abs(before - wanted).argmin()) + 1
    cut = min(max(cut, left), len(order) - (clients - left))
    return [
        *_halve(points_P3, chips_P, order[:cut], left),
        *_halve(points_P3, chips_P, order[cut:], clients - left),
    ]


def _by_label(
    chips: ChipDataset, clients: int, generator: np.random.Generator, alpha: float
) -> Parts:
    if chips.task not in ("scene-classification", "semantic-segmentation"):
        raise InputError(f"a partition by label needs classes, which chips for {chips.task} lack")
    class_N = _classes_of(chips)
    waiting = [
        generator.permutation(np.flatnonzero(class_N == label)).tolist()
        for label in np.unique(class_N)
    ]
    left_K = np.array([len(members) for members in waiting])
    frequency_K = left_K / len(chips)
    shares = generator.dirichlet(alpha * len(waiting) * frequency_K, size=clients)
    parts: Parts = [[] for _ in range(clients)]
    # In turns, so that the last client is not left with what no other one wanted.
    for turn in range(len(chips)):
        share_K = shares[turn % clients] * (left_K > 0)
        share_K = share_K if share_K.sum() > 0 else left_K.astype(np.float64)
        label = int(generator.choice(len(waiting), p=share_K / share_K.sum()))
        parts[turn % clients].append(waiting[label].pop())
        left_K[label] -= 1
    return parts


def _classes_of(chips: ChipDataset) -> NDArray[np.int64]:
    """One class for each chip, `(N,)`; -1 for a chip without a label."""
    counts_NK = np.zeros((len(chips), len(chips.classes)), dtype=np.int64)
    for number in show_progress(range(len(chips)), "Labels of the chips"):
        target = chips.target(number)
        if target is None:
            continue
        found = target.numpy()
        if chips.multi_label:
            counts_NK[number] = found > 0
        else:
            labelled = found[found != IGNORE_INDEX].reshape(-1)
            counts_NK[number] = np.bincount(labelled, minlength=len(chips.classes))
    if chips.multi_label:
        counts_NK *= len(chips) + 1 - counts_NK.sum(axis=0)
    return np.where(counts_NK.any(axis=1), counts_NK.argmax(axis=1), -1)
