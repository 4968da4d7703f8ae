"""Flower's `ServerApp`."""

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from federation.server import run_server
from federation.settings import Settings

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """One run."""
    run_server(grid, Settings.read(context.run_config))
