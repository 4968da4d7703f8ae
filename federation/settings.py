"""What a federated run is told: flat scalars, as Flower's run-config holds them.

The keys and their defaults stand in `pyproject.toml`, section `tool.flwr.app.config`; a node's own
keys stand in its node-config.
"""

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self, TypeVar

from platformdirs import user_data_path

from federation.partition import METHODS
from federation.wire import PRECISIONS
from sensors.errors import InputError

PARTITIONS = ("none", *METHODS)
STRATEGIES = ("fedavg", "fedprox", "fedadam", "median", "trimmed-mean", "krum", "multi-krum")
PRIVACY = ("none", "central-fixed", "central-adaptive", "local")
NORMALIZATIONS = ("shared", "local")
TRAINED_PARTS = ("all", "head")
FLOWER_NODE_KEYS = ("partition-id", "num-partitions")
"""What Flower's simulation puts into every node's configuration."""

_CHOICES = {
    "partition": PARTITIONS,
    "normalization": NORMALIZATIONS,
    "strategy": STRATEGIES,
    "privacy": PRIVACY,
    "precision": tuple(PRECISIONS),
    "train": TRAINED_PARTS,
    "keep": ("best", "last"),
    "clipping": ("server", "client"),
}
_POSITIVE = (
    "rounds",
    "local_epochs",
    "min_nodes",
    "round_timeout",
    "dirichlet_alpha",
    "clipping_norm",
    "noise_multiplier",
    "server_lr",
)
_SHARES = ("fraction", "trim")

T = TypeVar("T", bound="_Flat")


class _Flat:
    """A dataclass of scalars that is read from a mapping with dashes in its keys."""

    @classmethod
    def _read(cls: type[T], found: Mapping[str, Any], what: str, ignored: tuple[str, ...]) -> T:
        known = {entry.name.replace("_", "-"): entry for entry in fields(cls)}  # type: ignore[arg-type]
        values: dict[str, Any] = {}
        for key, value in found.items():
            if key in ignored:
                continue
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise InputError(
                    f"{what} has the unknown key {key}{hint} The keys are {', '.join(known)}"
                )
            values[known[key].name] = _as(known[key].type, value, f"{what} {key}")
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Settings(_Flat):
    """A federated run, as the server and every node are told of it.

    Args:
        experiment: File in `configs/experiment`: data set, network and recipe.
        overrides: Further overrides in Hydra's grammar, separated by spaces.
        config_dir: Folder of configuration groups of one's own, an absolute path; "" is none.
        data_root: Folder of data sets, absolute; "" is `$TERRAGUILD_DATA`. Where the data are
            divided (`partition`), every node reads them there. Where each node holds its own, it is
            the server's, to test on; without one it tests nothing.
        run_dir: Folder of state, record and plot, absolute; "" is one in the user's data folder.
        registry: Where the result goes; "" is `$TERRAGUILD_REGISTRY`, or the default registry.
        name, version: What to register it as; by default the experiment's name, and the next minor
            version that is free.
        license: SPDX identifier of the licence of the weights; "" is not stated.
        max_drop: By how much it may be worse than the version that it replaces.
        register_every: Register after so many rounds, too; 0 is only at the end.
        start: Registered specialist to begin from; every node has it in its registry.
        train: `all` weights, or those of the `head` alone: the others are never sent.
        seed: Of weights, divisions, order of chips and augmentation.
        rounds: How many.
        local_epochs: Passes over its chips that a node makes in a round.
        fraction: Share of the nodes that is asked in a round.
        min_nodes: Least number of nodes; a round waits for them.
        round_timeout: Seconds after which a round goes on without those that have not answered.
        keep: Which weights are the result: of the `best` round by the nodes' held-out chips, or of
            the `last`.
        partition: How one data set is divided over simulated nodes, see `federation.partition`;
            `none` where every node holds its own.
        dirichlet_alpha: Of the division by `label`: the smaller, the more unlike.
        sensors: Sensors separated by commas: node i sees its chips as the i-th of them would. A
            sensor is its name in the catalogue, perhaps with some of its bands, such as
            `sentinel-2-l2a:B04+B03+B02`.
        normalization: By means and deviations over all nodes (`shared`: they send sums), or by
            every node's own (`local`: they send nothing).
        strategy: One of `STRATEGIES`.
        proximal_mu: Weight of FedProx's proximal term.
        server_lr: Learning rate of FedAdam.
        trim: Share that the trimmed mean leaves out at either end.
        malicious: Number of nodes that Krum and Multi-Krum are to withstand.
        local_norms: Every node goes on with its own norms (FedBN); the others' only enter the
            result.
        privacy: Differential privacy, see `federation.privacy`.
        clipping: Where updates are clipped under central privacy.
        noise_multiplier, clipping_norm: Of the Gaussian mechanism; for `central-adaptive` the norm
            is the first one.
        epsilon, delta: Of one round under `local` privacy; delta is that of all reports.
        max_epsilon: No round begins that would exceed it; 0 is no limit.
        precision: Of weights and updates on the wire, see `federation.wire`.

    Raises:
        InputError: If a value is none of those that it may be.
    """

    experiment: str = "simulated"
    overrides: str = ""
    config_dir: str = ""
    data_root: str = ""
    run_dir: str = ""
    registry: str = ""
    name: str = ""
    version: str = ""
    license: str = ""
    max_drop: float = 0.0
    register_every: int = 0
    start: str = ""
    train: str = "all"
    seed: int = 0
    rounds: int = 5
    local_epochs: int = 1
    fraction: float = 1.0
    min_nodes: int = 2
    round_timeout: float = 600.0
    keep: str = "best"
    partition: str = "location"
    dirichlet_alpha: float = 0.5
    sensors: str = ""
    normalization: str = "shared"
    strategy: str = "fedavg"
    proximal_mu: float = 0.01
    server_lr: float = 0.01
    trim: float = 0.2
    malicious: int = 1
    local_norms: bool = False
    privacy: str = "none"
    clipping: str = "server"
    noise_multiplier: float = 1.0
    clipping_norm: float = 1.0
    epsilon: float = 1.0
    delta: float = 1e-5
    max_epsilon: float = 0.0
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(
                    f"run-config {_key(name)}={getattr(self, name)!r} is not one of "
                    f"{', '.join(choices)}"
                )
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise InputError(f"run-config {_key(name)}={getattr(self, name)} is not above 0")
        for name in _SHARES:
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"run-config {_key(name)}={getattr(self, name)} is not in 0..1")
        for name in ("config_dir", "data_root", "run_dir"):
            if getattr(self, name) and not Path(getattr(self, name)).is_absolute():
                raise InputError(
                    f"run-config {_key(name)}={getattr(self, name)} is not an absolute path: "
                    "the app runs from another folder than the one it was started in"
                )
        self._check_privacy()

    def _check_privacy(self) -> None:
        if self.privacy == "none":
            return
        if self.normalization == "shared":
            raise InputError(
                "run-config normalization=shared sends sums of pixels, which no noise protects; "
                f"with privacy={self.privacy} give normalization=local"
            )
        if self.is_central and self.strategy not in ("fedavg", "fedprox"):
            raise InputError(
                f"run-config privacy={self.privacy} is accounted for means of equal weight: it "
                f"goes with strategy=fedavg or fedprox, not with {self.strategy}"
            )
        if self.privacy == "local" and not self.epsilon > 0:
            raise InputError(f"run-config epsilon={self.epsilon} is not above 0")
        if not 0 < self.delta < 1:
            raise InputError(f"run-config delta={self.delta} is not in 0..1")
        if self.is_central and self.clipping == "client" and self.precision != "float32":
            raise InputError(
                f"run-config precision={self.precision} changes updates after the nodes have "
                "clipped them, beyond what the noise is measured for; give clipping=server"
            )
        if self.local_norms:
            raise InputError(
                "run-config local-norms=true sends norms that no noise protects; without privacy "
                "it can be used"
            )

    @classmethod
    def read(cls, run_config: Mapping[str, Any]) -> Self:
        """From Flower's run-config.

        Raises:
            InputError: If a key is unknown, with the nearest known one, or a value cannot be used.
        """
        return cls._read(run_config, "run-config", ())

    def to_run_config(self) -> dict[str, Any]:
        """Inverse of `read`."""
        return {_key(name): value for name, value in asdict(self).items()}

    @property
    def hydra_overrides(self) -> list[str]:
        """The experiment and what is changed in it, in Hydra's grammar."""
        return [f"experiment={self.experiment}", *self.overrides.split(), f"seed={self.seed}"]

    @property
    def is_divided(self) -> bool:
        """Whether all nodes share one data set."""
        return self.partition != "none"

    @property
    def is_central(self) -> bool:
        """Whether the server blurs the mean of updates."""
        return self.privacy.startswith("central")

    @property
    def folder(self) -> Path:
        """Of state, record and plot."""
        return Path(self.run_dir or user_data_path("terraguild") / "federation" / self.experiment)

    def sensor_of(self, number: int) -> tuple[str, tuple[str, ...]] | None:
        """The sensor as which a node sees its chips, and names of its bands (all if none).

        None if they are not divided by sensor.
        """
        given = [entry.strip() for entry in self.sensors.split(",") if entry.strip()]
        if not given:
            return None
        sensor, _, bands = given[number % len(given)].partition(":")
        return sensor, tuple(bands.split("+")) if bands else ()


@dataclass(frozen=True, kw_only=True)
class NodeSettings(_Flat):
    """What the holder of a node decides, in its node-config; the server never sees it.

    Args:
        data_root: Folder of its data sets, absolute.
        data: Name of its data set in `configs/data`, if not the experiment's.
        overrides: As in `Settings`, for this node's data alone (`data.sensor=...`).
        config_dir: Folder of configuration groups of its own, absolute.
        registry: Where it looks for the specialist to start from.
        publish: What may be said of it in the result's card: `nothing`, or its `count` of chips.
    """

    data_root: str = ""
    data: str = ""
    overrides: str = ""
    config_dir: str = ""
    registry: str = ""
    publish: str = "nothing"

    def __post_init__(self) -> None:
        if self.publish not in ("nothing", "count"):
            raise InputError(f"node-config publish={self.publish!r} is not one of nothing, count")
        for name in ("data_root", "config_dir"):
            if getattr(self, name) and not Path(getattr(self, name)).is_absolute():
                raise InputError(
                    f"node-config {_key(name)}={getattr(self, name)} is not an absolute path"
                )

    @classmethod
    def read(cls, node_config: Mapping[str, Any]) -> Self:
        """From Flower's node-config; errors as for `Settings.read`."""
        return cls._read(node_config, "node-config", FLOWER_NODE_KEYS)


def _key(name: str) -> str:
    return name.replace("_", "-")


def _as(kind: Any, value: Any, what: str) -> Any:  # noqa: ANN401 - any scalar
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise InputError(f"{what}={value!r} is not of type {kind.__name__}")
    return value
