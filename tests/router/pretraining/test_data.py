"""Batches of all sources for Lightning: only those of the same chips go on."""

from dataclasses import replace

import pytest

from router.pretraining.data import MixedData
from sensors import InputError


def test_a_run_does_not_go_on_with_other_chips(sources):
    settings = {"size": 16, "turn": True, "batch_size": 4, "steps": 1, "seed": 0, "workers": 0}
    state = MixedData(sources, **settings).state_dict()
    MixedData(sources, **settings).load_state_dict(state)
    optical, radar = sources
    fewer = replace(radar, train=radar.train.subset(range(3)))
    with pytest.raises(InputError, match=r"^radar changed since"):
        MixedData([optical, fewer], **settings).load_state_dict(state)
