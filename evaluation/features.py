"""Features of chips, computed once for each encoder and kept on disk.

Shape suffixes: N chips, C channels, H rows, W columns, D features, M members, K classes or targets.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import DataLoader

from evaluation._chip_views import ChipView, Transform
from evaluation._extraction import Extraction
from evaluation._feature_files import FeatureFiles
from evaluation._rows import Rows
from evaluation.encoders import LoadedEncoder
from rasters import ChipDataset
from sensors import InputError, channel_to_dict
from specialists.loading import collate

__all__ = ["Features", "Rows", "Transform", "extract_features"]


@dataclass(frozen=True, eq=False)
class Features:
    """What an encoder makes of N chips, and what is known of them.

    Args:
        ids: Name of every chip.
        groups: Group of every chip, or None.
        pooled_ND: float32: mean of every level's channels, then their standard deviations; or the
            encoder's own image vector.
        columns: Which columns are which: `mean/0`, ..., `std/3` (finest level first), or `embed`.
        levels: Feature maps float32 (N, C, H, W), finest first, read from disk where they are
            indexed; None unless they were asked for.
        targets: Class numbers (N,), flags or values (N, K), masks (N, H, W) with 255 for no label,
            or values (N, K, H, W) with NaN for none.
        gate: For ensembles, the weight of every member for each chip (N,).
        key: Name of the extraction in the cache.
        covered: Share of the levels' rows and columns that the image covers, the rest being the
            padding that the encoder needs.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...] | None
    pooled_ND: NDArray[np.float32]
    columns: dict[str, slice]
    levels: list[Rows] | None
    targets: NDArray[Any]
    gate: dict[str, NDArray[np.float32]] | None
    key: str
    covered: tuple[float, ...] = (1.0, 1.0)

    def __len__(self) -> int:
        return len(self.ids)

    def pool(self, pooling: Literal["last", "pyramid"] | str) -> NDArray[np.float32]:
        """One vector for each chip, (N, D).

        Args:
            pooling: `last`: mean of the coarsest level; `pyramid`: mean and standard deviation of
                every level. An encoder's own image vector is the answer to both.

        Raises:
            InputError: If it is neither.
        """
        if pooling not in ("last", "pyramid"):
            raise InputError(f"pooling {pooling!r} is not one of last, pyramid")
        if pooling == "pyramid" or "embed" in self.columns:
            return np.asarray(self.pooled_ND)
        last = [name for name in self.columns if name.startswith("mean/")][-1]
        return np.asarray(self.pooled_ND[:, self.columns[last]])

    def take(self, indices: ArrayLike) -> "Features":
        """The features of some chips, in the order of the indices; maps stay on disk."""
        rows = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            ids=tuple(self.ids[row] for row in rows),
            groups=None if self.groups is None else tuple(self.groups[row] for row in rows),
            pooled_ND=np.array(self.pooled_ND[rows]),
            levels=None if self.levels is None else [level.take(rows) for level in self.levels],
            targets=np.array(self.targets[rows]),
            gate=self.gate and {name: weights[rows] for name, weights in self.gate.items()},
        )


def extract_features(
    encoder: LoadedEncoder,
    chips: ChipDataset,
    *,
    cache: Path,
    dense: bool = False,
    transform: Transform | None = None,
    batch_size: int = 64,
    device: str = "cpu",
    workers: int = 0,
) -> Features:
    """The features of chips, from the cache where they are there.

    They are found again by what decides them: the chips' content, the encoder's digest, the
    transform and `dense`. An extraction that was interrupted goes on where it was. While the
    encoder works on a batch, a thread makes the next ones.

    Args:
        encoder: Its network is moved to `device`.
        chips: All of one size, unless `transform` brings them to one.
        cache: Folder of all extractions.
        dense: Keep the feature maps too.
        transform: What is done to the chips first.
        batch_size: Chips a batch.
        device: Where the encoder runs.
        workers: Processes that read chips; 0: a thread of this one.

    Raises:
        InputError: If the chips cannot be read or differ in size, a feature is not finite, or what
            the cache holds is damaged or of another format.
        MissingBandsError: If the encoder's bands are not there.
    """
    if not len(chips):
        raise InputError("there is no chip to extract features of")
    view = ChipView(chips, encoder.bands, transform or Transform())
    key = _key(encoder, view, dense)
    files = FeatureFiles(cache / key)
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{key}.lock"):
        record = files.read_record()
        if record is None or record["done"] < len(view):
            loader = DataLoader(
                view.rest(record["done"] if record else 0),
                batch_size,
                collate_fn=collate,
                num_workers=workers,
                pin_memory=torch.device(device).type == "cuda",
            )
            extraction = Extraction(encoder, view, files, dense=dense, device=device)
            record = extraction.run(record, loader)
    return _read(files, record, key)


def _key(encoder: LoadedEncoder, view: ChipView, dense: bool) -> str:
    identity = {
        "chips": view.chips.content_digest(),
        "encoder": encoder.digest,
        "transform": asdict(view.transform),
        "bands": [channel_to_dict(band) for band in view.bands],
        "dense": dense,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _read(files: FeatureFiles, record: dict[str, Any], key: str) -> Features:
    arrays = files.open(record)
    ends = np.cumsum(list(record["columns"].values())).tolist()
    levels = [Rows(array) for name, array in arrays.items() if name.startswith("level_")]
    gate_NM = arrays.get("gate")
    return Features(
        ids=tuple(record["ids"]),
        groups=None if record["groups"] is None else tuple(record["groups"]),
        pooled_ND=arrays["pooled"],
        columns={
            name: slice(end - width, end)
            for (name, width), end in zip(record["columns"].items(), ends, strict=True)
        },
        levels=levels or None,
        targets=arrays["targets"],
        gate=None
        if gate_NM is None
        else {name: np.array(gate_NM[:, m]) for m, name in enumerate(record["members"])},
        key=key,
        covered=tuple(record["covered"]),
    )
