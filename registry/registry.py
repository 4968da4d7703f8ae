"""`Registry`: add trained models, find them by what they need, get specialists back frozen."""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from platformdirs import user_data_path

from registry.card import SpecialistCard
from registry.checksum import check_sha256
from registry.kinds import SPECIALIST, Card, card_from_item, check_kind, kind_of
from registry.licenses import UNSTATED, check_license
from registry.matching import has_words, serves
from registry.model_card import ModelCard
from registry.names import Reference
from registry.prototype import Prototype
from registry.soundness import find_contradiction
from registry.store import Store
from registry.variant import check_variant
from sensors.bands import Channel
from sensors.errors import InputError

if TYPE_CHECKING:
    from specialists.compiled import CompiledSpecialist
    from specialists.model import Specialist

logger = logging.getLogger(__name__)
_NOUNS = {"specialist": "a specialist", "trunk": "a trunk", "ensemble": "an ensemble"}
_OPENED_BY = {
    "specialist": "Registry.get",
    "trunk": "router.find_trunk",
    "ensemble": "router.Ensemble.load",
}


@dataclass(frozen=True)
class Registry:
    """The specialists, trunks and ensembles in one folder.

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
        prototypes: Sequence[Prototype] = (),
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
            prototypes: Where its training data lie in the spaces of trunks.

        Returns:
            Its card.

        Raises:
            InputError: If the run is not finished or contradicts itself, the version is there
                already, or name, version or licence are not valid.
        """
        self.store.check_free(Reference(name, version))
        check_license(license)
        # Describing needs torch, and listing and searching are not to wait for it.
        from registry.describe import candidate

        with candidate(source, training, metrics) as found:
            card = found.card(
                name, version, license, description, tuple(parents), tuple(prototypes)
            )
            self._add(card, found.weights)
        return card

    def add_model(self, card: ModelCard, weights: Path) -> ModelCard:
        """Register a trunk or an ensemble, wholly or not at all; doubts about it are logged.

        `router.registering` makes cards of trunks and ensembles.

        Args:
            card: Its card.
            weights: Its file.

        Returns:
            The card.

        Raises:
            InputError: If the version is there already, the card contradicts the file, or a blob
                that it pins is not in the store, or damaged.
        """
        self.store.check_free(card.reference)
        contradiction = find_contradiction(card, weights)
        if contradiction:
            raise InputError(f"{card.reference}: the card contradicts {weights}: {contradiction}")
        self._add(card, weights)
        return card

    def add_variant(
        self,
        source: str | Reference,
        compiled: "CompiledSpecialist",
        *,
        name: str,
        version: str,
        license: str = "",
        calibration: Mapping[str, Any] | None = None,
        scores: Mapping[str, Any] | None = None,
    ) -> SpecialistCard:
        """Register the compiled form of a registered specialist, wholly or not at all.

        Its card is that of the source, which is its parent, and has the same weights, so that `get`
        gives the same network; `compiled` gives what was registered here.

        Args:
            source: What it was made of.
            compiled: The compiled form.
            name: As for `add`.
            version: As for `add`.
            license: By default that of the source.
            calibration: By which chips ranges were chosen, see `registry.variant.Variant`.
            scores: Before and after, see there.

        Returns:
            Its card.

        Raises:
            InputError: If the source is not there or damaged, the compiled form is not that of its
                spec, the version is there already, or name, version or licence are not valid.
        """
        from registry.compiling import compiled_card  # as in `add`

        self.store.check_free(Reference(name, version))
        card = self.specialist(source)
        weights = self._sound_weights(card)
        named = replace(card, name=name, version=version, license=license or card.license)
        with compiled_card(named, card.reference, compiled, calibration, scores) as (made, files):
            self._add(made, weights, files)
        return made

    def _add(self, card: Card, weights: Path, files: Mapping[str, Path] | None = None) -> None:
        """Add a card with its weights, and perhaps further files by hash."""
        from registry.concerns import concerns  # as in `add`

        item = card.to_stac_item()
        card_from_item(item)  # what goes in must be readable when it comes out
        self.store.add(card.reference, item, {card.sha256: weights, **(files or {})})
        for concern in concerns(card):
            logger.warning("%s: %s", card.reference, concern)

    def get(self, reference: str | Reference) -> "Specialist":
        """Load a specialist, frozen: hash verified, weights memory-mapped.

        Args:
            reference: `name@version`, or `name` for the highest version.

        Raises:
            InputError: If it is not there or no specialist, its file was changed or damaged, or its
                card contradicts its weights.
        """
        from specialists.files import load_specialist  # as in `add`

        return load_specialist(self.weights(reference)).freeze()

    def compiled(self, reference: str | Reference) -> "CompiledSpecialist":
        """Load the compiled form of a specialist, hashes verified; see `specialists.compiled`.

        Args:
            reference: `name@version`, or `name` for the highest version.

        Raises:
            InputError: If it is not there or has no compiled form, a file was changed or damaged,
                its card contradicts it, or OpenVINO is not installed.
        """
        from registry.compiling import load_variant  # as in `add`

        return load_variant(self.store, self.specialist(reference))

    def weights(self, reference: str | Reference, kind: str = SPECIALIST) -> Path:
        """The weight file of `name@version`, or of the highest version of `name`; hash verified.

        Args:
            reference: Of the model.
            kind: What it has to be.

        Raises:
            InputError: As for `get`.
        """
        return self._sound_weights(self._of_kind(self.card(reference), kind))

    def blob(self, sha256: str) -> Path:
        """The weight file with this hash, whichever card names it; verified.

        Raises:
            InputError: If it is not there, or was changed or damaged.
        """
        return self.store.read_blob(check_sha256(sha256))

    def card(self, reference: str | Reference) -> Card:
        """The card of `name@version`, or of the highest version of `name`.

        Raises:
            InputError: If it is not there or is not a valid card.
        """
        return self._read_card(self.store.resolve(reference))

    def specialist(self, reference: str | Reference) -> SpecialistCard:
        """The card of a specialist; as `card`.

        Raises:
            InputError: As for `card`, and if it is no specialist.
        """
        card = self._of_kind(self.card(reference), SPECIALIST)
        assert isinstance(card, SpecialistCard)
        return card

    @overload
    def list(self, kind: Literal["specialist"]) -> tuple[SpecialistCard, ...]: ...
    @overload
    def list(self, kind: str | None = None) -> tuple[Card, ...]: ...
    def list(self, kind: str | None = None) -> tuple[Card, ...]:
        """Cards of every version of every model, by name and version; no weights are read.

        Args:
            kind: Only these: `specialist`, `trunk` or `ensemble`.

        Raises:
            InputError: If one of them is not a valid card, or there is no such kind.
        """
        return self._cards(self.store.references(), kind)

    @overload
    def search(
        self,
        *,
        task: str | None = None,
        bands: Sequence[Channel] | None = None,
        gsd: float | None = None,
        gsd_factor: float = 2.0,
        text: str | None = None,
        kind: Literal["specialist"] = "specialist",
    ) -> tuple[SpecialistCard, ...]: ...
    @overload
    def search(
        self,
        *,
        task: str | None = None,
        bands: Sequence[Channel] | None = None,
        gsd: float | None = None,
        gsd_factor: float = 2.0,
        text: str | None = None,
        kind: str | None,
    ) -> tuple[Card, ...]: ...
    def search(
        self,
        *,
        task: str | None = None,
        bands: Sequence[Channel] | None = None,
        gsd: float | None = None,
        gsd_factor: float = 2.0,
        text: str | None = None,
        kind: str | None = SPECIALIST,
    ) -> tuple[Card, ...]:
        """Cards of the models that meet every condition given, each in its highest version.

        A trunk and an ensemble without a task take any bands and any GSD.

        Args:
            task: Its task, such as `semantic-segmentation`.
            bands: Bands at hand; every band of the model must be served by one of them.
            gsd: Ground sample distance at hand in metres.
            gsd_factor: How many times finer or coarser than `gsd` its own may be.
            text: Words that its name, description, classes or training data must have.
            kind: `specialist`, `trunk`, `ensemble`, or None for all of them.

        Raises:
            InputError: If a card is not valid, or there is no such kind.
        """
        highest = {reference.name: reference for reference in self.store.references()}
        words = (text or "").lower().split()
        return tuple(
            card
            for card in self._cards(highest.values(), kind)
            if serves(card, task, bands, gsd, gsd_factor) and has_words(card, words)
        )

    def verify(self) -> dict[str, str]:
        """Check every card and every byte of weights, those that a card pins included.

        Returns:
            Reference to what is wrong with it; empty where all is sound.
        """
        problems = {}
        for reference in self.store.references():
            try:
                card = self._read_card(reference)
                self._sound_weights(card)
                if isinstance(card, ModelCard):
                    self._check_pins(card)
                else:
                    check_variant(self.store, card)
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

    def _cards(self, references: Iterable[Reference], kind: str | None) -> tuple[Card, ...]:
        check_kind(kind)
        cards = map(self._read_card, references)
        return tuple(card for card in cards if kind in (None, kind_of(card)))

    def _read_card(self, found: Reference) -> Card:
        """The card of a resolved reference."""
        item = self.store.read_card(found)
        try:
            card = card_from_item(item)
        except InputError as error:
            raise InputError(f"{self.store.card_path(found)}: {error}") from error
        if card.reference != found:
            raise InputError(
                f"{self.store.card_path(found)}: it is the card of {card.reference}, not of {found}"
            )
        return card

    def _of_kind(self, card: Card, wanted: str) -> Card:
        """The card, if it is of this kind."""
        kind = kind_of(card)
        if kind == wanted:
            return card
        raise InputError(
            f"{card.reference} is {_NOUNS[kind]}, not {_NOUNS[wanted]}: open it by "
            f"{_OPENED_BY[kind]}"
        )

    def _sound_weights(self, card: Card) -> Path:
        """The weight file of a card, after both were compared."""
        path = self.store.read_blob(card.sha256)
        contradiction = find_contradiction(card, path)
        if contradiction:
            raise InputError(
                f"{self.store.card_path(card.reference)}: the card contradicts its weights {path}: "
                f"{contradiction}; restore the card"
            )
        return path

    def _check_pins(self, card: ModelCard) -> None:
        """Refuse a card with a pin whose blob is not there or damaged."""
        for label, sha256 in card.pinned.items():
            try:
                self.store.read_blob(sha256)
            except InputError as error:
                raise InputError(f"pinned {label}: {error}") from error
