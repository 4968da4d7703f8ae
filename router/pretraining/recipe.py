"""How a trunk is pretrained: what is hidden, what completes it, what else it learns from."""

from dataclasses import dataclass, field

from sensors.errors import InputError
from specialists.recipe import LearningConfig

TARGETS = ("band", "patch", "pixel")


@dataclass
class MaskingConfig:
    """What is hidden from the trunk.

    Args:
        ratio: Share of an image's patches that is hidden; at least one is, and one is not.
        drop_bands: Probability that a training batch of two or more bands shows the trunk only some
            of them, drawn anew each time. All of them are to be completed nevertheless.
        max_bands: Of a training batch of more bands, only so many are looked at, drawn anew each
            time: the time and memory that bands take is spent on more images. None is no limit.
    """

    ratio: float = 0.75
    drop_bands: float = 0.5
    max_bands: int | None = 64

    def check(self) -> None:
        """Refuse shares and probabilities that are none.

        Raises:
            InputError: See above.
        """
        if not 0 < self.ratio < 1:
            raise InputError(f"masking.ratio {self.ratio} is not between 0 and 1")
        if not 0 <= self.drop_bands <= 1:
            raise InputError(f"masking.drop_bands {self.drop_bands} is not a probability, 0 to 1")
        if self.max_bands is not None and self.max_bands < 1:
            raise InputError(f"masking.max_bands {self.max_bands} is not 1 or more, or null")


@dataclass
class DecoderConfig:
    """The transformer that completes what was hidden; it is not part of the trunk.

    The paper's has width 512, depth 8 and 16 heads, beside a trunk of width 768.

    Args:
        width: Width of its tokens.
        depth: Number of its blocks.
        num_heads: Attention heads of a block.
    """

    width: int = 96
    depth: int = 2
    num_heads: int = 3

    def check(self) -> None:
        """Refuse sizes that no transformer has.

        Raises:
            InputError: See above.
        """
        if min(self.width, self.depth, self.num_heads) < 1:
            raise InputError(
                f"decoder: width {self.width}, depth {self.depth} and num_heads {self.num_heads} "
                "must be 1 or more"
            )
        if self.width % self.num_heads or self.width % 4:
            raise InputError(
                f"decoder.width {self.width} is not a multiple of 4 and of its {self.num_heads} "
                "attention heads"
            )


@dataclass
class DistillationConfig:
    """A published network of RGB pictures whose features the trunk's are to resemble.

    Args:
        teacher: Name of a timm model, such as `vit_base_patch16_224.augreg2_in21k_ft_in1k`; without
            one there is no distillation.
        weights: The teacher's local weight file; without it, timm fetches its published weights.
        alpha: Weight of the distillation beside the error of the reconstruction.
    """

    teacher: str | None = None
    weights: str | None = None
    alpha: float = 1.0

    def check(self) -> None:
        """Refuse weights without a teacher, and an alpha that is no weight.

        Raises:
            InputError: See above.
        """
        if self.weights is not None and self.teacher is None:
            raise InputError(
                f"distillation.weights {self.weights} are of no use without the name of their "
                "model; give distillation.teacher, too"
            )
        if not self.alpha > 0:
            raise InputError(
                f"distillation.alpha {self.alpha} is not above 0; leave distillation.teacher out "
                "for none"
            )


@dataclass
class TrunkRecipe(LearningConfig):
    """How a trunk's weights are learned, by default as in the paper (DOFA, arXiv 2403.15356).

    Args:
        lr: Highest learning rate for batches of 256 images; it is scaled with the batches' size.
        target: What the decoder is to say: pixels with mean 0 and variance 1 over a patch, each
            band of its own (`band`) or all bands together (`patch`, as in the paper), or pixels as
            the trunk gets them (`pixel`), so that it learns how bright a band is, too.
        masking: What is hidden.
        decoder: What completes it.
        distillation: What else is learned from.
    """

    epochs: int = 120
    lr: float = 1e-4
    schedule: str = "cosine"
    warmup: float = 1 / 6
    target: str = "patch"
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            InputError: If a choice is unknown or a number impossible; names it.
        """
        super().check()
        if self.target not in TARGETS:
            raise InputError(f"trainer.target {self.target!r} is not one of {', '.join(TARGETS)}")
        self.masking.check()
        self.decoder.check()
        self.distillation.check()
