"""From a scene to a map with one specialist, or an ensemble."""

from typing import TYPE_CHECKING, Any

from mapping.result import MapResult

if TYPE_CHECKING:
    from mapping.predict import predict_map

__all__ = ["MapResult", "predict_map"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - as PEP 562 has it
    # On first use: torch takes seconds to import, which `predict-map --help` need not wait for.
    if name == "predict_map":
        from mapping.predict import predict_map

        return predict_map
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
