"""A federation in one process, node after node: for tests and benchmarks, not for users' data.

Flower's apps, strategies and messages are the real ones; what is left out are its processes and
its network.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from federation.client_app import app as client_app
from federation.server import run_server
from federation.settings import Settings

_FIRST_NODE = 1000


class InProcessGrid(Grid):
    """Nodes that answer when they are asked, one after the other.

    Args:
        nodes: The node-config of each.
        run_config: Of the run.
        app: What the nodes run.
    """

    def __init__(
        self,
        nodes: Sequence[Mapping[str, Any]],
        run_config: Mapping[str, Any],
        app: ClientApp = client_app,
    ) -> None:
        # Flower's own processes set these before an app runs.
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
        self.app = app
        self.contexts = {
            _FIRST_NODE + number: Context(
                run_id=1,
                node_id=_FIRST_NODE + number,
                node_config=dict(config),
                state=RecordDict(),
                run_config=dict(run_config),
            )
            for number, config in enumerate(nodes)
        }
        self._answers: dict[str, Message] = {}

    def set_run(self, run: Run) -> None:
        """Nothing is to be set."""

    @property
    def run(self) -> Run:
        """There is none that Flower would know."""
        raise NotImplementedError

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """As Flower's."""
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Of all nodes."""
        return list(self.contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Have them answered."""
        numbers = []
        for message in messages:
            numbers.append(str(len(self._answers)))
            self._answers[numbers[-1]] = self.answer(message)
        return numbers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The answers."""
        return [self._answers[number] for number in message_ids]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Answers in the order of the messages."""
        return [self.answer(message) for message in messages]

    def answer(self, message: Message) -> Message:
        """What a node says; it gets a copy, as over a network."""
        node = message.metadata.dst_node_id
        copied = Message(
            RecordDict(dict(message.content)),
            dst_node_id=node,
            message_type=message.metadata.message_type,
        )
        answer: Message = self.app(copied, self.contexts[node])
        return answer


def federate(settings: Settings, nodes: Sequence[Mapping[str, Any]]) -> None:
    """A whole run in this process.

    Args:
        settings: Of the run.
        nodes: The node-config of each node.
    """
    run_server(InProcessGrid(nodes, settings.to_run_config()), settings)


def divided_nodes(count: int) -> list[dict[str, int]]:
    """Node-configs as Flower's simulation makes them."""
    return [{"partition-id": number, "num-partitions": count} for number in range(count)]
