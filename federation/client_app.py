"""Flower's `ClientApp`: which answer goes to which message."""

from flwr.clientapp import ClientApp
from flwr.clientapp.typing import Mod

from federation import client
from federation.mods import errors_mod, privacy_mod, wire_mod


def build_app(*, over_wire: Mod | None = None, over_weights: Mod | None = None) -> ClientApp:
    """The nodes' app.

    Args:
        over_wire: Called around a round of training; it sees what goes over the wire.
        over_weights: Likewise; it sees the weights that come and those that were learned.
    """
    app = ClientApp(mods=[errors_mod])
    app.query("describe")(client.describe)
    mods = (over_wire, wire_mod, over_weights, privacy_mod)
    app.train(mods=[mod for mod in mods if mod is not None])(client.train)
    app.evaluate(mods=[wire_mod])(client.evaluate)
    return app


app = build_app()
