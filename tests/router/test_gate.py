"""The gate learns, masks, chooses exactly, and knows new members by their cards."""

from dataclasses import replace

import pytest
import torch

from router.gate import Gate
from tests.router.ensembles import ALL, make_ensemble, make_images, make_member

from tests.router.ensembles import RED, NIR, SWIR  # isort: skip


@pytest.fixture(scope="module")
def trunk(make_trunk):
    return make_trunk()


def route(ensemble, batch=6, seed=0):
    return ensemble.route(make_images(batch, seed=seed), ALL)


@pytest.mark.parametrize("gate", ["routed", "static", "sensor"])
@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_exactly_top_k_members_run_and_their_weights_sum_to_one(trunk, gate, top_k):
    routing = route(make_ensemble(trunk, gate=gate, top_k=top_k))
    assert ((routing.weights_BM > 0).sum(1) == top_k).all()
    torch.testing.assert_close(routing.weights_BM.sum(1), torch.ones(6))


@pytest.mark.parametrize("gate", ["soft", "uniform"])
def test_gates_without_top_k_run_everyone(trunk, gate):
    routing = route(make_ensemble(trunk, gate=gate, top_k=1))
    assert (routing.weights_BM > 0).all()
    torch.testing.assert_close(routing.weights_BM.sum(1), torch.ones(6))


def test_uniform_weights_are_equal_and_soft_ones_follow_the_image(trunk):
    assert route(make_ensemble(trunk, gate="uniform")).weights_BM.unique().tolist() == [0.25]
    assert route(make_ensemble(trunk, gate="soft")).weights_BM.std(0).max() > 1e-4


def test_a_routed_gate_depends_on_the_image_and_a_static_one_does_not(trunk):
    routed = route(make_ensemble(trunk, gate="routed")).probabilities_BM
    static = route(make_ensemble(trunk, gate="static")).probabilities_BM
    assert routed.std(0).max() > 1e-4
    assert static.std(0).max() == 0


@pytest.mark.parametrize("gate", ["sensor", "routed"])
def test_bands_that_fit_best_are_preferred(trunk, gate):
    near = make_member("near", (RED, NIR))
    off = tuple(
        type(band)(band.name, band.center_wavelength + 0.01, band.full_width_half_max)
        for band in (RED, NIR)
    )
    far = make_member("far", off)
    ensemble = make_ensemble(trunk, [far, near], gate=gate, top_k=1)
    weights = ensemble.gate_weights(make_images(2)[:, :2], ALL[:2])
    assert weights["near@1.0.0"].tolist() == [1, 1]


@pytest.mark.parametrize("gate", ["sensor", "routed"])
def test_of_bands_that_fit_alike_those_that_use_more_of_the_image_are_preferred(trunk, gate):
    members = [make_member("few", (RED, NIR)), make_member("more", (RED, NIR, SWIR))]
    ensemble = make_ensemble(trunk, members, gate=gate, top_k=1)
    weights = ensemble.gate_weights(make_images(2)[:, :3], ALL[:3])
    assert weights["more@1.0.0"].tolist() == [1, 1]


def test_an_untrained_gate_sends_an_image_to_the_member_whose_data_it_resembles(trunk):
    x = make_images(3)
    with torch.no_grad():
        vectors = trunk.embed(x, ALL)
    members = [
        replace(member, prototype=replace(member.prototype, mean=tuple(vector.tolist())))
        for member, vector in zip(
            [make_member(name, (RED, NIR), width=32) for name in ("one", "three", "two")],
            vectors,
            strict=True,
        )
    ]
    ensemble = make_ensemble(trunk, members, top_k=1)
    chosen = ensemble.route(x, ALL).weights_BM.argmax(1).tolist()
    names = [ensemble.members[number].pin.name for number in chosen]
    assert names == ["one", "three", "two"]


@pytest.mark.parametrize("top_k", [1, 2])
@pytest.mark.parametrize("gate", ["routed", "soft", "static"])
def test_every_weight_of_the_gate_gets_a_gradient(trunk, gate, top_k):
    ensemble = make_ensemble(trunk, gate=gate, top_k=top_k).train()
    levels = ensemble.forward_features(make_images(), ALL)
    sum(level.square().mean() for level in levels).backward()
    gradients = {
        name: weight.grad
        for name, weight in ensemble.gate.named_parameters()
        if weight.requires_grad
    }
    assert gradients
    # A member's residual moves where the member was chosen; all shared weights always do.
    for name, gradient in gradients.items():
        assert gradient is not None, name
        if "residual" not in name and "scores" not in name:
            assert gradient.abs().max() > 0, name
    assert sum(gradient.abs().max() > 0 for gradient in gradients.values()) > top_k


@pytest.mark.parametrize("top_k", [1, 2])
@pytest.mark.parametrize("gate", ["routed", "static"])
def test_training_changes_the_choice(trunk, gate, top_k):
    """A loss that only the radar member can lower makes the gate choose it."""
    ensemble = make_ensemble(trunk, gate=gate, top_k=top_k)
    radar = [member.pin.name for member in ensemble.members].index("radar")
    x = make_images(8)
    before = (ensemble.route(x, ALL).weights_BM[:, radar] > 0).float().mean()
    ensemble.train()
    ensemble.gate.noise = 2.0
    optimizer = torch.optim.Adam(ensemble.gate.parameters(), lr=0.003)
    torch.manual_seed(0)
    for _ in range(150):
        optimizer.zero_grad()
        (-ensemble.route(x, ALL).weights_BM[:, radar].mean()).backward()
        optimizer.step()
    ensemble.eval()
    after = (ensemble.route(x, ALL).weights_BM[:, radar] > 0).float().mean()
    assert before < 0.9
    assert after == 1


def test_noise_tries_members_while_training_and_never_afterwards(trunk):
    ensemble = make_ensemble(trunk, top_k=1)
    ensemble.gate.noise = 100.0
    torch.manual_seed(0)
    exact = [route(ensemble).weights_BM for _ in range(3)]
    assert all(torch.equal(exact[0], other) for other in exact)
    ensemble.train()
    tried = torch.stack([route(ensemble).weights_BM.detach() for _ in range(20)]) > 0
    assert tried.any(0).sum(1).min() > 1


def test_a_lower_temperature_makes_the_best_weigh_more(trunk):
    warm = route(make_ensemble(trunk, temperature=2.0)).weights_BM.max(1).values
    cold = route(make_ensemble(trunk, temperature=0.2)).weights_BM.max(1).values
    assert (cold > warm).all()


def test_the_ground_sample_distance_is_part_of_the_query(trunk):
    ensemble = make_ensemble(trunk, gate="soft")
    torch.manual_seed(0)
    torch.nn.init.normal_(ensemble.gate.scorer.query.weight)
    x = make_images(2)
    fine, coarse = (ensemble.route(x, ALL, gsd=gsd).weights_BM for gsd in (1.0, 30.0))
    assert not torch.allclose(fine, coarse)


def test_bands_gsd_and_task_are_part_of_the_key(trunk):
    """Two members without prototypes differ by their cards alone."""
    members = [make_member("one", (RED, NIR)), make_member("two", (NIR, SWIR))]
    ensemble = make_ensemble(trunk, members, gate="soft")
    assert torch.allclose(*route(ensemble).weights_BM.T)
    torch.manual_seed(0)
    torch.nn.init.normal_(ensemble.gate.scorer.card.weight)
    assert not torch.allclose(*route(ensemble).weights_BM.T)


def test_gates_that_do_not_look_need_no_trunk():
    for gate in ("static", "sensor", "uniform"):
        assert isinstance(make_ensemble(None, gate=gate).gate, Gate)
