"""A strategy around Flower's own: it packs and unpacks, drops unusable updates, and keeps count."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from logging import WARNING
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.app.exception import AppExitException
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from flwr.supercore import log
from flwr.supercore.differential_privacy import KEY_NORM_BIT
from numpy.typing import NDArray

from federation.history import Round
from federation.records import (
    ARRAYS,
    EXAMPLES,
    LOSS,
    METRICS,
    NOTES,
    count_bytes,
    from_record,
    pack,
    reply_bytes,
    to_record,
    unpack,
)
from federation.task import Arrays
from sensors.errors import InputError

_KEPT = (EXAMPLES, LOSS, KEY_NORM_BIT)
"""Of what nodes measure in training; the last one is adaptive clipping's."""


class Guarded(Strategy):
    """Another strategy's rounds, with only whole and finite updates among what it averages.

    Nodes send what the weights changed by; to the inner strategy, that plus the common weights is
    what they sent, in double precision.

    Args:
        inner: Flower's strategy.
        precision: Of what goes over the wire.
        done: Rounds that were finished in an earlier process.
        exact: How many updates a round needs, neither more nor less, where noise is measured for
            so many; None is any number.
    """

    def __init__(
        self, inner: Strategy, precision: str, done: int, exact: int | None = None
    ) -> None:
        self.inner = inner
        self.precision = precision
        self.done = done
        self.exact = exact
        self.round = Round(0)
        self.common: Arrays = {}
        self._started = 0.0

    def summary(self) -> None:
        """What the inner strategy says of itself."""
        self.inner.summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Whom to ask; the weights go out in the precision of the wire."""
        self.round = Round(server_round + self.done)
        self._started = time.monotonic()
        self.common = from_record(arrays)
        messages = list(self.inner.configure_train(self.round.number, arrays, config, grid))
        self.round.asked = len(messages)
        return self._send(messages)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The inner strategy's mean of the updates that can be used."""
        usable = [reply for reply in replies if self._accept(reply)]
        self.round.answered = len(usable)
        self.round.seconds = time.monotonic() - self._started
        if not usable:
            log(WARNING, "Round %d: no node sent an update; on to the next", self.round.number)
            return None, None
        if self.exact is not None and len(usable) != self.exact:
            log(
                WARNING,
                "Round %d: %d updates, and the noise is measured for %d: nothing is released",
                self.round.number,
                len(usable),
                self.exact,
            )
            return None, None
        try:
            found, metrics = self.inner.aggregate_train(self.round.number, usable)
        except AppExitException as error:
            log(WARNING, "Round %d: the updates cannot be joined: %s", self.round.number, error)
            return None, None
        if metrics is not None:
            self.round.loss = float(str(metrics[LOSS]))
        if found is None:
            return None, metrics
        mean = {name: array.astype(np.float32) for name, array in from_record(found).items()}
        unfit = find_fault(mean, self.common)
        if unfit is not None:
            log(
                WARNING,
                "Round %d: %s after the nodes were joined; the weights stay as they were",
                self.round.number,
                unfit,
            )
            return None, metrics
        self.round.released = True
        return to_record(mean), metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Whom to ask for a score."""
        self.common = from_record(arrays)
        inner = self.inner.configure_evaluate(self.round.number, arrays, config, grid)
        return self._send(list(inner))

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """The mean of the nodes' scores, by their numbers of held-out chips."""
        metrics = self.inner.aggregate_evaluate(self.round.number, list(self.scored(replies)))
        if metrics is not None:
            self.round.scores = {name: float(str(value)) for name, value in metrics.items()}
        return metrics

    def scored(self, replies: Iterable[Message]) -> Sequence[Message]:
        """Of replies to a request for scores, those with any; only scores that all have stay."""
        usable = []
        for reply in replies:
            self.round.bytes_up += reply_bytes(reply)
            try:
                metrics = read_metrics(reply)
            except InputError as error:
                self._drop(reply, str(error))
                continue
            if metrics[EXAMPLES]:
                usable.append((reply, metrics))
        common = set.intersection(*(set(metrics) for _, metrics in usable)) if usable else set()
        for reply, metrics in usable:
            reply.content = RecordDict({METRICS: _keep(metrics, sorted(common))})
        return [reply for reply, _ in usable]

    def _send(self, messages: list[Message]) -> list[Message]:
        packed, _ = pack(self.common, self.precision, None)
        for message in messages:
            message.content[ARRAYS] = packed
            self.round.bytes_down += count_bytes(message.content)
        return messages

    def _accept(self, reply: Message) -> bool:
        """Whether an update can be used; its weights are put in its place."""
        self.round.bytes_up += reply_bytes(reply)
        try:
            metrics = read_metrics(reply)
            update = unpack(reply.content.array_records[ARRAYS], self.common)
        except (InputError, KeyError) as error:
            return self._drop(reply, str(error))
        fault = find_fault(update, self.common)
        if fault is None and (LOSS not in metrics or not metrics[EXAMPLES] > 0):
            fault = f"no {LOSS}, or no {EXAMPLES} above 0"
        if fault is not None:
            return self._drop(reply, f"its update has {fault}")
        learned = {
            name: array.astype(np.float64) + update[name] for name, array in self.common.items()
        }
        notes = reply.content.config_records.get(NOTES)
        if notes is not None and "publish" in notes:
            self.round.published.append(int(str(notes["publish"])))
        kept = _keep(metrics, [name for name in _KEPT if name in metrics])
        reply.content = RecordDict({ARRAYS: to_record(learned), METRICS: kept})
        return True

    def _drop(self, reply: Message, reason: str) -> bool:
        node = reply.metadata.src_node_id
        log(WARNING, "Round %d: node %d is left out: %s", self.round.number, node, reason)
        self.round.dropped += 1
        return False


def read_metrics(reply: Message) -> dict[str, float]:
    """The numbers in a node's reply.

    Raises:
        InputError: If it is an error, or has other things in their place.
    """
    if reply.has_error():
        raise InputError(reply.error.reason or f"error {reply.error.code}")
    record = reply.content.metric_records.get(METRICS)
    if record is None:
        raise InputError("its reply has no metrics")
    metrics = {name: value for name, value in record.items() if isinstance(value, int | float)}
    wrong = [name for name, value in metrics.items() if not math.isfinite(value)]
    if wrong or not metrics.get(EXAMPLES, -1) >= 0:
        raise InputError(f"its metrics cannot be used: {dict(record)}")
    return {name: float(value) for name, value in metrics.items()}


def find_fault(found: Mapping[str, NDArray[Any]], wanted: Mapping[str, NDArray[Any]]) -> str | None:
    """What keeps arrays from being used as an update, or None."""
    missing, further = wanted.keys() - found.keys(), found.keys() - wanted.keys()
    if missing or further:
        return f"other weights than the network: {min(missing | further)}"
    for name, array in wanted.items():
        if found[name].shape != array.shape:
            return f"{name} of shape {found[name].shape}, expected {array.shape}"
        if not np.isfinite(found[name]).all():
            return f"values of {name} that are not finite"
    return None


def _keep(metrics: Mapping[str, float], names: Iterable[str]) -> MetricRecord:
    record = MetricRecord()
    for name in names:
        record[name] = metrics[name]
    return record
