"""What runs the network on a batch of windows; the one place where a faster engine plugs in.

B: batch. C: the specialist's bands, in its order. K: classes or targets.
H, W: height and width of a window.
"""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from sensors.errors import InputError
from specialists.model import Specialist


class Backend(Protocol):
    """Turns windows into predictions; numpy in and out, so that an engine need not know torch.

    Any callable of this form will do: `predict_map(..., backend=my_engine)`.
    """

    def __call__(
        self, x_BCHW: NDArray[np.float32], valid_BCHW: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Predict a batch.

        Args:
            x_BCHW: Physical pixels of the specialist's bands; invalid ones are 0.
            valid_BCHW: Where a pixel was measured.

        Returns:
            Probabilities or target values: (B, K) for one answer a window, (B, K, H, W) for one a
            pixel.
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
        wanted = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self.device = torch.device(wanted)
            self.specialist = specialist.eval().to(self.device)
        except (RuntimeError, AssertionError) as error:  # torch says "no CUDA" by assertion
            raise InputError(f"device {wanted!r} cannot be used: {error}") from error

    def __call__(
        self, x_BCHW: NDArray[np.float32], valid_BCHW: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """As `Backend` says."""
        x = torch.from_numpy(x_BCHW).to(self.device)
        valid = torch.from_numpy(valid_BCHW).to(self.device)
        probabilities: NDArray[np.float32] = self.specialist.predict(x, valid=valid).cpu().numpy()
        return probabilities
