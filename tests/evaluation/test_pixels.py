from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from evaluation._pixel_answers import pixel_answers
from evaluation._pixel_heads import PixelNetwork, SumHead
from evaluation.features import Features, Rows
from evaluation.pixels import fit_pixel_probe
from evaluation.tasks import Task
from rasters import IGNORE_INDEX
from sensors import InputError

COVER = Task("semantic-segmentation", ("water", "forest", "town"))
HEIGHT = Task("regression", ("height",), per_pixel=True)
PYRAMID = [(6, 8, 8), (7, 4, 4), (8, 2, 2), (9, 1, 1)]
SETTINGS = {
    "head": "linear",
    "learning_rates": [0.03],
    "epochs": 3,
    "min_steps": 60,
    "batch_size": 8,
}


def make(count=12, seed=0, shapes=PYRAMID, edge=32):
    """Chips of blocks, whose class every level shows through noise."""
    generator = np.random.default_rng(seed)
    blocks = generator.integers(0, 3, (count, 4, 4))
    masks = np.kron(blocks, np.ones((edge // 4, edge // 4), int)).astype(np.uint8)
    looks = np.random.default_rng(99).normal(size=(3, max(shape[0] for shape in shapes)))
    levels = []
    for channels, height, width in shapes:
        step = edge // height
        shown = looks[masks[:, step // 2 :: step, step // 2 :: step], :channels]
        noise = generator.normal(size=(count, height, width, channels))
        level = 100 + 10 * (shown + 0.2 * noise)
        levels.append(Rows(level.transpose(0, 3, 1, 2).astype(np.float32)))
    ids = tuple(f"chip {number}" for number in range(count))
    pooled = np.zeros((count, 1), np.float32)
    return Features(ids, None, pooled, {"embed": slice(0, 1)}, levels, masks, None, "made")


def as_heights(features):
    heights = np.array([250, 300, 320], np.float32)[features.targets][:, None]
    heights[:, :, 0] = np.nan
    return replace(features, targets=heights)


def predict(probe, features):
    numbers, answers = zip(*probe.predict(features), strict=True)
    np.testing.assert_array_equal(np.concatenate(numbers), np.arange(len(features)))
    return np.concatenate(answers)


def test_a_linear_head_is_one_convolution_of_all_levels_at_the_finest_size():
    head = SumHead(PYRAMID, 5)
    levels = [torch.randn(2, *shape) for shape in PYRAMID]
    full = [functional.interpolate(x, (8, 8), mode="bilinear") for x in levels]
    torch.testing.assert_close(head(levels), head.whole(torch.cat(full, dim=1)))


@pytest.mark.parametrize(
    "shapes",
    [PYRAMID, PYRAMID[:1], PYRAMID[1:], [(4, 4, 4)] * 4, [(3, 16, 16), *PYRAMID]],
    ids=["pyramid", "one level", "three levels", "one size", "five levels"],
)
@pytest.mark.parametrize("head", ["linear", "decoder"])
def test_heads_take_whatever_levels_there_are(head, shapes):
    moments = [(torch.zeros(shape[0]), torch.ones(shape[0])) for shape in shapes]
    network = PixelNetwork(head, shapes, moments, 5)
    levels = [torch.randn(2, *shape) for shape in shapes]
    answers = network(levels, (30, 31))
    assert answers.shape == (2, 5, 30, 31)
    answers.sum().backward()
    # The FPN reads the last four levels.
    assert all(weight.grad is not None for weight in network.parameters())


def test_padding_of_the_encoder_is_not_part_of_the_answer():
    moments = [(torch.zeros(shape[0]), torch.ones(shape[0])) for shape in PYRAMID]
    padded = PixelNetwork("linear", PYRAMID, moments, 5, covered=(27 / 32, 30 / 32))
    whole = PixelNetwork("linear", PYRAMID, moments, 5)
    whole.load_state_dict(padded.state_dict())
    levels = [torch.randn(2, *shape) for shape in PYRAMID]
    answers = padded(levels, (27, 30))
    assert answers.shape == (2, 5, 27, 30)
    torch.testing.assert_close(answers, whole(levels, (32, 32))[..., :27, :30])


@pytest.mark.parametrize("head", ["linear", "decoder"])
def test_a_probe_finds_what_the_features_show(head):
    train, selection, test = make(), make(seed=1), make(seed=2)
    given = SETTINGS | {"head": head, "learning_rates": [1e-5, 0.01], "min_steps": 24}
    probe = fit_pixel_probe(COVER, train, selection, **given)
    probability = predict(probe, test)
    assert probability.shape == (12, 3, 32, 32)
    assert probability.dtype == np.float32
    np.testing.assert_allclose(probability.sum(1), 1, atol=1e-5)
    assert (probability.argmax(1) == test.targets).mean() > 0.8
    found = probe.hyperparameters
    assert found["learning_rate"] == 0.01
    assert found["sweep"]["0.01"] > found["sweep"]["1e-05"]
    assert probe.score(selection) == pytest.approx(found["sweep"]["0.01"])


def test_values_are_learned_in_their_own_unit():
    train, selection, test = (as_heights(make(seed=seed)) for seed in range(3))
    given = SETTINGS | {"learning_rates": [1e-5, 0.03]}
    probe = fit_pixel_probe(HEIGHT, train, selection, **given)
    error = predict(probe, test) - test.targets
    assert np.sqrt(np.nanmean(error**2)) < 0.7 * np.nanstd(test.targets)
    assert probe.hyperparameters["learning_rate"] == 0.03


def test_the_best_epoch_is_kept():
    train, selection = make(2), make(seed=1)
    # Few chips and a high rate: the score goes up and down.
    given = SETTINGS | {"learning_rates": [0.3], "epochs": 8, "min_steps": 8}
    early = 0
    for seed in range(4):
        best = fit_pixel_probe(COVER, train, selection, seed=seed, **given)
        last = fit_pixel_probe(COVER, train, None, seed=seed, **given)
        assert best.score(selection) == pytest.approx(best.hyperparameters["sweep"]["0.3"])
        assert last.hyperparameters["epoch"] == 8
        assert best.score(selection) >= last.score(selection)
        early += best.hyperparameters["epoch"] < 8
    assert early > 0


def test_few_chips_are_trained_on_as_long():
    given = SETTINGS | {"epochs": 3, "min_steps": 60, "batch_size": 8}
    few = fit_pixel_probe(COVER, make(1), None, **given)
    many = fit_pixel_probe(COVER, make(24), None, **given | {"min_steps": 0})
    assert few.hyperparameters["steps"] == 20
    assert many.hyperparameters["steps"] == 3


def test_a_seed_decides_everything_and_touches_nothing_else():
    train, test = make(), make(seed=1)
    answers = []
    for seed in (0, 0, 1):
        torch.rand(1)
        state = torch.get_rng_state()
        probe = fit_pixel_probe(COVER, train, None, seed=seed, **SETTINGS)
        torch.testing.assert_close(torch.get_rng_state(), state)
        answers.append(predict(probe, test))
    np.testing.assert_array_equal(answers[0], answers[1])
    assert not np.array_equal(answers[0], answers[2])


def test_the_scale_of_the_features_does_not_matter():
    train, test = make(), make(seed=1)

    def scaled(features):
        levels = [Rows(4 * np.asarray(level) - 8) for level in features.levels]
        return replace(features, levels=levels)

    plain = predict(fit_pixel_probe(COVER, train, None, **SETTINGS), test)
    other = predict(fit_pixel_probe(COVER, scaled(train), None, **SETTINGS), scaled(test))
    np.testing.assert_allclose(plain, other, atol=1e-3)


def test_a_constant_channel_does_no_harm():
    train = make()
    train.levels[0] = Rows(np.full((12, 6, 8, 8), 7, np.float32))
    assert np.isfinite(predict(fit_pixel_probe(COVER, train, None, **SETTINGS), train)).all()


def test_the_loss_is_over_labelled_pixels():
    outputs, masks = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    answers = pixel_answers(COVER, masks.numpy())
    masks[0] = IGNORE_INDEX
    expected = functional.cross_entropy(outputs[1:], masks[1:])
    torch.testing.assert_close(answers.loss(outputs, masks), expected)
    assert answers.loss(outputs, torch.full_like(masks, IGNORE_INDEX)) == 0


def test_the_loss_is_over_known_values():
    heights = torch.tensor([[[[1.0, 5.0], [torch.nan, 3.0]]]])  # mean 3, variance 8 / 3
    answers = pixel_answers(HEIGHT, heights.numpy())
    outputs = torch.zeros(1, 1, 2, 2, requires_grad=True)
    for target in (heights, heights[:, 0]):
        torch.testing.assert_close(answers.loss(outputs, target), torch.tensor(1.0))
    answers.loss(outputs, heights).backward()
    assert outputs.grad.isfinite().all()
    torch.testing.assert_close(answers.finish(outputs), torch.full((1, 1, 2, 2), 3.0))


def test_features_without_levels():
    with pytest.raises(InputError, match="dense=True"):
        fit_pixel_probe(COVER, replace(make(), levels=None), None, **SETTINGS)


def test_features_that_are_not_finite():
    train = make()
    level = np.asarray(train.levels[1])
    level[3, 2] = np.nan
    train.levels[1] = Rows(level)
    with pytest.raises(InputError, match=r"level 1 .* not finite in 1 of 7 channels"):
        fit_pixel_probe(COVER, train, None, **SETTINGS)


def test_masks_of_one_class():
    train = make()
    one = replace(train, targets=np.where(train.targets == 1, 1, IGNORE_INDEX))
    with pytest.raises(InputError, match=r"12 training chips are of one class \(forest\)"):
        fit_pixel_probe(COVER, one, None, **SETTINGS)


def test_values_that_do_not_vary():
    flat = replace(make(), targets=np.full((12, 32, 32), 3, np.float32))
    with pytest.raises(InputError, match=r"height has 12288 known values .* does not vary"):
        fit_pixel_probe(HEIGHT, flat, None, **SETTINGS)


def test_a_selection_split_without_labels():
    blank = replace(make(), targets=np.full((12, 32, 32), IGNORE_INDEX, np.uint8))
    with pytest.raises(InputError, match="no miou of the 12 samples"):
        fit_pixel_probe(COVER, make(), blank, **SETTINGS)


@pytest.mark.parametrize("rates", [[], [0.1, 0.01]])
def test_rates_that_nothing_can_choose_from(rates):
    with pytest.raises(InputError, match="expected at least one"):
        fit_pixel_probe(COVER, make(), None, **SETTINGS | {"learning_rates": rates})


@pytest.mark.parametrize("given", [{"epochs": 0}, {"batch_size": 0}])
def test_numbers_that_leave_nothing_to_train(given):
    with pytest.raises(InputError, match="expected 1 or more of both"):
        fit_pixel_probe(COVER, make(), None, **SETTINGS | given)
