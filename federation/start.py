"""The network that a run begins with: the same at the server and on every node."""

import torch

from federation.settings import Settings
from registry import Registry
from sensors.errors import InputError
from specialists.files import load_specialist
from specialists.model import Specialist, build_specialist
from specialists.spec import SpecialistSpec


def open_network(
    spec: SpecialistSpec, settings: Settings, registry: str = "", *, random: bool = False
) -> Specialist:
    """The network of a run as it begins.

    With `train=head`, what the nodes get from the server is the head alone: the rest comes from
    here, from the specialist that the run starts from, which every node has in its registry.

    Args:
        spec: The network.
        settings: Of the run.
        registry: Folder of the registry; "" is the default one.
        random: Whether all weights are to follow, so that it does not matter what they are.

    Raises:
        InputError: If there is no such specialist, or it is not of this spec.
    """
    torch.manual_seed(settings.seed)
    network = build_specialist(spec)
    if random or not settings.start:
        return network
    start = load_start(settings, registry)
    theirs = start.state_dict()
    for name, weight in network.state_dict().items():
        fits = name in theirs and theirs[name].shape == weight.shape
        if fits:
            weight.copy_(theirs[name])
        elif not name.startswith("head."):
            raise InputError(
                f"start={settings.start} is a {start.spec.architecture} of {len(start.bands)} "
                f"bands, and the run's network is a {spec.architecture} of {len(spec.bands)}: "
                f"{name} does not fit"
            )
    return network


def load_start(settings: Settings, registry: str = "") -> Specialist:
    """The registered specialist that a run starts from.

    Raises:
        InputError: If it is not there or damaged, or is named without its version.
    """
    if "@" not in settings.start:
        raise InputError(
            f"run-config start={settings.start}: name its version, such as {settings.start}@1.0.0, "
            "so that all nodes start from the same"
        )
    found = Registry.open(registry or settings.registry or None)
    return load_specialist(found.weights(settings.start))
