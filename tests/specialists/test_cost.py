import pytest
import torch
import torch.nn.functional as F
from torch import nn

from specialists import build_specialist, count_macs, count_parameters
from specialists.cost import count_call_macs


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


def test_macs_of_plain_layers_are_those_by_hand():
    convolution = nn.Conv2d(6, 10, 3, padding=1, groups=2)
    assert count_call_macs(lambda: convolution(torch.zeros(2, 6, 8, 8))) == 2 * 64 * 10 * 3 * 9
    linear = nn.Linear(7, 5)
    assert count_call_macs(lambda: linear(torch.zeros(3, 7))) == 3 * 7 * 5
    assert count_call_macs(lambda: torch.zeros(3, 7).exp()) == 0


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_attention_is_counted_where_it_is_fused_too(device):
    """Both fusions are undone for the count alone: that of the function, and that of the layer."""
    tokens, width, hidden = 50, 64, 128
    attention = 2 * tokens * tokens * width
    q_BMND = torch.zeros(1, 4, tokens, width // 4, device=device)
    assert count_call_macs(lambda: F.scaled_dot_product_attention(q_BMND, q_BMND, q_BMND)) == (
        attention
    )
    layer = nn.TransformerEncoderLayer(width, 4, hidden, batch_first=True, device=device).eval()
    x_BND = torch.zeros(1, tokens, width, device=device)
    expected = tokens * (4 * width**2 + 2 * width * hidden) + attention
    assert count_call_macs(lambda: layer(x_BND)) == expected
    assert torch.backends.mha.get_fastpath_enabled()


def test_counting_takes_no_gradient():
    linear = nn.Linear(2, 2)
    outputs = []
    count_call_macs(lambda: outputs.append(linear(torch.zeros(1, 2))))
    assert not outputs[0].requires_grad
