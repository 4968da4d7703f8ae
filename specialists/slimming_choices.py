"""What there is to choose in slimming; nothing here needs torch."""

from sensors.errors import InputError
from specialists.task_spec import check_choice

SCOPES = ("hidden", "full")
IMPORTANCES = ("magnitude", "taylor")


def check_slimming(ratio: float, scope: str, importance: str) -> None:
    """Refuse what `specialists.slimming.slim` does not do.

    Raises:
        InputError: If the ratio is outside 0..1, or there is no such scope or importance.
    """
    if not 0 < ratio < 1:
        raise InputError(
            f"ratio {ratio} is not between 0 and 1; it is the share of channels that go"
        )
    check_choice("scope", scope, SCOPES)
    check_choice("importance", importance, IMPORTANCES)
