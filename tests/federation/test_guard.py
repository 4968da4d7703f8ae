"""What a reply may be, so that a round goes on."""

import numpy as np
import pytest
from flwr.app import ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.task_identity import TaskIdentity

from federation.guard import Guarded, find_fault
from federation.records import ARRAYS, METRICS, NOTES, pack, to_record

COMMON = {"weight": np.ones((2, 3), np.float32), "bias": np.zeros(2, np.float32)}


@pytest.fixture
def guard():
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
    guard = Guarded(FedAvg(min_train_nodes=1), "float32", 0)
    guard.common = COMMON
    return guard


def reply(node, content=None, error=None):
    asked = Message(RecordDict(), dst_node_id=node, message_type="train")
    if error is not None:
        return Message(Error(2, error), reply_to=asked)
    return Message(RecordDict(content), reply_to=asked)


def update(node, by, metrics=None, **arrays):
    changed = {name: np.full_like(array, by) for name, array in COMMON.items()} | arrays
    packed, _ = pack(changed, "float32", None)
    given = {"num-examples": 1, "loss": 0.5} if metrics is None else metrics
    return reply(node, {ARRAYS: packed, METRICS: MetricRecord(given)})


def test_the_mean_is_by_numbers_of_chips(guard):
    replies = [
        update(1, 1.0, {"num-examples": 3, "loss": 1.0}),
        update(2, 5.0, {"num-examples": 1, "loss": 2.0}),
    ]
    arrays, metrics = guard.aggregate_train(1, replies)
    np.testing.assert_allclose(arrays["weight"].numpy(), 1 + 2.0)
    np.testing.assert_allclose(arrays["bias"].numpy(), 2.0)
    assert arrays["bias"].numpy().dtype == np.float32
    assert metrics["loss"] == 1.25


@pytest.mark.parametrize(
    "bad",
    [
        reply_args
        for reply_args in (
            {"error": "no data"},
            {"content": {}},
            {"content": {ARRAYS: to_record(COMMON)}},
            {"content": {METRICS: MetricRecord({"num-examples": 1, "loss": 1.0})}},
            {"metrics": {"num-examples": 0, "loss": 1.0}},
            {"metrics": {"num-examples": -1, "loss": 1.0}},
            {"metrics": {"num-examples": float("nan"), "loss": 1.0}},
            {"metrics": {"num-examples": 1}},
            {"metrics": {"num-examples": 1, "loss": float("inf")}},
            {"metrics": {"num-examples": [1, 2], "loss": 1.0}},
            {"weight": np.zeros((3, 2), np.float32)},
            {"further": np.zeros(1, np.float32)},
        )
    ],
)
def test_what_cannot_be_used_is_left_out_and_the_others_are_joined(guard, bad):
    odd = reply(2, **bad) if bad.keys() & {"error", "content"} else update(2, 9.0, **bad)
    arrays, _ = guard.aggregate_train(1, [update(1, 1.0), odd, update(3, 3.0)])
    np.testing.assert_allclose(arrays["bias"].numpy(), 2.0)
    assert (guard.round.answered, guard.round.dropped) == (2, 1)


def test_further_metrics_and_notes_do_no_harm(guard):
    odd = update(2, 3.0, {"num-examples": 1, "loss": 0.5, "humidity": 1.0})
    odd.content[NOTES] = ConfigRecord({"publish": 12, "greeting": "hello"})
    arrays, metrics = guard.aggregate_train(1, [update(1, 1.0), odd])
    np.testing.assert_allclose(arrays["bias"].numpy(), 2.0)
    assert set(metrics) == {"loss"}
    assert guard.round.published == [12]


def test_where_noise_is_measured_for_all_one_less_releases_nothing():
    guard = Guarded(FedAvg(min_train_nodes=1), "float32", 0, exact=2)
    guard.common = COMMON
    assert guard.aggregate_train(1, [update(1, 1.0), reply(2, error="gone")]) == (None, None)
    assert not guard.round.released
    arrays, _ = guard.aggregate_train(1, [update(1, 1.0), update(2, 1.0)])
    assert arrays is not None
    assert guard.round.released


def test_scores_that_only_some_have_are_left_out(guard):
    replies = [
        reply(1, {METRICS: MetricRecord({"num-examples": 1, "accuracy": 0.5, "miou": 0.1})}),
        reply(2, {METRICS: MetricRecord({"num-examples": 3, "accuracy": 0.9})}),
        reply(3, {METRICS: MetricRecord({"num-examples": 0})}),
    ]
    metrics = guard.aggregate_evaluate(1, replies)
    assert dict(metrics) == {"accuracy": pytest.approx(0.8)}


def test_a_fault_is_described():
    assert find_fault(COMMON, COMMON) is None
    assert "bias" in find_fault({"weight": COMMON["weight"]}, COMMON)
    assert "not finite" in find_fault(COMMON | {"bias": np.array([1, np.inf])}, COMMON)
