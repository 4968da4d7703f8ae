"""Which chips are fitted on and which are tested on, where a protocol wants another split.

Features are extracted once for the split that the data set brings; another split deals the same
rows anew.

Shape suffixes: N chips.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain

import numpy as np

from evaluation.config import ProtocolConfig
from evaluation.dataset import SPLITS, EvaluationData
from evaluation.features import Features, Rows
from rasters import block_split, hash_split
from sensors import InputError

DEAL_SEED = 1
"""Another split is the same for every seed: test chips must be, for intervals and comparisons."""


def deal(
    parts: Mapping[str, Features], data: EvaluationData, protocol: ProtocolConfig
) -> dict[str, Features]:
    """The features of each split as the protocol wants them.

    Args:
        parts: Features of the data set's own splits.
        data: The data set.
        protocol: Says how to split: `own`, `random` or `block`.

    Returns:
        `train`, `selection` and `test`; dealt anew they are of about the same sizes as before.

    Raises:
        InputError: If blocks are wanted of chips without a place, or a split gets no chip.
    """
    if protocol.split == "own":
        return dict(parts)
    whole = _concatenate(parts)
    total = len(whole.ids)
    shares = {split: len(parts[split].ids) / total for split in SPLITS}
    if protocol.split == "random":
        # What was seen twice under one name, in two splits, stays together.
        ids = [id_ for split in SPLITS for id_ in parts[split].ids]
        names = list(dict.fromkeys(ids))
        named = hash_split(names, shares, DEAL_SEED)
        split_of = {names[index]: split for split, indices in named.items() for index in indices}
        dealt = {
            split: [index for index, id_ in enumerate(ids) if split_of[id_] == split]
            for split in SPLITS
        }
    else:
        places = [data.chips[split].locations for split in SPLITS]
        known = [place for place in places if place is not None]
        if len(known) < len(places):
            raise InputError(
                f"data {data.name} is not georeferenced: a split by block needs locations"
            )
        assert protocol.block_size is not None
        dealt = block_split(np.concatenate(known), protocol.block_size, shares, DEAL_SEED)
    empty = [split for split in SPLITS if not dealt.get(split)]
    if empty:
        raise InputError(
            f"split={protocol.split} of {total} chips leaves none for {', '.join(empty)}"
        )
    return {split: whole.take(np.asarray(dealt[split])) for split in SPLITS}


def _concatenate(parts: Mapping[str, Features]) -> Features:
    """All rows of the splits, one after the other; ids say which split one came from."""
    ordered = [parts[split] for split in SPLITS]
    levels = None
    if ordered[0].levels is not None:
        stacks = [part.levels for part in ordered if part.levels is not None]
        levels = [
            Rows(np.concatenate([rows[:] for rows in level])) for level in zip(*stacks, strict=True)
        ]
    groups = [part.groups for part in ordered if part.groups is not None]
    return replace(
        ordered[0],
        ids=tuple(f"{split}/{id_}" for split in SPLITS for id_ in parts[split].ids),
        groups=tuple(chain(*groups)) if len(groups) == len(ordered) else None,
        pooled_ND=np.concatenate([part.pooled_ND for part in ordered]),
        levels=levels,
        targets=np.concatenate([part.targets for part in ordered]),
        gate=None,
    )
