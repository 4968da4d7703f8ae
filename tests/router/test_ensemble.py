"""Ensembles: what they keep to, whatever their gate and fusion."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from router.ensemble import Ensemble
from router.ensemble_spec import FUSIONS, GATES, EnsembleSpec
from sensors import InputError
from tests.router.ensembles import (
    ALL,
    CENTERS,
    RED,
    SPREADS,
    TRUNK_PIN,
    make_ensemble,
    make_images,
    make_member,
    make_members,
)

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def trunk(make_trunk):
    return make_trunk()


@pytest.fixture(scope="module")
def routed(trunk):
    return make_ensemble(trunk)


@pytest.fixture
def calls(request):
    """Counts images of every forward pass of a member, by name."""
    counted = {}

    def watch(ensemble: Ensemble) -> dict[str, int]:
        for member in ensemble.members:
            counted[member.pin.name] = 0

            def count(_, inputs, name=member.pin.name):
                counted[name] += len(inputs[0])

            handle = member.network.backbone.register_forward_pre_hook(count)
            request.addfinalizer(handle.remove)
        return counted

    return watch


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("size", [(32, 32), (33, 50), (5, 7)])
def test_the_pyramid_is_what_feature_info_says(trunk, gate, fusion, size):
    ensemble = make_ensemble(trunk, gate=gate, fusion=fusion)
    levels = ensemble.forward_features(make_images(2, *size), ALL)
    grown = [-(-edge // 32) * 32 for edge in size]
    for level, width, reduction in zip(
        levels, ensemble.feature_info.channels(), ensemble.feature_info.reduction(), strict=True
    ):
        assert level.shape == (2, width, grown[0] // reduction, grown[1] // reduction)
        assert level.isfinite().all()
    assert ensemble.num_features == levels[-1].shape[1]


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(5)), seed=st.integers(0, 100))
def test_the_order_of_bands_has_no_influence(routed, order, seed):
    x = make_images(2, seed=seed)
    expected = routed.forward_features(x, ALL)
    found = routed.forward_features(x[:, order], [ALL[c] for c in order])
    for level, other in zip(expected, found, strict=True):
        torch.testing.assert_close(level, other, **TOLERANCE)


@settings(max_examples=8, deadline=None)
@given(order=st.permutations(range(4)))
def test_the_order_of_members_has_no_influence(trunk, routed, order):
    members = make_members(trunk.num_features)
    other = make_ensemble(trunk, [members[number] for number in order])
    x = make_images(3)
    for level, same in zip(
        routed.forward_features(x, ALL), other.forward_features(x, ALL), strict=True
    ):
        assert torch.equal(level, same)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_an_image_does_not_depend_on_the_others_of_its_batch(trunk, fusion):
    ensemble = make_ensemble(trunk, fusion=fusion)
    x = make_images(5)
    valid = torch.ones_like(x, dtype=torch.bool)
    valid[1, :3] = False
    valid[3, 3:] = False
    together = ensemble.forward_features(x, ALL, valid)
    for number in range(5):
        row = slice(number, number + 1)
        alone = ensemble.forward_features(x[row], ALL, valid[row])
        for level, single in zip(together, alone, strict=True):
            torch.testing.assert_close(level[row], single, **TOLERANCE)


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_only_selected_members_run(trunk, calls, top_k):
    ensemble = make_ensemble(trunk, top_k=top_k)
    counted = calls(ensemble)
    weights = ensemble.gate_weights(make_images(6), ALL)
    assert sum(counted.values()) == 0  # asking the gate runs nobody
    ensemble.forward_features(make_images(6), ALL)
    assert sum(counted.values()) == 6 * top_k
    for member in ensemble.members:
        assert counted[member.pin.name] == int((weights[member.reference] > 0).sum())


def test_a_member_that_nobody_asks_for_costs_nothing(trunk, calls):
    ensemble = make_ensemble(trunk)
    counted = calls(ensemble)
    ensemble.forward_features(make_images(3)[:, :3], ALL[:3])
    assert counted["radar"] == 0


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("gate", ["routed", "sensor"])
def test_adding_a_member_that_no_image_selects_changes_no_output(trunk, gate, fusion):
    x = make_images(4)[:, :3]
    ensemble = make_ensemble(trunk, gate=gate, fusion=fusion)
    expected = ensemble.forward_features(x, ALL[:3])
    settings = {"channels": ensemble.spec.channels, "gate": gate, "fusion": fusion}
    newcomer = make_member("another-radar", ALL[3:], width=trunk.num_features)
    members = [*make_members(trunk.num_features), newcomer]
    grown = make_ensemble(trunk, members, **settings)
    own = ensemble.state_dict()
    state = grown.state_dict()
    grown.load_state_dict(state | own)
    for level, same in zip(expected, grown.forward_features(x, ALL[:3]), strict=True):
        assert torch.equal(level, same)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_learning_never_touches_members_or_trunk(trunk, fusion):
    ensemble = make_ensemble(trunk, fusion=fusion).train()
    frozen = [*ensemble.networks.parameters(), *ensemble.trunk.parameters()]
    before = [weight.clone() for weight in frozen]
    own = [weight.clone() for weight in ensemble.fusion.parameters()]
    learning = [weight for weight in ensemble.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        levels = ensemble.forward_features(make_images(), ALL)
        sum(level.square().mean() for level in levels).backward()
        optimizer.step()
    assert all(torch.equal(weight, then) for weight, then in zip(frozen, before, strict=True))
    assert not all(
        torch.equal(weight, then)
        for weight, then in zip(ensemble.fusion.parameters(), own, strict=True)
    )
    assert not ensemble.trunk.training
    assert not any(network.training for network in ensemble.networks.values())


@pytest.mark.parametrize("top_k", [1, 2])
@pytest.mark.parametrize("fusion", ["concat", "sum"])
def test_a_loss_on_features_teaches_the_gate_who_is_worth_asking(trunk, fusion, top_k):
    """Classes that only the radar tells apart: its probability rises, and it ends up first.

    The gate does not see the image: one that does could tell the class by whom it asks.
    """
    labels_B = torch.arange(16) % 2

    def draw():
        x = CENTERS + SPREADS * torch.randn(16, 5, 32, 32)
        x[:, 3:] += SPREADS[3:] * (labels_B * 2.0 - 1)[:, None, None, None]
        return x

    ensemble = make_ensemble(trunk, gate="static", fusion=fusion, top_k=top_k)
    radar = [member.pin.name for member in ensemble.members].index("radar")
    torch.manual_seed(0)
    before = ensemble.route(draw(), ALL).probabilities_BM[:, radar].mean()
    head = torch.nn.Linear(ensemble.num_features, 2)
    ensemble.train()
    ensemble.gate.noise = 1.0
    learning = [weight for weight in ensemble.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW([*learning, *head.parameters()], lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        pooled = ensemble.forward_features(draw(), ALL)[-1].mean((2, 3))
        torch.nn.functional.cross_entropy(head(pooled), labels_B).backward()
        optimizer.step()
    after = ensemble.eval().route(draw(), ALL)
    assert after.probabilities_BM[:, radar].mean() > before + 0.03
    assert (after.probabilities_BM.argmax(1) == radar).all()
    assert (after.weights_BM[:, radar] > 0).all()


def test_a_missing_sensor_reroutes(routed):
    x = make_images(3)
    radar_only = routed.gate_weights(x[:, 3:], ALL[3:])
    assert radar_only["radar@1.0.0"].tolist() == [1, 1, 1]
    valid = torch.ones_like(x, dtype=torch.bool)
    valid[:, :3] = False  # the same, said by validity
    said = routed.gate_weights(x, ALL, valid)
    assert said["radar@1.0.0"].tolist() == [1, 1, 1]
    for level, same in zip(
        routed.forward_features(x[:, 3:], ALL[3:]),
        routed.forward_features(x, ALL, valid),
        strict=True,
    ):
        torch.testing.assert_close(level, same, **TOLERANCE)


@pytest.mark.parametrize("fusion", ["concat", "attention"])
def test_where_nobody_can_run_the_trunk_answers_alone_with_a_warning(trunk, fusion):
    ensemble = make_ensemble(trunk, fusion=fusion)
    x = make_images(2)[:, :1]
    with pytest.warns(UserWarning, match=r"(?s)radar@1.0.0: VV.*the trunk's own features"):
        levels = ensemble.forward_features(x, (RED,))
    assert all(level.isfinite().all() and level.std() > 0 for level in levels)
    assert not torch.allclose(levels[-1][0], levels[-1][1])


def test_where_nobody_can_run_and_there_is_no_trunk_it_fails_with_names():
    ensemble = make_ensemble(None, gate="sensor")
    with pytest.raises(InputError, match=r"(?s)bands red;.*infrared@1.0.0: nir"):
        ensemble.forward_features(make_images(2)[:, :1], (RED,))


def test_trunk_features_are_fused_too(trunk):
    x = make_images(2)
    plain = make_ensemble(trunk)
    with_trunk = make_ensemble(trunk, trunk_features=True)
    with_trunk.load_state_dict(plain.state_dict())
    assert not torch.allclose(
        plain.forward_features(x, ALL)[0], with_trunk.forward_features(x, ALL)[0]
    )


@pytest.mark.parametrize("trunk_features", [False, True])
def test_the_trunk_runs_once_for_an_image(trunk, trunk_features, request):
    ensemble = make_ensemble(trunk, trunk_features=trunk_features)
    seen = []
    handle = ensemble.trunk.blocks[0].register_forward_pre_hook(
        lambda _, inputs: seen.append(len(inputs[0]))
    )
    request.addfinalizer(handle.remove)
    x = make_images(4)
    valid = torch.ones_like(x, dtype=torch.bool)
    valid[1, :3] = False
    ensemble.forward_features(x, ALL, valid)
    assert sum(seen) == 4


def test_explanations_name_weights_and_missing_bands(routed):
    x = make_images(3)
    explained = routed.explain(x[:, :3], ALL[:3])
    weights = routed.route(x[:, :3], ALL[:3]).weights_BM
    for number, entry in enumerate(explained):
        assert set(entry.missing) == {"radar@1.0.0"}
        assert "VV" in entry.missing["radar@1.0.0"]
        assert len(entry.weights) == 2
        assert set(entry.probabilities) == {m.reference for m in routed.members} - {"radar@1.0.0"}
        assert sum(entry.weights.values()) == pytest.approx(1)
        assert max(entry.weights.values()) == pytest.approx(weights[number].max().item())
        assert "cannot run, missing VV" in str(entry)


def test_adding_and_removing_without_learning(trunk):
    ensemble = make_ensemble(trunk)
    x = make_images(4)
    before = ensemble.forward_features(x, ALL)
    ensemble.remove("radar")
    assert [member.pin.name for member in ensemble.members] == [
        "all-optical",
        "infrared",
        "visible",
    ]
    assert not [name for name in ensemble.state_dict() if "radar" in name]
    ensemble.forward_features(x, ALL)
    again = make_ensemble(trunk)
    for level, same in zip(before, again.forward_features(x, ALL), strict=True):
        assert torch.equal(level, same)


def test_bad_compositions_are_refused_with_names(trunk):
    members = make_members(trunk.num_features)
    with pytest.raises(InputError, match="at least one member"):
        Ensemble(EnsembleSpec(gate="sensor"), [])
    with pytest.raises(InputError, match=r"radar@1\.0\.0 is named twice"):
        make_ensemble(trunk, [*members, members[3]])
    with pytest.raises(InputError, match="top_k 5 is larger than the number of members, 4"):
        make_ensemble(trunk, top_k=5)
    with pytest.raises(InputError, match=r"gate routed needs a trunk"):
        make_ensemble(None)
    with pytest.raises(InputError, match=r"nobody is not one member .* it has all-optical@1.0.0"):
        make_ensemble(trunk).remove("nobody")
    small = make_ensemble(None, members[:2], gate="sensor")
    with pytest.raises(InputError, match="top_k 2 is larger than the number of members, 1"):
        small.remove("visible")
    assert len(small.members) == 2


def test_images_that_do_not_fit_are_refused(routed):
    x = make_images(2)
    with pytest.raises(InputError, match="say with `bands`"):
        routed.forward_features(x)
    with pytest.raises(InputError, match="5 channels for 4 bands"):
        routed.forward_features(x, ALL[:4])


def test_pixels_that_are_not_finite_do_not_count(routed):
    x = make_images(2)
    valid = torch.ones_like(x, dtype=torch.bool)
    valid[0, :, :4, :4] = False
    broken = x.clone()
    broken[0, :, :4, :4] = float("nan")
    for level, same in zip(
        routed.forward_features(x, ALL, valid),
        routed.forward_features(broken, ALL),
        strict=True,
    ):
        torch.testing.assert_close(level, same)


def test_members_of_other_reductions_are_brought_to_one_grid(trunk):
    fine = make_member("fine", ALL[:3], width=trunk.num_features, stem_stride=2)
    ensemble = make_ensemble(trunk, [*make_members(trunk.num_features), fine], gate="uniform")
    assert ensemble.feature_info.reduction() == [4, 8, 16, 32]
    levels = ensemble.forward_features(make_images(2), ALL)
    assert [level.shape[-1] for level in levels] == [8, 4, 2, 1]
    assert ensemble.trunk_pin == TRUNK_PIN
