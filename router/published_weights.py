"""DOFA's published weights in a trunk, with the conventions that they were trained by.

Three kinds of files: the authors' own of version 1 (names of the network, and of some parts of the
pretraining), TorchGeo's copies of them, and version 2 (names under `model.`).
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download
from safetensors.torch import load_file
from torch import Tensor

from router.trunk import Trunk, build_trunk
from router.trunk_spec import DOFA_V1, DOFA_V2, TRUNKS, TrunkSpec
from sensors.errors import InputError
from specialists.tensor_files import check_finite, check_tensors

# Left from pretraining or from a classifier: not part of the trunk.
_LEFT_OUT_V1: tuple[str, ...] = ("mask_token", "norm.", "projector.", "head.")
_LEFT_OUT_V2: tuple[str, ...] = ("norm.",)


def load_published(source: Path | str, file: str | None = None) -> Trunk:
    """A trunk with DOFA's published weights, in evaluation mode on the CPU.

    The weights were trained on pixels that were normalised per band over their data set: give the
    statistics of yours with `Trunk.set_statistics`. How they know radar is in their spec's
    `sar_convention`, so that bands are given as they are.

    Args:
        source: A local file (`.pth`, or `.safetensors`), or a repository of the Hugging Face Hub
            such as `earthflow/DOFA`.
        file: File in the repository, such as `dofav2_vit_base_e150.pth`.

    Raises:
        InputError: If the file cannot be had or read, or holds something else; says what differs.
    """
    path = Path(source) if file is None else _download(str(source), file)
    tensors = _read(path)
    if any(name.startswith("model.") for name in tensors):
        conventions, left_out = DOFA_V2, _LEFT_OUT_V2
    else:
        conventions, left_out = DOFA_V1, _LEFT_OUT_V1
    kept = {
        name.removeprefix("model."): tensor.float()
        for name, tensor in tensors.items()
        if not name.startswith(left_out)
    }
    spec = replace(_find_size(kept, path), **conventions)
    if spec.norm == "pooled":  # pretraining has no such norm, fine-tuned files do
        unit = {"fc_norm.weight": torch.ones(spec.width), "fc_norm.bias": torch.zeros(spec.width)}
        kept = unit | kept
    with torch.device("meta"):
        trunk = build_trunk(spec)
    check_tensors(kept, trunk.state_dict(), f"{path} does not hold a DOFA")
    check_finite(kept, str(path))
    trunk.load_state_dict(kept, assign=True)
    return trunk.eval()


def _download(repository: str, file: str) -> Path:
    try:
        return Path(hf_hub_download(repository, file))
    except Exception as error:  # no network, no such repository or file, no permission
        raise InputError(
            f"{file} of {repository} cannot be fetched from the Hugging Face Hub "
            f"({type(error).__name__}: {error!s:.300}); fetch it by hand and give the local path"
        ) from error


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(
            f"{path} is not a file; give a local .pth or .safetensors file, or a repository of the "
            "Hugging Face Hub with `file`"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a broken or foreign file makes its readers raise
        raise InputError(
            f"{path} cannot be read as weights: {type(error).__name__}: {error!s:.300}"
        ) from error
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    ):
        raise InputError(f"{path} does not hold a state dict: names and tensors only")
    return dict(content)


def _find_size(tensors: Mapping[str, Tensor], path: Path) -> TrunkSpec:
    """The size of the file's network, by its width and its number of blocks."""
    sizes = {(spec.width, spec.depth): spec for spec in TRUNKS.values()}
    depth = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
    class_token = tensors.get("cls_token", torch.empty(0))
    width = class_token.shape[-1]
    if (width, depth) not in sizes:
        known = ", ".join(f"{spec.width} x {spec.depth}" for spec in TRUNKS.values())
        raise InputError(
            f"{path} does not hold a DOFA: it has a class token of width {width} and {depth} "
            f"blocks, known are {known}"
        )
    return sizes[width, depth]
