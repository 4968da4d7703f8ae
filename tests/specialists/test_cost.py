import pytest
import torch

from specialists import build_specialist, count_macs, count_parameters


def test_parameters_are_counted_frozen_or_not(make_spec):
    built = build_specialist(make_spec(head="pool"))
    # ConvNeXtV2-Atto without its classifier, of which 320 * 2 are a norm that belongs to the head.
    backbone = 3_387_400 - 3 * 4 * 4 * 40 + 4 * 4 * 4 * 40 - 320 * 2
    assert count_parameters(built) == backbone + 320 * 2 + 320 * 3 + 3
    assert count_parameters(built.freeze()) == count_parameters(built)


def test_macs_are_those_of_the_convolutions(make_spec):
    counted = count_macs(build_specialist(make_spec(head="pool")), 64)
    dims, depths = (40, 80, 160, 320), (2, 2, 6, 2)
    expected, pixels = 16 * 16 * 16 * 4 * 40, 16 * 16
    for stage, (width, depth) in enumerate(zip(dims, depths, strict=True)):
        if stage:
            pixels //= 4
            expected += pixels * 4 * dims[stage - 1] * width
        expected += depth * pixels * width * (49 + 8 * width)
    assert counted == expected + 320 * 3


def test_macs_grow_with_area_and_with_a_finer_stem(get_specialist):
    specialist, fine = get_specialist(), get_specialist(stem_stride=2)
    assert count_macs(specialist) == count_macs(specialist, specialist.spec.chip_size)
    assert count_macs(specialist, 128) == pytest.approx(4 * count_macs(specialist, 64), rel=1e-3)
    assert count_macs(fine, 64) == pytest.approx(4 * count_macs(specialist, 64), rel=1e-2)


def test_counting_leaves_the_specialist_as_it_is(make_spec):
    built = build_specialist(make_spec(task="semantic-segmentation")).train()
    before = {name: tensor.clone() for name, tensor in built.state_dict().items()}
    count_macs(built)
    assert built.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in built.state_dict().items())
