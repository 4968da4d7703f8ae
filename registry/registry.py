"""`Registry`: add trained specialists, find them by what they need, get them back frozen."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_data_path

from registry.card import SpecialistCard
from registry.licenses import UNSTATED, check_license
from registry.names import Reference
from registry.store import Store
from registry.weights import read_metadata
from sensors.bands import Channel
from sensors.errors import InputError
from sensors.plan import BandPlan
from specialists.header import decode_header
from specialists.spec import SpecialistSpec

if TYPE_CHECKING:
    from specialists.model import Specialist

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Registry:
    """The specialists in one folder.

    Args:
        store: Where they lie.
    """

    store: Store

    @classmethod
    def open(cls, path: str | Path | None = None) -> "Registry":
        """Open a registry; a folder that does not exist yet is an empty one.

        Args:
            path: The folder; by default `$TERRAGUILD_REGISTRY`, else one in the user's data folder.
        """
        path = path or os.environ.get("TERRAGUILD_REGISTRY")
        return cls(Store(path or user_data_path("terraguild") / "registry"))

    def add(
        self,
        source: "str | Path | Specialist",
        *,
        name: str,
        version: str,
        license: str = UNSTATED,
        description: str = "",
        parents: Sequence[str] = (),
        training: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> SpecialistCard:
        """Register a trained specialist, wholly or not at all; doubts about it are logged.

        Args:
            source: A finished run folder of `train-specialist`, or a specialist.
            name: What to register it as, such as `s2-landcover`.
            version: MAJOR.MINOR.PATCH; a version never changes once it is there.
            license: SPDX identifier of the licence of the weights, or `other`.
            description: What it is good for, in a sentence.
            parents: Models it was made from, `name@version` or `sha256:` and a hash.
            training: What `SpecialistCard.training` holds, where `source` is not a run folder.
            metrics: What `SpecialistCard.metrics` holds, where `source` is not a run folder.

        Returns:
            Its card.

        Raises:
            InputError: If the run is not finished or contradicts itself, the version is there
                already, or name, version or licence are not valid.
        """
        self.store.check_free(Reference(name, version))
        check_license(license)
        # Describing needs torch, and listing and searching are not to wait for it.
        from registry.concerns import concerns
        from registry.describe import candidate

        with candidate(source, training, metrics) as found:
            card = found.card(name, version, license, description, tuple(parents))
            item = card.to_stac_item()
            SpecialistCard.from_stac_item(item)  # what goes in must be readable when it comes out
            self.store.add(card.reference, item, {card.sha256: found.weights})
        for concern in concerns(card):
            logger.warning("%s: %s", card.reference, concern)
        return card

    def get(self, reference: str | Reference) -> "Specialist":
        """Load a specialist, frozen: hash verified, weights memory-mapped.

        Args:
            reference: `name@version`, or `name` for the highest version.

        Raises:
            InputError: If it is not there, its file was changed or damaged, or its card
                contradicts its weights.
        """
        from specialists.files import load_specialist  # as in `add`

        return load_specialist(self.weights(reference)).freeze()

    def weights(self, reference: str | Reference) -> Path:
        """The weight file of `name@version`, or of the highest version of `name`; hash verified.

        Raises:
            InputError: As for `get`.
        """
        return self._sound_weights(self.card(reference))

    def card(self, reference: str | Reference) -> SpecialistCard:
        """The card of `name@version`, or of the highest version of `name`.

        Raises:
            InputError: If it is not there or is not a valid card.
        """
        return self._read_card(self.store.resolve(reference))

    def list(self) -> tuple[SpecialistCard, ...]:
        """Cards of every version of every specialist, by name and version; no weights are read.

        Raises:
            InputError: If one of them is not a valid card.
        """
        return tuple(self._read_card(reference) for reference in self.store.references())

    def search(
        self,
        *,
        task: str | None = None,
        bands: Sequence[Channel] | None = None,
        gsd: float | None = None,
        gsd_factor: float = 2.0,
        text: str | None = None,
    ) -> tuple[SpecialistCard, ...]:
        """Cards of the specialists that meet every condition given, each in its highest version.

        Args:
            task: Its task, such as `semantic-segmentation`.
            bands: Bands at hand; every band of the specialist must be served by one of them.
            gsd: Ground sample distance at hand in metres.
            gsd_factor: How many times finer or coarser than `gsd` its own may be.
            text: Words that its name, description, classes or training data must have.

        Raises:
            InputError: If a card is not valid.
        """
        highest = {reference.name: reference for reference in self.store.references()}
        words = (text or "").lower().split()
        found = []
        for card in map(self._read_card, highest.values()):
            spec = card.spec
            if (
                (task is None or spec.task == task)
                and (gsd is None or 1 / gsd_factor <= spec.gsd / gsd <= gsd_factor)
                and all(word in _searchable(card) for word in words)
                and (bands is None or BandPlan.match(spec.bands, tuple(bands)).is_applicable)
            ):
                found.append(card)
        return tuple(found)

    def verify(self) -> dict[str, str]:
        """Check every card and every byte of weights.

        Returns:
            Reference to what is wrong with it; empty where all is sound.
        """
        problems = {}
        for reference in self.store.references():
            try:
                self._sound_weights(self._read_card(reference))
            except InputError as error:
                problems[str(reference)] = str(error)
        return problems

    def remove(self, reference: str | Reference) -> Reference:
        """Remove one version; its weights go where no other card names them.

        Args:
            reference: `name@version`.

        Returns:
            What was removed.

        Raises:
            InputError: If it is not there, or the version is left out.
        """
        found = self.store.resolve(reference)
        if str(found) != str(reference):
            raise InputError(f"name the version to remove; the highest is {found}")
        self.store.remove(found)
        return found

    def _read_card(self, found: Reference) -> SpecialistCard:
        """The card of a resolved reference."""
        item = self.store.read_card(found)
        try:
            card = SpecialistCard.from_stac_item(item)
        except InputError as error:
            raise InputError(f"{self.store.card_path(found)}: {error}") from error
        if card.reference != found:
            raise InputError(
                f"{self.store.card_path(found)}: it is the card of {card.reference}, not of {found}"
            )
        return card

    def _sound_weights(self, card: SpecialistCard) -> Path:
        """The weight file of a card, after both were compared."""
        path = self.store.read_blob(card.sha256)
        spec = decode_header(read_metadata(path), path)
        if path.stat().st_size != card.size or spec != card.spec:
            raise InputError(
                f"{self.store.card_path(card.reference)}: the card contradicts its weights {path}: "
                f"{_first_difference(card, path.stat().st_size, spec)}; restore the card"
            )
        return path


def _searchable(card: SpecialistCard) -> str:
    data = card.training["data"]
    words = (card.name, card.description, *card.spec.classes, data.get("name"), data.get("title"))
    return " ".join(str(word) for word in words if word).lower()


def _first_difference(card: SpecialistCard, size: int, spec: SpecialistSpec) -> str:
    if size != card.size:
        return f"{card.size} bytes are stated, and there are {size}"
    stated, held = card.spec.to_dict(), spec.to_dict()
    field = next(name for name in stated if stated[name] != held[name])
    return f"{field} is stated as {stated[field]!r:.200}, and is {held[field]!r:.200}"
