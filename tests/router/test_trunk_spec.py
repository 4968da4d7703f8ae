import json
from dataclasses import replace

import pytest

from router import TRUNKS, TrunkSpec
from sensors import InputError, load_sensor

SMALL = {"width": 32, "depth": 2, "num_heads": 2}


def test_a_record_is_plain_json_and_comes_back():
    bands = load_sensor("sentinel-1-grd").channels + load_sensor("landsat-8-c2-l2").channels
    count = len(bands)
    for spec in (
        *TRUNKS.values(),
        TrunkSpec(**SMALL, bands=bands, mean=[1] * count, std=[2] * count),
    ):
        assert TrunkSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sar_convention": "dofa-v3"}, "sar_convention 'dofa-v3' is not one of polarization"),
        ({"norm": "none"}, "norm 'none' is not one of tokens, pooled"),
        ({"band_reduction": "max"}, "band_reduction 'max'"),
        ({"padding": 2}, "padding 2 is not one of 0, 1"),
        ({"width": 30, "num_heads": 3}, "width 30 is not a multiple of 4"),
        ({"num_heads": 5}, "width 32 is not a multiple"),
        ({"depth": 0}, "depth 0 is not a whole number"),
        ({"depth": True}, "depth True is not a whole number"),
        ({"depth": 1.5}, "depth 1.5 is not a whole number"),
        ({"width": "32"}, "width '32' is not a whole number"),
        ({"layer_scale": 1}, "layer_scale 1 is not true or false"),
        ({"patch_size": 15}, "image_size 224 is not a multiple of patch_size 15"),
        ({"bands": [{"name": "x"}]}, "channel x"),
        ({"bands": 3}, "not the record of a trunk"),
        ({"mean": [1.0]}, "0 bands with 1 means"),
        ({"mean": [[]]}, "not the record of a trunk"),
        ({"color": "red"}, "unexpected keyword argument 'color'"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    with pytest.raises(InputError, match=message):
        TrunkSpec.from_dict(SMALL | change)


def test_missing_fields_and_other_types_are_refused():
    with pytest.raises(InputError, match="missing 1 required keyword-only argument: 'depth'"):
        TrunkSpec.from_dict({"width": 32, "num_heads": 2})
    with pytest.raises(InputError, match="not the record of a trunk"):
        TrunkSpec.from_dict([1])
    with pytest.raises(InputError, match="is not one of"):
        replace(TRUNKS["dofa-nano"], norm=["tokens"])
