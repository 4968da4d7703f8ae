"""`compose-ensemble usage`: how often a gate asks each member, over any data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_store import ConfigStore

from registry.registry import Registry
from router.composing.usage import Usage, measure_usage, print_usage
from router.composing.usage_picture import draw_usage
from router.ensemble_files import load_ensemble
from sensors.errors import InputError
from specialists.config import compose_checked
from specialists.data import load_splits
from specialists.data_config import DataConfig
from specialists.job import console
from specialists.run import write_json


@dataclass(kw_only=True)
class UsageConfig:
    """What to count; `configs/gate_usage.yaml` is its YAML form.

    Args:
        data: The data set.
        split: Which of its splits.
        out: The picture (PNG); the numbers are written beside it as JSON.
        batch_size: Images at once.
    """

    data: DataConfig
    split: str = "test"
    out: str = "gate_usage.png"
    batch_size: int = 64


ConfigStore.instance().store(name="gate_usage_schema", node=UsageConfig)


def count_usage(
    ensemble: str,
    overrides: Sequence[str],
    registry: Path | None = None,
    config_dir: Path | None = None,
) -> Usage:
    """Count, print and draw how often each member is asked.

    Args:
        ensemble: Its folder, or its registered name.
        overrides: Of the configuration `gate_usage`, in Hydra's grammar.
        registry: Folder of the registry; the default one if not given.
        config_dir: A folder of further configuration groups.

    Raises:
        InputError: If the ensemble, the data or the place of the picture cannot be used.
    """
    config = compose_checked("gate_usage", UsageConfig, overrides, config_dir)
    out = Path(config.out)
    if out.suffix != ".png" or not out.parent.is_dir():
        raise InputError(f"out {out} is not a .png in a folder that exists")
    network = load_ensemble(ensemble, Registry.open(registry))
    chips = load_splits(config.data).chips
    if config.split not in chips:
        raise InputError(f"data {config.data.name} has no split {config.split}; {', '.join(chips)}")
    usage = measure_usage(
        network, chips[config.split], gsd=config.data.gsd, batch_size=config.batch_size
    )
    print_usage(console, usage, f"Who {ensemble} asks on {config.data.name} ({config.split})")
    record = {"data": config.data.name, "split": config.split} | usage.to_dict()
    write_json(out.with_suffix(".json"), record)
    draw_usage(usage, out, f"{config.data.name}, {config.split}: {usage.images:,} images")
    console.print(f"Written: {out}, {out.with_suffix('.json')}", soft_wrap=True)
    return usage
