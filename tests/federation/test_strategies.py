"""Strategies that are to withstand a node, on updates that are easy to tell apart."""

import numpy as np
import pytest
from flwr.app import Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from federation.records import ARRAYS, METRICS, to_record
from federation.settings import Settings
from federation.strategies import build_strategy
from sensors import InputError

HONEST = [1.0, 1.1, 0.9, 1.2]


def joined(strategy, values, nodes=5, **changes):
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
    replies = []
    for node, value in enumerate(values):
        asked = Message(RecordDict(), dst_node_id=node + 1, message_type="train")
        arrays = to_record({"weight": np.full((2, 3), value)})
        metrics = MetricRecord({"num-examples": 4, "loss": 1.0})
        replies.append(Message(RecordDict({ARRAYS: arrays, METRICS: metrics}), reply_to=asked))
    built = build_strategy(Settings(strategy=strategy, **changes), nodes)
    arrays, _ = built.aggregate_train(1, replies)
    return float(arrays["weight"].numpy().mean())


@pytest.mark.parametrize("strategy", ["median", "trimmed-mean", "krum", "multi-krum"])
def test_one_of_five_moves_nothing_out_of_what_the_others_say(strategy):
    changes = {"trim": 0.2} if strategy == "trimmed-mean" else {}
    for bad in (-100.0, 100.0):
        found = joined(strategy, [bad, *HONEST], **changes)
        assert min(HONEST) <= found <= max(HONEST)
    assert joined("fedavg", [-100.0, *HONEST]) < -10


def test_multi_krum_is_the_mean_of_all_others():
    assert joined("multi-krum", [-100.0, *HONEST]) == pytest.approx(np.mean(HONEST))
    assert any(np.isclose(joined("krum", [-100.0, *HONEST]), HONEST))


def test_multi_krum_withstands_a_node_where_another_is_missing():
    assert joined("multi-krum", [-100.0, *HONEST[:3]]) == pytest.approx(np.mean(HONEST[:3]))
    assert joined("multi-krum", [1.0]) == 1.0


@pytest.mark.parametrize("strategy", ["krum", "multi-krum"])
def test_too_few_nodes_are_refused(strategy):
    with pytest.raises(InputError, match=f"strategy={strategy} .*malicious=1 among at least 5"):
        joined(strategy, HONEST, nodes=4)
