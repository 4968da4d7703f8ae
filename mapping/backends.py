"""What runs the network on a batch of windows; the one place where a faster engine plugs in.

B: batch. C: the bands read. K: classes or targets. H, W: height and width of a window.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from router.task_ensemble import TaskEnsemble
from sensors.bands import Channel
from sensors.errors import InputError
from specialists.compiled import CompiledSpecialist
from specialists.model import Specialist
from specialists.network import TaskNetwork


class Backend(Protocol):
    """Turns windows into predictions; numpy in and out, so that an engine need not know torch.

    Any callable of this form will do: `predict_map(..., backend=my_engine)`.
    """

    def __call__(
        self, x_BCHW: NDArray[np.float32], valid_BCHW: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Predict a batch.

        Args:
            x_BCHW: Physical pixels of the specialist's bands, in its order; invalid ones are 0.
            valid_BCHW: Where a pixel was measured.

        Returns:
            Probabilities or target values: (B, K) for one answer a window, (B, K, H, W) for one a
            pixel.
        """
        ...


class AnyBandsBackend(Protocol):
    """The same for an ensemble, which takes those of its bands that a scene has.

    A specialist with a wavelength-conditioned stem takes the scene's bands that are like one of its
    own, and needs no `choose`.
    """

    def __call__(
        self,
        x_BCHW: NDArray[np.float32],
        valid_BCHW: NDArray[np.bool_],
        bands: Sequence[Channel],
    ) -> NDArray[np.float32]:
        """Predict a batch; `bands` says what the C layers measure."""
        ...

    def choose(
        self,
        x_BCHW: NDArray[np.float32],
        valid_BCHW: NDArray[np.bool_],
        bands: Sequence[Channel],
    ) -> NDArray[np.uint8]:
        """Who counts most in each window, (B,): a member's number, or that of all members.

        Members are numbered in the ensemble's order; the number behind the last one says that none
        of them can run. Asked only where a map of members is wanted.
        """
        ...


class TorchBackend:
    """Runs the specialist itself.

    Args:
        specialist: Put into evaluation mode and moved to the device.
        device: A torch device such as `cpu` or `cuda:1`; None takes CUDA where there is one.

    Raises:
        InputError: If there is no such device.
    """

    def __init__(self, specialist: Specialist, device: str | None = None) -> None:
        self.specialist = specialist
        self.device = _place(specialist, device)

    def __call__(
        self,
        x_BCHW: NDArray[np.float32],
        valid_BCHW: NDArray[np.bool_],
        bands: Sequence[Channel] | None = None,
    ) -> NDArray[np.float32]:
        """As `Backend` says, or with bands as `AnyBandsBackend`."""
        x = torch.from_numpy(x_BCHW).to(self.device)
        valid = torch.from_numpy(valid_BCHW).to(self.device)
        predicted = self.specialist.predict(x, bands, valid)
        probabilities: NDArray[np.float32] = predicted.cpu().numpy()
        return probabilities


class OpenVinoBackend:
    """Runs a compiled specialist, on the CPU.

    Args:
        compiled: As `specialists.compiled` and `Registry.compiled` make it.
    """

    def __init__(self, compiled: CompiledSpecialist) -> None:
        self.compiled = compiled

    def __call__(
        self, x_BCHW: NDArray[np.float32], valid_BCHW: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """As `Backend` says."""
        x, valid = torch.from_numpy(x_BCHW), torch.from_numpy(valid_BCHW)
        probabilities: NDArray[np.float32] = self.compiled.predict(x, valid=valid).numpy()
        return probabilities


class EnsembleBackend:
    """Runs the ensemble itself; arguments and errors as for `TorchBackend`."""

    def __init__(self, network: TaskEnsemble, device: str | None = None) -> None:
        self.network = network
        self.device = _place(network, device)

    def __call__(
        self,
        x_BCHW: NDArray[np.float32],
        valid_BCHW: NDArray[np.bool_],
        bands: Sequence[Channel],
    ) -> NDArray[np.float32]:
        """As `AnyBandsBackend` says."""
        x = torch.from_numpy(x_BCHW).to(self.device)
        valid = torch.from_numpy(valid_BCHW).to(self.device)
        probabilities: NDArray[np.float32] = self.network.predict(x, bands, valid).cpu().numpy()
        return probabilities

    @torch.no_grad()
    def choose(
        self,
        x_BCHW: NDArray[np.float32],
        valid_BCHW: NDArray[np.bool_],
        bands: Sequence[Channel],
    ) -> NDArray[np.uint8]:
        """As `AnyBandsBackend` says."""
        x = torch.from_numpy(x_BCHW).to(self.device)
        valid = torch.from_numpy(valid_BCHW).to(self.device)
        gsd = self.network.spec.gsd
        weights_BM = self.network.ensemble.route(x, bands, valid, gsd).weights_BM
        asked_B = weights_BM.sum(1) > 0
        best_B = weights_BM.argmax(1).where(asked_B, weights_BM.new_tensor(weights_BM.shape[1]))
        choices: NDArray[np.uint8] = best_B.to(torch.uint8).cpu().numpy()
        return choices


def choose_backend(
    network: Specialist | CompiledSpecialist | TaskEnsemble, device: str | None = None
) -> Backend | AnyBandsBackend:
    """What runs a network on a device of torch; None takes CUDA where there is one.

    Raises:
        InputError: If there is no such device, or the network does not run there.
    """
    if isinstance(network, CompiledSpecialist):
        if device not in (None, "cpu"):
            raise InputError(
                f"--device {device}: OpenVINO runs on the CPU here; leave --device out, or give "
                "--backend torch"
            )
        return OpenVinoBackend(network)
    if isinstance(network, Specialist):
        return TorchBackend(network, device)
    return EnsembleBackend(network, device)


def _place(network: TaskNetwork, device: str | None) -> torch.device:
    wanted = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(wanted)
        network.eval().to(place)
    except (RuntimeError, AssertionError) as error:  # torch says "no CUDA" by assertion
        raise InputError(f"device {wanted!r} cannot be used: {error}") from error
    return place
