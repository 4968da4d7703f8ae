"""Several pyramids, of different widths and reductions, become one.

`concat`: the levels of all members that ran, each normalised, times its weight, behind one another,
through a 1 x 1 convolution; computed as a sum of one projection a member, so that a member that did
not run costs nothing. Weights are multiplied by the number of members that run (`top_k`, or all
that can): 1 each where they are equal. `sum`: the gate-weighted sum of the levels themselves,
narrow ones filled up with zeros, through one convolution for all. `attention`: at every pixel, the
members' projections are weighted by how they answer to their own gate-weighted mean
(cross-attention over members).

Projections begin as random rotations drawn from the member's name: an ensemble that has learned
nothing keeps what its members say, and does not depend on their order.

Tensor shapes: B batch, b images that a member ran for, C width of a member's level, D width of the
fused level, M members, H rows, W columns.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn

from router.ensemble_spec import EnsembleSpec
from sensors.errors import InputError

TRUNK = "trunk"
"""Key of the trunk's own pyramid, which no member has: theirs hold an @."""


class Source(NamedTuple):
    """What a network gave for some images.

    Args:
        levels: (b, C_i, H_i, W_i), finest first.
        rows: Numbers of the images in the batch, (b,); None: all, in order.
        weights_b: How much it counts for each of them.
        reductions: Of its levels.
    """

    levels: Sequence[Tensor]
    rows: Tensor | None
    weights_b: Tensor
    reductions: Sequence[int]


class Fusion(nn.Module):
    """One fused pyramid from the pyramids of those that ran.

    Args:
        spec: Of the ensemble: kind, widths and reductions.
        widths: Key of every member, and `TRUNK` where there is one, to the widths and reductions of
            its levels.
    """

    shared: Any  # a ModuleList of convolutions, where the kind is `sum`
    queries: Any  # the same for `attention`

    def __init__(
        self, spec: EnsembleSpec, widths: Mapping[str, tuple[Sequence[int], Sequence[int]]]
    ) -> None:
        super().__init__()
        self.spec = spec
        self.projections = nn.ModuleDict()
        self.norms = nn.ModuleDict()
        self.bias = nn.ParameterList([torch.zeros(width) for width in spec.channels])
        if spec.fusion == "attention":
            self.queries = nn.ModuleList(_one_by_one(width, width) for width in spec.channels)
        if spec.fusion == "sum":
            taken = [self._widths(*pyramid) for pyramid in widths.values()]
            self.shared = nn.ModuleList(
                _rotation(max(of_level), width, f"shared/{level}")
                for level, (*of_level, width) in enumerate(zip(*taken, spec.channels, strict=True))
            )
        for key, (channels, reductions) in widths.items():
            self.add(key, channels, reductions)

    def add(self, key: str, channels: Sequence[int], reductions: Sequence[int]) -> None:
        """Take one more network's pyramid, from now on.

        Raises:
            InputError: If it is wider than what the one convolution of `sum` takes.
        """
        taken = self._widths(channels, reductions)
        if self.spec.fusion == "sum":
            shared = [convolution.in_channels for convolution in self.shared]
            if any(width > most for width, most in zip(taken, shared, strict=True)):
                raise InputError(
                    f"{key.replace(':', '.')} has levels of {taken} channels, and this ensemble's "
                    f"sum takes {shared} at most; compose it anew, or by fusion=concat"
                )
        else:
            self.projections[key] = nn.ModuleList(
                _rotation(width, fused, f"{key}/{level}")
                for level, (width, fused) in enumerate(zip(taken, self.spec.channels, strict=True))
            )
        self.norms[key] = nn.ModuleList(LayerNorm2d(width) for width in taken)

    def _widths(self, channels: Sequence[int], reductions: Sequence[int]) -> list[int]:
        """Widths of the levels of a pyramid that serve the fused levels."""
        return [channels[_nearest(reductions, wanted)] for wanted in self.spec.reductions]

    @torch.no_grad()
    def hand_over(self, key: str, twin: str) -> None:
        """Let a network take over another's part in `concat`, if both give the same pyramid.

        Args:
            key: Of the one that is to be removed.
            twin: Of the one that stays.
        """
        for level in range(len(self.spec.reductions)):
            gone, stays = self._norm(key, level), self._norm(twin, level)
            # Both norms begin with the same numbers, and differ by what they learned.
            ratio_C = gone.weight / stays.weight
            moved_DC = self.matrix(level, key) * ratio_C
            shift_C = gone.bias - ratio_C * stays.bias
            self.bias[level] += self.matrix(level, key) @ shift_C
            self._projection(twin, level).weight += moved_DC[:, :, None, None]

    def remove(self, key: str) -> None:
        """Forget a network."""
        for part in (self.norms, self.projections):
            if key in part:
                del part[key]
        if self.spec.fusion == "sum":
            self._narrow()

    @torch.no_grad()
    def _narrow(self) -> None:
        """Cut off what the one convolution of `sum` reads of nobody who is left."""
        for level, shared in enumerate(self.shared):
            norms: Any = self.norms.values()
            widest = max(norm[level].weight.numel() for norm in norms)
            if widest < shared.in_channels:
                narrow = _one_by_one(widest, shared.out_channels).to(shared.weight.device)
                narrow.weight.copy_(shared.weight[:, :widest])
                self.shared[level] = narrow

    def stack(
        self, sources: Mapping[str, Source], level: int, batch_size: int, size: tuple[int, int]
    ) -> Tensor:
        """What one convolution would read at a level: the fused level is linear in it.

        For `concat` the parts of all networks behind one another, in the order of `matrix`, 0 for
        images that a network did not run for; for `sum` their sum.

        Args:
            sources: Key to what it gave.
            level: Its number.
            batch_size: B.
            size: H and W.

        Returns:
            (B, C, H / r, W / r).
        """
        reduction = self.spec.reductions[level]
        grid = (size[0] // reduction, size[1] // reduction)
        parts = {key: self._bring(key, source, level, grid) for key, source in sources.items()}
        if self.spec.fusion == "sum":
            return self._sum(parts, sources, level, (batch_size, *grid))
        counts_B = self._count(sources, self.bias[level].new_zeros(batch_size, 1, 1, 1))
        behind = []
        for key in sorted(self.projections):
            width = self.matrix(level, key).shape[1]
            zeros = self.bias[level].new_zeros(batch_size, width, *grid)
            if key in parts:
                source = sources[key]
                zeros = _add(zeros, parts[key], source, self._scale(key, source, counts_B))
            behind.append(zeros)
        return torch.cat(behind, dim=1)

    def matrix(self, level: int, key: str | None = None) -> Tensor:
        """The weights (D, C) of a level that go with `stack`, those of one network or of all."""
        if self.spec.fusion == "sum":
            shared: Tensor = self.shared[level].weight
            return shared[:, :, 0, 0]
        keys = sorted(self.projections) if key is None else [key]
        weights = [self._projection(name, level).weight for name in keys]
        return torch.cat(weights, dim=1)[:, :, 0, 0]

    @torch.no_grad()
    def set_matrix(self, level: int, matrix_DC: Tensor, bias_D: Tensor) -> None:
        """Put other weights in the place of `matrix`, and of the level's bias."""
        self.bias[level].copy_(bias_D)
        if self.spec.fusion == "sum":
            self.shared[level].weight.copy_(matrix_DC[:, :, None, None])
            return
        keys = sorted(self.projections)
        widths = [self.matrix(level, key).shape[1] for key in keys]
        for key, part_DC in zip(keys, torch.split(matrix_DC, widths, dim=1), strict=True):
            self._projection(key, level).weight.copy_(part_DC[:, :, None, None])

    def forward(
        self, sources: Mapping[str, Source], batch_size: int, size: tuple[int, int]
    ) -> list[Tensor]:
        """Fused levels (B, D, H / r, W / r), finest first.

        Args:
            sources: Key to what it gave; those that did not run are not there.
            batch_size: B.
            size: H and W.
        """
        fused = []
        for level, reduction in enumerate(self.spec.reductions):
            grid = (size[0] // reduction, size[1] // reduction)
            parts = {key: self._bring(key, source, level, grid) for key, source in sources.items()}
            total = self._combine(parts, sources, level, (batch_size, *grid))
            fused.append(total + self.bias[level][:, None, None])
        return fused

    def _bring(self, key: str, source: Source, level: int, grid: tuple[int, int]) -> Tensor:
        """A network's level, normalised, on the fused grid."""
        place = _nearest(source.reductions, self.spec.reductions[level])
        part_bCHW: Tensor = self._norm(key, level)(source.levels[place])
        if part_bCHW.shape[-2:] == grid:
            return part_bCHW
        if part_bCHW.shape[-2] > grid[0]:
            return F.adaptive_avg_pool2d(part_bCHW, grid)
        return F.interpolate(part_bCHW, grid, mode="bilinear")

    def _combine(
        self,
        parts: Mapping[str, Tensor],
        sources: Mapping[str, Source],
        level: int,
        shape: tuple[int, int, int],
    ) -> Tensor:
        batch_size, height, width = shape
        if self.spec.fusion == "sum":
            mixed: Tensor = self.shared[level](self._sum(parts, sources, level, shape))
            return mixed
        projected = {key: self._project(key, part, level) for key, part in parts.items()}
        channels = self.spec.channels[level]
        total: Tensor = self.bias[level].new_zeros(batch_size, channels, height, width)
        if self.spec.fusion == "attention":
            return self._attend(projected, sources, level, total)
        counts_B = self._count(sources, total)
        for key, part in projected.items():
            source = sources[key]
            total = _add(total, part, source, self._scale(key, source, counts_B))
        return total

    def _sum(
        self,
        parts: Mapping[str, Tensor],
        sources: Mapping[str, Source],
        level: int,
        shape: tuple[int, int, int],
    ) -> Tensor:
        """Gate-weighted sum of the levels, narrow ones filled up with zeros."""
        batch_size, height, width = shape
        widest = self.shared[level].in_channels
        total: Tensor = self.bias[level].new_zeros(batch_size, widest, height, width)
        for key, part in parts.items():
            padded = F.pad(part, (0, 0, 0, 0, 0, widest - part.shape[1]))
            total = _add(total, padded, sources[key], sources[key].weights_b)
        return total

    def _scale(self, key: str, source: Source, counts_B: Tensor) -> Tensor:
        """By how much `concat` multiplies what a network says."""
        if key == TRUNK:
            return source.weights_b
        return source.weights_b * (counts_B if source.rows is None else counts_B[source.rows])

    def _count(self, sources: Mapping[str, Source], like_BDHW: Tensor) -> Tensor:
        """How many members run for each image, (B,); no more than `top_k` where that counts."""
        counts_B = like_BDHW.new_zeros(len(like_BDHW))
        for key, source in sources.items():
            if key == TRUNK:
                continue
            ran_b = torch.ones_like(source.weights_b)
            rows = source.rows
            counts_B = counts_B + ran_b if rows is None else counts_B.index_add(0, rows, ran_b)
        return counts_B if self.spec.takes_all else counts_B.clamp_max(self.spec.top_k)

    def _project(self, key: str, part: Tensor, level: int) -> Tensor:
        projected: Tensor = self._projection(key, level)(part)
        return projected

    def _norm(self, key: str, level: int) -> LayerNorm2d:
        norms = self.norms[key]
        assert isinstance(norms, nn.ModuleList)
        norm = norms[level]
        assert isinstance(norm, LayerNorm2d)
        return norm

    def _projection(self, key: str, level: int) -> nn.Conv2d:
        projections = self.projections[key]
        assert isinstance(projections, nn.ModuleList)
        projection = projections[level]
        assert isinstance(projection, nn.Conv2d)
        return projection

    def _attend(
        self,
        projected: Mapping[str, Tensor],
        sources: Mapping[str, Source],
        level: int,
        zeros_BDHW: Tensor,
    ) -> Tensor:
        mean_BDHW = zeros_BDHW
        for key, part in projected.items():
            mean_BDHW = _add(mean_BDHW, part, sources[key], sources[key].weights_b)
        query_BDHW = self.queries[level](mean_BDHW)
        answers = []
        for key, part in projected.items():
            rows, weights_b = sources[key].rows, sources[key].weights_b
            asked = query_BDHW if rows is None else query_BDHW[rows]
            answer_bHW = (asked * part).sum(1) / math.sqrt(part.shape[1])
            answer_bHW = answer_bHW + weights_b.clamp_min(1e-6).log()[:, None, None]
            absent_BHW = zeros_BDHW.new_full((len(zeros_BDHW), *part.shape[-2:]), float("-inf"))
            answers.append(
                answer_bHW if rows is None else absent_BHW.index_copy(0, rows, answer_bHW)
            )
        shares_MBHW = torch.stack(answers).softmax(0)
        total_BDHW = zeros_BDHW
        for (key, part), share_BHW in zip(projected.items(), shares_MBHW, strict=True):
            rows = sources[key].rows
            share_bHW = share_BHW if rows is None else share_BHW[rows]
            total_BDHW = _add(total_BDHW, part * share_bHW[:, None], sources[key], None)
        return total_BDHW


def _add(total_BDHW: Tensor, part_bDHW: Tensor, source: Source, weights_b: Tensor | None) -> Tensor:
    """A part, weighted, added to the images that it belongs to."""
    if weights_b is not None:
        part_bDHW = part_bDHW * weights_b[:, None, None, None]
    if source.rows is None:
        return total_BDHW + part_bDHW
    return total_BDHW.index_add(0, source.rows, part_bDHW)


def _nearest(reductions: Sequence[int], wanted: int) -> int:
    """The level whose reduction is nearest, the finer one of two."""
    return min(range(len(reductions)), key=lambda i: abs(math.log2(reductions[i] / wanted)))


def _one_by_one(width_in: int, width_out: int) -> nn.Conv2d:
    return nn.Conv2d(width_in, width_out, kernel_size=1, bias=False)


def _rotation(width_in: int, width_out: int, name: str) -> nn.Conv2d:
    """A 1 x 1 convolution that begins as a random rotation, always the same one for a name."""
    convolution = _one_by_one(width_in, width_out)
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "little")
    matrix = torch.empty(width_out, width_in)
    nn.init.orthogonal_(matrix, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        convolution.weight.copy_(matrix[:, :, None, None])
    return convolution
