"""What of a trunk learns with a task (DOFA, arXiv 2403.15356, sections on its evaluation)."""

from dataclasses import dataclass

from router.adapted import AdaptedTrunk
from sensors import InputError

MODES = ("linear", "partial", "full")


@dataclass
class ModeConfig:
    """What learns.

    Args:
        kind: `linear`: the head alone, on a frozen trunk. `partial`: the head and the parts named
            below. `full`: everything.
        patch_embed: For `partial`: the patch embedding learns.
        last_blocks: For `partial`: so many of the last blocks learn, and the last norm with them.
        layer_decay: From the head on, each layer of the trunk has the learning rate of the one
            behind it times this (BEiT, arXiv 2106.08254); 1: all have the same.
    """

    kind: str = "linear"
    patch_embed: bool = False
    last_blocks: int = 0
    layer_decay: float = 1.0

    def check(self) -> None:
        """Refuse what is not one of the choices, or would have no effect.

        Raises:
            InputError: Says what to change.
        """
        if self.kind not in MODES:
            raise InputError(f"mode.kind {self.kind!r} is not one of {', '.join(MODES)}")
        if self.last_blocks < 0:
            raise InputError(f"mode.last_blocks {self.last_blocks} is not a number of blocks")
        named = self.patch_embed or self.last_blocks > 0
        if named != (self.kind == "partial"):
            raise InputError(
                f"mode {self.kind} with patch_embed={self.patch_embed} and last_blocks="
                f"{self.last_blocks}: these say what learns in the mode partial, which needs one"
            )
        if not 0 < self.layer_decay <= 1:
            raise InputError(f"mode.layer_decay {self.layer_decay} is not above 0 and at most 1")
        if self.kind == "linear" and self.layer_decay != 1:
            raise InputError("mode.layer_decay: in the mode linear no layer of the trunk learns")


def choose_weights(network: AdaptedTrunk, mode: ModeConfig) -> None:
    """Let those weights learn that the mode names, and no others.

    Raises:
        InputError: If the mode is not one, or the trunk has fewer blocks.
    """
    mode.check()
    trunk = network.trunk
    if mode.last_blocks > len(trunk.blocks):
        raise InputError(
            f"mode.last_blocks {mode.last_blocks}: the trunk has {len(trunk.blocks)} blocks"
        )
    trunk.requires_grad_(mode.kind == "full")
    network.head.requires_grad_(True)
    if mode.patch_embed:
        trunk.patch_embed.requires_grad_(True)
    if mode.last_blocks:
        for module in (*trunk.blocks[-mode.last_blocks :], trunk.norm, trunk.fc_norm):
            module.requires_grad_(True)
