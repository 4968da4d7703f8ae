"""Questions to the nodes outside the rounds: what they hold, and what they think of a network."""

import json
import time
from logging import INFO, WARNING

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy.strategy_utils import aggregate_metricrecords
from flwr.supercore import log

from federation.client import DESCRIPTION, SPEC, WHOLE
from federation.description import Description
from federation.guard import Guarded
from federation.mods import FLOWER
from federation.records import ARRAYS, CONFIG, EXAMPLES, NOTES, pack
from federation.settings import Settings
from federation.task import get_arrays
from federation.versions import flower_version
from sensors.errors import InputError
from specialists.model import Specialist


def wait_for_nodes(grid: Grid, settings: Settings) -> list[int]:
    """The nodes that are connected, once there are enough of them."""
    said = 0.0
    while len(nodes := list(grid.get_node_ids())) < settings.min_nodes:
        if time.monotonic() - said > 30:
            said = time.monotonic()
            log(INFO, "Waiting for nodes: %d of %d are here", len(nodes), settings.min_nodes)
        time.sleep(1)
    return nodes


def ask_descriptions(grid: Grid, settings: Settings) -> dict[int, Description]:
    """What each node says of its data; those that cannot take part are named with their reason."""
    config = ConfigRecord({FLOWER: flower_version()})
    messages = [
        Message(RecordDict({CONFIG: config}), dst_node_id=node, message_type="query.describe")
        for node in wait_for_nodes(grid, settings)
    ]
    found = {}
    for reply in grid.send_and_receive(messages, timeout=settings.round_timeout):
        node = reply.metadata.src_node_id
        try:
            if reply.has_error():
                raise InputError(reply.error.reason or f"error {reply.error.code}")
            notes = reply.content.config_records[NOTES]
            found[node] = Description.from_json(str(notes[DESCRIPTION]))
        except (InputError, KeyError) as error:
            log(WARNING, "Node %d cannot take part: %s", node, error)
    return found


def ask_scores(
    grid: Grid, network: Specialist, settings: Settings, guard: Guarded
) -> dict[str, float]:
    """Mean scores of a network on all nodes' held-out chips."""
    arrays = get_arrays(network, network.state_dict())
    packed, _ = pack(arrays, "float32", None)
    config = ConfigRecord()
    config[SPEC] = json.dumps(network.spec.to_dict())
    config[WHOLE] = True
    config[FLOWER] = flower_version()
    content = RecordDict({ARRAYS: packed, CONFIG: config})
    messages = [
        Message(content, dst_node_id=node, message_type="evaluate") for node in grid.get_node_ids()
    ]
    replies = grid.send_and_receive(messages, timeout=settings.round_timeout)
    usable = guard.scored(replies)
    if not usable:
        return {}
    mean = aggregate_metricrecords([reply.content for reply in usable], EXAMPLES)
    return {name: float(str(value)) for name, value in mean.items()}
