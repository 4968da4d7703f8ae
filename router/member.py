"""A member of an ensemble: a registered specialist, frozen, and what the gate knows of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from registry import Reference, Registry, SpecialistCard
from registry.prototype import Prototype
from router.manifest import Pin
from sensors.bands import Channel
from sensors.errors import InputError
from specialists.files import load_specialist
from specialists.model import Specialist


@dataclass(frozen=True, eq=False)
class Member:
    """One specialist of an ensemble.

    Args:
        pin: Which one, exactly.
        network: Frozen; its head is taken off, since an ensemble asks for features alone.
        prototype: Where its training data lie in the trunk's space, if that is known.
    """

    pin: Pin
    network: Specialist
    prototype: Prototype | None = None

    @property
    def reference(self) -> str:
        """`name@version`."""
        return str(self.pin.reference)

    @property
    def key(self) -> str:
        """The reference in the letters that names of parameters may have."""
        return self.reference.replace(".", ":")

    @property
    def bands(self) -> tuple[Channel, ...]:
        """What it needs; of these, any one will do for a wavelength-conditioned stem."""
        return self.network.bands


def load_member(
    source: str | Reference | SpecialistCard, registry: Registry, trunk: Pin | None = None
) -> Member:
    """A registered specialist as a member.

    Args:
        source: `name`, `name@version`, or its card.
        registry: Where it is.
        trunk: The ensemble's trunk, if it has one.

    Raises:
        InputError: If it is not there or damaged, or its prototypes are all of other trunks.
    """
    reference = source.reference if isinstance(source, SpecialistCard) else source
    card = registry.specialist(reference)
    network = load_specialist(registry.weights(card.reference))
    pin = Pin(card.name, card.version, card.sha256)
    prototype = None if trunk is None else _find_prototype(card, trunk)
    return Member(pin, without_head(network), prototype)


def load_pinned_member(pin: Pin, registry: Registry) -> Member:
    """The member that a manifest names, at exactly the bytes that it pins.

    Raises:
        InputError: If the registry has no such bytes, or they were changed.
    """
    try:
        path = registry.blob(pin.sha256)
    except InputError as error:
        raise InputError(
            f"member {pin.reference} (sha256 {pin.sha256}) cannot be had from the registry "
            f"{registry.store.root}: {error}"
        ) from error
    return Member(pin, without_head(load_specialist(path)))


def without_head(network: Specialist) -> Specialist:
    """The network frozen, and without its head."""
    network.head = nn.Identity()
    return network.freeze()


def check_members(members: Iterable[Member]) -> tuple[Member, ...]:
    """Members in the order of their keys, whatever order they came in.

    Raises:
        InputError: If there is none, or one is there twice.
    """
    ordered = sorted(members, key=lambda member: member.key)
    if not ordered:
        raise InputError("an ensemble needs at least one member; name registered specialists")
    for first, second in pairwise(ordered):
        if first.reference == second.reference:
            raise InputError(f"member {first.reference} is named twice; name it once")
    return tuple(ordered)


def _find_prototype(card: SpecialistCard, trunk: Pin) -> Prototype | None:
    for prototype in card.prototypes:
        if prototype.trunk == trunk.sha256:
            return prototype
    if not card.prototypes:
        return None
    known = ", ".join(prototype.trunk[:12] for prototype in card.prototypes)
    raise InputError(
        f"member {card.reference} has prototypes of other trunks (sha256 {known}...), and the "
        f"ensemble's is {trunk.reference} ({trunk.sha256[:12]}...): take that trunk, or register "
        f"the specialist again with --trunk {trunk.reference}"
    )
