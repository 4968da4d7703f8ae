"""Flower's `ClientApp`: which answer goes to which message."""

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from federation import client
from federation.mods import errors_mod, privacy_mod, wire_mod

app = ClientApp(mods=[errors_mod])


@app.query("describe")
def describe(message: Message, context: Context) -> Message:
    """What this node holds."""
    return client.describe(message, context)


@app.train(mods=[wire_mod, privacy_mod])
def train(message: Message, context: Context) -> Message:
    """One round of training."""
    return client.train(message, context)


@app.evaluate(mods=[wire_mod])
def evaluate(message: Message, context: Context) -> Message:
    """Scores on held-out chips."""
    return client.evaluate(message, context)
