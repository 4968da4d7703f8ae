"""Which versions of Flower go together."""

from importlib.metadata import version

from packaging.version import Version

from sensors.errors import InputError

OLDEST, TOO_NEW = Version("1.41"), Version("2")
"""1.41: the first with the accountant of differential privacy that is used here."""


def flower_version() -> str:
    """The version of Flower that runs here."""
    return version("flwr")


def check_flower(theirs: str | None = None) -> None:
    """Refuse a Flower that cannot be worked with.

    Args:
        theirs: The server's version, for a node.

    Raises:
        InputError: If the one here is too old or too new, or differs from the server's in its first
            number.
    """
    own = Version(flower_version())
    if not OLDEST <= own < TOO_NEW:
        raise InputError(
            f"Flower {own} runs here, and {OLDEST} up to (not including) {TOO_NEW} is needed; "
            f"pip install 'flwr>={OLDEST},<{TOO_NEW}'"
        )
    if theirs is not None and Version(theirs).major != own.major:
        raise InputError(
            f"Flower {own} runs here and {theirs} at the server: their first numbers must be the "
            f"same; pip install 'flwr~={theirs}'"
        )
