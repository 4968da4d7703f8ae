"""Where a pretraining starts: random weights of a size, or a trunk that was pretrained before."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.checksum import file_sha256
from router.find import find_trunk, find_trunk_file, find_trunk_spec
from router.pretraining.decoder import TrunkDecoder
from router.trunk import Trunk, build_trunk
from router.trunk_spec import TrunkSpec
from specialists.run import RunFolder
from specialists.tensor_files import check_finite, check_tensors, open_tensors, write_tensors

DECODER_KEY = "decoder"


@dataclass(frozen=True)
class Start:
    """Where a pretraining starts.

    Args:
        spec: Of the trunk, as it starts.
        file: Its weights; None for random ones.
        run: The pretraining that they are from, as far as its folder is there.
    """

    spec: TrunkSpec
    file: Path | None = None
    run: RunFolder | None = None

    def build(self, spec: TrunkSpec) -> Trunk:
        """The trunk with these weights.

        Args:
            spec: `spec`, perhaps with statistics of further bands.

        Raises:
            InputError: If the file is broken.
        """
        trunk = build_trunk(spec)
        if self.file is not None:
            trunk.load_state_dict(find_trunk(str(self.file)).state_dict())
        return trunk

    @property
    def decoder_file(self) -> Path | None:
        """Where the earlier pretraining left its decoder."""
        return None if self.run is None else decoder_file(self.run)

    def load_decoder(self, decoder: TrunkDecoder) -> None:
        """Give a decoder the weights that it had in the earlier pretraining, if that is known.

        Raises:
            InputError: If their file is broken or of another decoder.
        """
        if self.decoder_file is None:
            return
        with open_tensors(self.decoder_file) as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        check_finite(tensors, str(self.decoder_file))
        check_tensors(
            tensors,
            decoder.state_dict(),
            f"{self.decoder_file} is not of trainer.decoder; give it the size that it has in "
            f"{self.decoder_file.with_name('config.yaml')}",
        )
        decoder.load_state_dict(tensors)

    def earlier_sources(self) -> list[str]:
        """Names of the sources that these weights learned from, as far as it is recorded."""
        return [] if self.run is None else learned_sources(self.run.read_json("training.json"))

    def describe(self) -> dict[str, Any] | None:
        """For the record; None for random weights."""
        if self.file is None:
            return None
        return {
            "file": self.file.name,
            "sha256": file_sha256(self.file),
            "sources": self.earlier_sources(),
        }


def find_start(trunk: str) -> Start:
    """Look up what a configuration names as `trunk`.

    Args:
        trunk: As for `router.find_trunk`.

    Raises:
        InputError: If there is no such trunk.
    """
    spec, file = find_trunk_spec(trunk), find_trunk_file(trunk)
    if file is None:
        return Start(spec)
    run = RunFolder(file.parent)
    is_run = file == run.weights and run.status == "finished" and decoder_file(run).exists()
    return Start(spec, file, run if is_run else None)


def learned_sources(training: dict[str, Any]) -> list[str]:
    """Names of all sources that a trunk learned from, by the record of its last training."""
    start = training.get("start") or {"sources": []}
    now = [source["name"] for source in training["data"]["sources"] if source["weight"]]
    return list(dict.fromkeys([*start["sources"], *now]))


def save_decoder(decoder: TrunkDecoder, run: RunFolder) -> None:
    """Keep the decoder beside the trunk, for a later pretraining that goes on from it."""
    write_tensors(decoder, decoder_file(run), {DECODER_KEY: json.dumps({"format": 1})})


def decoder_file(run: RunFolder) -> Path:
    """Where a run keeps its decoder."""
    return run.path / "decoder.safetensors"
