"""The decoder says every pixel of every band where it belongs."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from router.pretraining import DecoderConfig, patchify, unpatchify
from router.pretraining.decoder import DynamicOutput, TrunkDecoder
from specialists.wavelength import CODE_SIZE, DynamicPatchEmbed

SIZE = 4


def generate_exactly(output: DynamicOutput, codes_CE, filters_CF) -> None:
    """Set the generator's last layer so that these filters come out for these codes."""
    inputs = []
    handle = output.weight_generator.fc_weight.register_forward_pre_hook(
        lambda _, given: inputs.append(given[0])
    )
    output(torch.zeros(1, 1, filters_CF.shape[1] // SIZE**2), codes_CE)
    handle.remove()
    layer = output.weight_generator.fc_weight
    layer.weight.data = (torch.linalg.pinv(inputs[0].double()) @ filters_CF.double()).T.float()
    layer.bias.data.zero_()


@pytest.mark.parametrize("grid", [(2, 2), (2, 3), (3, 1)])
@torch.no_grad()
def test_a_known_image_is_decoded_exactly(all_bands, grid):
    torch.manual_seed(0)
    rows, columns = grid
    image_BCHW = torch.randn(1, len(all_bands), rows * SIZE, columns * SIZE)
    count = rows * columns
    output = DynamicOutput(count, SIZE, hidden_size=16)
    codes_CE = DynamicPatchEmbed(8, SIZE).encode(all_bands)
    # The token of patch n is 1 at n, so a band's filter for a pixel lists what the patches show.
    patches_CNP = patchify(image_BCHW.transpose(0, 1), SIZE)
    filters_CPN = patches_CNP.transpose(1, 2)
    generate_exactly(output, codes_CE, filters_CPN.flatten(1) / 0.01)
    said_BNPC = output(torch.eye(count)[None], codes_CE)
    decoded_BCHW = unpatchify(said_BNPC.flatten(2), SIZE, grid)
    torch.testing.assert_close(decoded_BCHW, image_BCHW, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(said_BNPC.flatten(2), patchify(image_BCHW, SIZE), atol=1e-3, rtol=0)


@pytest.fixture(scope="module")
def pair(make_trunk):
    """A trunk and its decoder."""
    trunk = make_trunk()
    torch.manual_seed(1)
    return trunk, TrunkDecoder(trunk.spec, DecoderConfig(width=16, depth=2, num_heads=2))


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(6)), count=st.integers(1, 6))
@torch.no_grad()
def test_order_of_bands_is_order_of_values(pair, all_bands, order, count):
    trunk, decoder = pair
    torch.manual_seed(0)
    tokens_BTD, keep_BV = torch.randn(2, 4, 32), torch.tensor([[0, 2, 7], [3, 4, 5]])
    said_BNPC, permuted_BNPC = (
        decoder(tokens_BTD, keep_BV, (2, 4), trunk.patch_embed.encode(bands))
        for bands in (all_bands[:count], [all_bands[k] for k in order if k < count])
    )
    assert said_BNPC.shape == (2, 8, 64, count)
    expected_BNPC = said_BNPC[..., [k for k in order if k < count]]
    torch.testing.assert_close(permuted_BNPC, expected_BNPC, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_bands_are_told_apart(pair, all_bands):
    trunk, decoder = pair
    codes_CE = trunk.patch_embed.encode(all_bands)
    assert codes_CE.shape == (6, CODE_SIZE)
    said_BNPC = decoder(torch.randn(1, 3, 32), torch.tensor([[1, 2]]), (2, 2), codes_CE)
    for a in range(6):
        for b in range(a):
            assert not torch.allclose(said_BNPC[..., a], said_BNPC[..., b], rtol=0.05), (a, b)


@torch.no_grad()
def test_tokens_go_where_their_patches_are(pair, all_bands):
    trunk, decoder = pair
    seen = []
    decoder.blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    tokens_BTD, keep_BV = torch.randn(2, 3, 32), torch.tensor([[3, 1], [0, 2]])
    decoder(tokens_BTD, keep_BV, (4, 4), trunk.patch_embed.encode(all_bands))
    [given_BTM] = seen
    placed_BTM = given_BTM - decoder.positions  # 32 pixels are 4 x 4 patches, the trunk's own
    assert placed_BTM.shape == (2, 17, 16)
    embedded_BTM = decoder.embed(tokens_BTD)
    torch.testing.assert_close(placed_BTM[:, 0], embedded_BTM[:, 0])
    for image, kept in enumerate(keep_BV.tolist()):
        for number in range(16):
            expected = decoder.mask_token[0, 0]
            if number in kept:
                expected = embedded_BTM[image, 1 + kept.index(number)]
            torch.testing.assert_close(placed_BTM[image, 1 + number], expected)


@torch.no_grad()
def test_positions_are_told_apart_in_grids_of_any_shape(pair, all_bands):
    trunk, decoder = pair
    codes_CE = trunk.patch_embed.encode(all_bands[:1])
    for grid in ((1, 2), (5, 3), (7, 9)):
        said_BNPC = decoder(torch.zeros(1, 2, 32), torch.tensor([[0]]), grid, codes_CE)
        said_NP = said_BNPC[0, 1:, :, 0]  # all hidden: only their places differ
        distance_NN = torch.cdist(said_NP, said_NP).fill_diagonal_(1)
        assert distance_NN.min() > 1e-4, grid


def test_the_output_starts_smaller_than_its_targets(all_bands):
    for width in (16, 96):
        torch.manual_seed(0)
        output = DynamicOutput(width, 8, hidden_size=64)
        codes_CE = DynamicPatchEmbed(8, 8).encode(all_bands)
        tokens_BNM = F.layer_norm(torch.randn(4, 16, width), (width,))
        assert 0.1 < output(tokens_BNM, codes_CE).std() < 0.5
