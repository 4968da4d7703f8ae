"""What a chip holds, as one number."""

import hashlib
from pathlib import Path

from rasters._files import expand_sources
from rasters._packed import find_packed
from rasters._samples import Mask, Sample


class SampleDigests:
    """SHA-256 of samples and the bytes behind them; each file is read once.

    Where files lie is no part of it, so a data set may be moved.

    Args:
        settings: Everything else that decides what is read.
    """

    def __init__(self, settings: object) -> None:
        self._settings = repr(settings)
        self._files: dict[Path, str] = {}

    def of(self, sample: Sample) -> str:
        """The digest of one sample, hexadecimal.

        Raises:
            InputError: If a file of it is not there.
        """
        files = [file for source in expand_sources(sample.sources) for file in source]
        content = (
            self._settings,
            sample.id,
            sample.label,
            sample.group,
            None if sample.window is None else sample.window.flatten(),
            [(file.name, self._of_file(file)) for file in files],
            None if sample.mask is None else self._of_mask(sample.mask),
        )
        return hashlib.sha256(repr(content).encode()).hexdigest()

    def _of_mask(self, mask: Mask) -> str:
        if isinstance(mask, Path):
            return self._of_file(mask)
        return hashlib.sha256(f"{mask.dtype} {mask.shape}".encode() + mask.tobytes()).hexdigest()

    def _of_file(self, path: Path) -> str:
        packed = find_packed(path)
        if packed is not None:
            return hashlib.sha256(packed.read()).hexdigest()
        if path not in self._files:
            with path.open("rb") as file:
                self._files[path] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._files[path]
