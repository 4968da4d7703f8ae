"""A node's answers to the server's messages."""

import json
import zlib
from logging import INFO

from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.supercore import log

from federation.description import describe as describe_data
from federation.memory import Memory, node_number
from federation.records import (
    ARRAYS,
    CONFIG,
    EXAMPLES,
    LOSS,
    METRICS,
    NOTES,
    from_record,
    to_record,
)
from federation.settings import NodeSettings, Settings
from federation.start import open_network
from federation.task import (
    Arrays,
    LocalData,
    RoundPlan,
    describe_difference,
    fit_to,
    get_arrays,
    load_local,
    norm_names,
    score,
    set_arrays,
    shared_names,
    train_round,
)
from sensors.errors import InputError
from specialists.model import Specialist
from specialists.spec import SpecialistSpec

SPEC, WHOLE, DESCRIPTION = "spec", "whole", "description"
"""Keys of a message's configuration, and of a node's description in its reply."""
_NORMS, _MOMENTS = "norms", "moments"
"""Keys of what a node keeps for the next round."""


def describe(message: Message, context: Context) -> Message:
    """Say what this node holds."""
    settings, data = _open(context)
    found = describe_data(data, share_sums=settings.normalization == "shared")
    notes = ConfigRecord({DESCRIPTION: found.to_json()})
    return Message(RecordDict({NOTES: notes}), reply_to=message)


def train(message: Message, context: Context) -> Message:
    """Train the common weights on this node's chips."""
    settings, data = _open(context)
    config = message.content.config_records[CONFIG]
    memory, number = Memory.of(message, context)
    norms = memory.load(number, _NORMS)
    network, names = _receive(message, context, settings, data, norms)
    plan = RoundPlan(
        number=number,
        rounds=settings.rounds,
        epochs=settings.local_epochs,
        seed=zlib.crc32(f"{settings.seed}/{number}/{node_number(context)}".encode()),
        proximal_mu=float(str(config.get("proximal-mu", 0.0))),
    )
    loss, moments = train_round(network, data, plan, settings.train, memory.load(number, _MOMENTS))
    memory.keep(number, _MOMENTS, moments)
    if settings.local_norms:
        memory.keep(number, _NORMS, get_arrays(network, norm_names(network)))
    log(INFO, "Round %d: %d chips, loss %.4f", number, len(data.train), loss)
    # Under differential privacy all nodes count alike: how many chips one has is no one's business.
    examples = 1 if settings.privacy != "none" else len(data.train)
    node = NodeSettings.read(context.node_config)
    content = RecordDict(
        {
            ARRAYS: to_record(get_arrays(network, names)),
            METRICS: MetricRecord({EXAMPLES: examples, LOSS: loss}),
        }
    )
    if node.publish == "count" and settings.privacy == "none":
        content[NOTES] = ConfigRecord({"publish": len(data.train)})
    return Message(content, reply_to=message)


def evaluate(message: Message, context: Context) -> Message:
    """Score the common weights, or those of another specialist, on this node's held-out chips."""
    settings, data = _open(context)
    whole, norms = bool(message.content.config_records[CONFIG].get(WHOLE, False)), None
    if not whole:
        memory, number = Memory.of(message, context)
        norms = memory.load(number + 1, _NORMS)  # those that it has learned in this round
        if number == settings.rounds:
            memory.forget()
    network, _ = _receive(message, context, settings, data, norms)
    scores = score(network, data.selection)
    count = 0 if data.selection is None else len(data.selection)
    examples = min(count, 1) if settings.privacy != "none" else count
    metrics = MetricRecord({EXAMPLES: examples, **scores})
    return Message(RecordDict({METRICS: metrics}), reply_to=message)


def _open(context: Context) -> tuple[Settings, LocalData]:
    settings = Settings.read(context.run_config)
    node = NodeSettings.read(context.node_config)
    number, count = node_number(context), int(context.node_config.get("num-partitions", 0))
    if settings.is_divided and not count:
        raise InputError(
            f"partition={settings.partition} divides one data set over simulated nodes, and this "
            "one is not: it holds its own data; run with partition=none"
        )
    return settings, load_local(settings, node, number, count)


def _receive(
    message: Message,
    context: Context,
    settings: Settings,
    data: LocalData,
    norms: Arrays | None,
) -> tuple[Specialist, list[str]]:
    """The network with the weights of a message, as it sees this node's bands; their names."""
    config = message.content.config_records[CONFIG]
    spec = SpecialistSpec.from_dict(json.loads(str(config[SPEC])))
    difference = describe_difference(spec, data.train)
    if difference is not None:
        raise InputError(difference)
    arrays = from_record(message.content.array_records[ARRAYS])
    node = NodeSettings.read(context.node_config)
    whole = bool(config.get(WHOLE, False))
    network = open_network(spec, settings, node.registry, random=whole)
    names = list(network.state_dict()) if whole else shared_names(network, settings.train)
    wrong = set(names) ^ set(arrays)
    if wrong and not whole:
        raise InputError(f"the server sent other weights than the network's: {sorted(wrong)[:3]}")
    set_arrays(network, arrays)
    set_arrays(network, norms or {})
    return fit_to(network, data, settings.normalization), list(arrays)
