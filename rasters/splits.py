"""Deterministic splits: by hash, by blocks of ground or groups, by labelled polygons.

All are pure functions of their arguments: they depend neither on the order of the samples nor on a
random state.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from rasters._masks import IGNORE_INDEX
from sensors.errors import InputError

Fractions = Mapping[str, float]


def hash_split(ids: Sequence[str], fractions: Fractions, seed: int = 0) -> dict[str, list[int]]:
    """Split by a hash of each id: a sample stays where it is whatever is added or taken away.

    The shares are those of `fractions` on average; a few samples more or less are chance.

    Args:
        ids: Name of every sample.
        fractions: Share of every split, summing to 1.
        seed: Another seed is another split.

    Returns:
        Sorted positions in `ids` for every split.

    Raises:
        InputError: If the fractions do not sum to 1.
    """
    _check_fractions(fractions)
    names = list(fractions)
    edges = np.cumsum([fractions[name] for name in names])[:-1]
    split: dict[str, list[int]] = {name: [] for name in names}
    for position, id_ in enumerate(ids):
        draw = _hash(id_, seed) / 2**64
        split[names[int(np.searchsorted(edges, draw, side="right"))]].append(position)
    return split


def block_split(
    locations: ArrayLike,
    block_size: float | None,
    fractions: Fractions,
    seed: int = 0,
    *,
    margin: float = 0.0,
) -> dict[str, list[int]]:
    """Split by blocks of ground or by groups, each of which lies in one split as a whole.

    Larger blocks are dealt first, each to the split that lacks most, so that the shares are met as
    closely as whole blocks allow.

    Args:
        locations: Coordinates `(N, 2)`, or one group key a sample.
        block_size: Side of a block in the unit of the coordinates; None for group keys.
        fractions: Share of every split, summing to 1.
        seed: Another seed is another split.
        margin: Leave out samples this near to one of an earlier split, in the unit of the
            coordinates: two blocks that touch still have neighbours across their border.

    Returns:
        Sorted positions of the samples for every split.

    Raises:
        InputError: If the fractions do not sum to 1, there are fewer blocks than splits, or
            locations and block size do not go together.
    """
    _check_fractions(fractions)
    keys = _block_keys(np.asarray(locations), block_size)
    members: dict[str, list[int]] = {}
    for position, key in enumerate(keys):
        members.setdefault(key, []).append(position)
    wanted = sum(share > 0 for share in fractions.values())
    if len(members) < wanted:
        raise InputError(
            f"{len(members)} blocks or groups cannot fill {wanted} splits: give smaller blocks, "
            "or fewer splits"
        )
    sizes = {key: len(found) for key, found in members.items()}
    split: dict[str, list[int]] = {name: [] for name in fractions}
    for key, name in _deal(sizes, fractions, seed).items():
        split[name] += members[key]
    if margin > 0:
        split = _keep_apart(np.asarray(locations, dtype=np.float64), split, margin)
    return {name: sorted(found) for name, found in split.items()}


def component_split(
    mask_HW: NDArray[np.integer],
    fractions: Fractions,
    seed: int = 0,
    *,
    ignore: int = IGNORE_INDEX,
) -> dict[str, NDArray[np.integer]]:
    """Split sparse labels by polygon: no connected component of a class is in two splits.

    Each class is dealt on its own, so that every split has its share of every class that has
    components enough.

    Args:
        mask_HW: Labels.
        fractions: Share of every split, summing to 1.
        seed: Another seed is another split.
        ignore: Number that means "no label".

    Returns:
        For every split the mask with the labels of the other splits set to `ignore`.

    Raises:
        InputError: If the fractions do not sum to 1, or the mask has no label.
    """
    _check_fractions(fractions)
    labels = np.unique(mask_HW[mask_HW != ignore])
    if labels.size == 0:
        raise InputError(f"the mask has no label: every pixel is {ignore}")
    masks = {name: np.full_like(mask_HW, ignore) for name in fractions}
    for label in labels:
        components, count = ndimage.label(mask_HW == label, structure=np.ones((3, 3)))
        pixels = np.bincount(components.ravel(), minlength=count + 1)
        sizes = {f"{label}/{number}": int(pixels[number]) for number in range(1, count + 1)}
        dealt = _deal(sizes, fractions, seed)
        for number in range(1, count + 1):
            masks[dealt[f"{label}/{number}"]][components == number] = label
    return masks


def _block_keys(locations: NDArray[np.generic], block_size: float | None) -> list[str]:
    numeric = locations.ndim == 2 and locations.shape[1] == 2
    if block_size is None and locations.ndim == 1:
        return [str(key) for key in locations]
    if block_size is None or block_size <= 0 or not numeric:
        raise InputError(
            f"locations of shape {locations.shape} with block_size {block_size}: give coordinates "
            "(N, 2) and the side of a block, or one group key a sample and block_size None"
        )
    cells = np.floor(locations.astype(np.float64) / block_size).astype(np.int64)
    return [f"{column},{row}" for column, row in cells]


def _deal(sizes: Mapping[str, int], fractions: Fractions, seed: int) -> dict[str, str]:
    """Which split every block goes to: no split with a share stays empty while there are blocks."""
    total = sum(sizes.values())
    lacking = {name: share * total for name, share in fractions.items() if share > 0}
    order = sorted(sizes, key=lambda key: (-sizes[key], _hash(key, seed)))
    empty = set(lacking)
    dealt: dict[str, str] = {}
    for position, key in enumerate(order):
        left = len(order) - position
        candidates = empty if empty and left <= len(empty) else lacking
        name = max(candidates, key=lambda split: (lacking[split], split))
        dealt[key] = name
        lacking[name] -= sizes[key]
        empty.discard(name)
    return dealt


def _keep_apart(
    locations: NDArray[np.float64], split: Mapping[str, Sequence[int]], margin: float
) -> dict[str, list[int]]:
    kept: dict[str, list[int]] = {}
    before: list[int] = []
    for name, positions in split.items():
        near = np.zeros(len(positions), dtype=np.bool_)
        if before and positions:
            distances, _ = cKDTree(locations[before]).query(locations[list(positions)])
            near = distances <= margin
        kept[name] = [p for p, dropped in zip(positions, near, strict=True) if not dropped]
        before += kept[name]
    return kept


def _check_fractions(fractions: Fractions) -> None:
    if min(fractions.values(), default=-1) < 0 or not math.isclose(
        sum(fractions.values()), 1, abs_tol=1e-6
    ):
        raise InputError(f"fractions {dict(fractions)} are not shares that sum to 1")


def _hash(text: str, seed: int) -> int:
    digest = hashlib.blake2b(f"{seed}:{text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
