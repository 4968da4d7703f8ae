"""An ensemble with a head: any bands, missing sensors, heads that look at the image."""

import pytest
import torch

from router.task_ensemble import TaskEnsemble
from specialists.task_spec import TaskSpec
from tests.router.ensembles import ALL, make_ensemble, make_images


def make(trunk, **changes) -> TaskEnsemble:
    fields = {
        "task": "scene-classification",
        "bands": ALL,
        "classes": ("a", "b", "c"),
        "mean": (0.1, 0.3, 0.2, -10.0, -17.0),
        "std": (0.1, 0.1, 0.1, 5.0, 5.0),
        "gsd": 10.0,
        "chip_size": 32,
        "head": "pool",
    }
    torch.manual_seed(0)
    return TaskEnsemble(make_ensemble(trunk), TaskSpec(**(fields | changes))).eval()


@pytest.fixture(scope="module")
def trunk(make_trunk):
    return make_trunk()


@pytest.mark.parametrize("head", ["pool", "pyramid"])
def test_any_bands_give_an_answer(trunk, head):
    network = make(trunk, head=head)
    x = make_images(3)
    for columns in (slice(0, 5), slice(0, 3), slice(3, 5), slice(1, 4)):
        answer = network.predict(x[:, columns], ALL[columns])
        assert answer.shape == (3, 3)
        torch.testing.assert_close(answer.sum(1), torch.ones(3))


@pytest.mark.parametrize("decoder", ["linear", "unet"])
def test_maps_have_the_size_of_the_image(trunk, decoder):
    network = make(trunk, task="semantic-segmentation", decoder=decoder)
    assert network.predict(make_images(2, 33, 50)).shape == (2, 3, 33, 50)


def test_a_head_that_looks_at_the_image_sees_missing_bands_as_their_mean(trunk):
    network = make(trunk, head="pyramid")
    x = make_images(2)
    valid = torch.ones_like(x, dtype=torch.bool)
    valid[:, :3] = False
    torch.testing.assert_close(
        network.predict(x[:, 3:], ALL[3:]), network.predict(x, ALL, valid), rtol=1e-4, atol=1e-5
    )
    assert not torch.allclose(network.predict(x), network.predict(x, ALL, valid))


@pytest.mark.parametrize("head", ["pool", "pyramid"])
def test_the_order_of_bands_has_no_influence(trunk, head):
    network = make(trunk, head=head)
    x = make_images(2)
    order = [3, 0, 4, 2, 1]
    torch.testing.assert_close(
        network.predict(x),
        network.predict(x[:, order], [ALL[c] for c in order]),
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_checkpoint_holds_what_learns_and_loads_strictly(trunk):
    network = make(trunk)
    state = network.state_dict()
    assert not [
        name
        for name in state
        if "networks." in name
        or ".trunk." in name.replace("projections.trunk", "").replace("norms.trunk", "")
    ]
    other = make(trunk, classes=("a", "b", "c"))
    for weight in (*other.head.parameters(), *other.ensemble.gate.parameters()):
        torch.nn.init.normal_(weight.data)
    other.load_state_dict(state)
    x = make_images(2)
    assert torch.equal(network.predict(x), other.predict(x))
    state.pop("ensemble.fusion.projections.trunk.0.weight")
    with pytest.raises(RuntimeError, match=r"fusion\.projections\.trunk\.0\.weight"):
        other.load_state_dict(state)
