"""What a card says of the data that a model learned from."""

from collections.abc import Mapping
from typing import Any


def data_records(training: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """One record (name, title, licence, counts) a data set; a trunk learns from several.

    Args:
        training: Of a card, of which no check has seen this part.
    """
    data = training.get("data")
    if not isinstance(data, Mapping) or not data:
        return ()
    sources = data.get("sources")
    if not isinstance(sources, list):
        return (data,)
    return tuple(source for source in sources if isinstance(source, Mapping))
