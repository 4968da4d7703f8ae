"""What `prune-ensemble` is asked for; `configs/prune.yaml` has the defaults."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hydra.core.config_store import ConfigStore

from router.pruning.budget import Budget
from router.pruning.scoring import Refit
from sensors import InputError
from specialists.config import compose_checked
from specialists.data_config import DataConfig


@dataclass
class BudgetConfig:
    """As `router.pruning.budget.Budget`."""

    drop: float | None = None
    parameters: float | None = None
    macs: float | None = None
    latency_ms: float | None = None


@dataclass(kw_only=True)
class PruneConfig:
    """One ensemble, and the data by which its members are judged.

    Args:
        data: Labelled chips of the ensemble's task: the training split to fit fusion and head, the
            selection split to decide, the test split for the table.
        ensemble: The ensemble's folder.
        budget: What may be lost, or has to be saved.
        refit: How fusion and head are fitted after a member went.
        exhaustive: Try every choice of members, too, and say how good the steps were among them.
        chips: Training chips that are looked at, at most.
        out: Folder of what was measured; by default `pruning` in the ensemble's folder.
        registry: Where members and trunk are; by default `$TERRAGUILD_REGISTRY`, else the user's.
        device: `auto`, `cpu` or `cuda`.
        batch_size: Images at once.
        seed: Of everything that is drawn.
        dry_run: Measure, and leave the ensemble as it is.
    """

    data: DataConfig
    ensemble: str = ""
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    refit: Refit = field(default_factory=Refit)
    exhaustive: bool = False
    chips: int = 2048
    out: str | None = None
    registry: str | None = None
    device: str = "auto"
    batch_size: int = 32
    seed: int = 0
    dry_run: bool = False

    def check(self) -> Budget:
        """Refuse what is out of range.

        Returns:
            The budget.

        Raises:
            InputError: Says what is.
        """
        for name in ("chips", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)} is not 1 or more")
        self.refit.check()
        return Budget(**vars(self.budget))


# `configs/prune.yaml` starts from it, so that Hydra knows every key, its type and its default.
ConfigStore.instance().store(name="prune_schema", node=PruneConfig)


def compose_pruning(
    ensemble: str,
    overrides: Sequence[str] = (),
    config_dir: Path | None = None,
    *,
    dry_run: bool = False,
) -> PruneConfig:
    """Compose the configuration `prune` with Hydra.

    Args:
        ensemble: The ensemble's folder.
        overrides: In Hydra's grammar, such as `data=eurosat_ms` and `budget.drop=0.01`.
        config_dir: A folder of one's own groups, searched beside `configs`.
        dry_run: Leave the ensemble as it is.

    Raises:
        InputError: If a key or value is not what it may be.
    """
    config = compose_checked("prune", PruneConfig, overrides, config_dir)
    config = replace(config, ensemble=ensemble, dry_run=dry_run or config.dry_run)
    config.check()
    return config
