"""The configuration of `quantize-specialist`: `configs/quantize.yaml` is its YAML form."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_store import ConfigStore

from sensors.errors import InputError
from specialists.config import compose_checked
from specialists.data_config import DataConfig


@dataclass(kw_only=True)
class QuantizeConfig:
    """One run of `quantize-specialist`.

    Args:
        source: The registered specialist, `name` or `name@version`.
        data: Whose training chips ranges are chosen by, and whose test chips it is scored on; of
            the specialist's own bands and task.
        name: What the result is registered as; by default the source's name and `-int8`.
        version: MAJOR.MINOR.PATCH of the result.
        license: Of the result, an SPDX identifier; by default that of the source.
        registry: Folder of the registry; the default one if not given.
        samples: How many training chips are looked at.
        max_drop: By how much the main metric may get worse: the difference, or of an error (rmse)
            the share of what it was.
        batch_size: Chips scored at once.
    """

    data: DataConfig
    source: str = ""
    name: str = ""
    version: str = "1.0.0"
    license: str | None = None
    registry: str | None = None
    samples: int = 300
    max_drop: float = 0.02
    batch_size: int = 32

    def check(self) -> None:
        """Refuse numbers out of range.

        Raises:
            InputError: Says which.
        """
        for name in ("samples", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)} is below 1")
        if not self.max_drop >= 0:
            raise InputError(f"max_drop={self.max_drop} is not 0 or more")


# `configs/quantize.yaml` starts from it, so that Hydra knows every key, its type and its default.
ConfigStore.instance().store(name="quantize_schema", node=QuantizeConfig)


def compose_quantize_config(
    source: str, overrides: Sequence[str] = (), config_dir: Path | None = None
) -> QuantizeConfig:
    """Compose the configuration `quantize` with Hydra.

    Args:
        source: The registered specialist.
        overrides: In Hydra's grammar, such as `samples=500`.
        config_dir: A folder of one's own groups, searched beside `configs`.

    Raises:
        InputError: If a group, key or value is not what it may be.
    """
    config = compose_checked("quantize", QuantizeConfig, overrides, config_dir)
    config.source = source
    config.check()
    return config
