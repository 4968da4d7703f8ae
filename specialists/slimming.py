"""Slimming: a specialist with fewer channels, cut along torch-pruning's dependency graph.

The graph (DepGraph, arXiv 2301.12900) knows which rows and columns of which layers go with a
channel. What it does not know is that a response norm divides by the mean over its channels, so
that leaving out even silent ones changes what the others give: that is corrected here.

Shape suffixes: C channels of a hidden layer, L channels of a level.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from sensors.errors import InputError
from specialists.backbone import list_mlps
from specialists.heads import PyramidHead, build_head
from specialists.model import Specialist, build_specialist
from specialists.slimming_choices import check_slimming
from specialists.slimming_responses import Response, assume_silent, measure_responses
from specialists.tensor_files import check_tensors

Batches = Iterable[Mapping[str, Tensor]]


def slim(
    specialist: Specialist,
    ratio: float,
    *,
    scope: str = "hidden",
    importance: str = "magnitude",
    batches: Batches = (),
) -> Specialist:
    """A new specialist without the channels that matter least; the given one is left as it is.

    Args:
        specialist: On any device, frozen or not.
        ratio: Share of the channels of each layer that go, between 0 and 1; one always stays.
        scope: `hidden` cuts the hidden layer of every block, so that the pyramid is as wide as
            before, and every head and fusion on it fits. `full` cuts the pyramid, too:
            `feature_info` and `spec` say how wide it is, and the specialist's own head follows.
        importance: `magnitude` of all weights of a channel, or `taylor`: weight times gradient
            (arXiv 1906.10771) of the squared answers (arXiv 1711.09601), which takes no label.
        batches: With `image` and perhaps `valid`, as the loaders here give them; labels are not
            looked at. `taylor` needs them. They also tell how loud the channels are that go, and
            so what to correct; without them, those are taken for silent.

    Returns:
        It has `spec.hidden_widths`, and in full scope `spec.stage_widths`; in evaluation mode.

    Raises:
        InputError: If the ratio is outside 0..1, there is no such scope or importance, there are no
            batches for `taylor`, or the head or the stem cannot follow.
    """
    check_slimming(ratio, scope, importance)
    if scope == "full" and specialist.spec.takes_any_known:
        raise InputError(
            "scope=full cannot cut a stem that is wavelength, whose filters are generated; take "
            "scope=hidden"
        )
    batches = list(batches)
    if importance == "taylor" and not batches:
        raise InputError("importance=taylor needs batches of chips to take gradients from")
    work = deepcopy(specialist).eval().requires_grad_(True)
    with torch.enable_grad():
        mlps = list_mlps(work.backbone)
        responses: Sequence[Response] = (
            measure_responses(work, batches) if batches else [assume_silent(mlp) for mlp in mlps]
        )
        if importance == "taylor":
            _take_gradients(work, batches)
        head, level_widths = work.head, tuple(work.feature_info.channels())
        if scope == "full" and isinstance(head, PyramidHead):
            # Means and deviations of one level side by side are more than the graph can follow.
            work.head = _LevelMeans()
        cutter = _Cutter(work, importance)
        for mlp, response in zip(mlps, responses, strict=True):
            cutter.cut_hidden(mlp, ratio, response)
        spec = replace(work.spec, hidden_widths=tuple(len(mlp.grn.weight) for mlp in mlps))
        if scope == "full":
            kept = [cutter.cut(root, ratio) for root in _level_roots(work.backbone)]
            spec = replace(spec, stage_widths=tuple(map(len, kept)))
            if isinstance(head, PyramidHead):
                work.head = head
            else:
                cutter.narrow(head, build_head(spec, spec.stage_widths, _reductions(work)))
    slimmed = build_specialist(spec).to(work.band_mean_C11.device)
    weights = work.state_dict()
    if scope == "full" and isinstance(head, PyramidHead):
        weights |= _slice_pyramid_head(head, level_widths, kept)
    check_tensors(
        weights,
        slimmed.state_dict(),
        f"the head ({type(head).__name__}) cannot follow scope={scope}; take scope=hidden",
        " where it should be",
    )
    slimmed.load_state_dict(weights)
    return slimmed.eval()


class _LevelMeans(nn.Module):
    """Stands in for a head, so that every level of the pyramid is part of the graph."""

    def forward(self, features: Sequence[Tensor], x_BCHW: Tensor) -> list[Tensor]:
        return [level.mean((2, 3)) for level in features]


class _Cutter:
    """Takes channels out of a network in place.

    Args:
        network: All weights with gradient.
        importance: `magnitude` or `taylor`.
    """

    def __init__(self, network: Specialist, importance: str) -> None:
        edge = 2 * _reductions(network)[-1]
        chip = torch.zeros(1, len(network.bands), edge, edge, device=network.band_mean_C11.device)
        norms = [mlp.grn for mlp in list_mlps(network.backbone)]
        with warnings.catch_warnings():
            # Of parameters that generate filters, and are of no width that is cut.
            warnings.filterwarnings("ignore", message="Unwrapped parameters detected")
            self.graph = tp.DependencyGraph().build_dependency(
                network,
                example_inputs=chip,
                unwrapped_parameters=[
                    (part, 0) for norm in norms for part in (norm.weight, norm.bias)
                ],
            )
        self.score = (
            tp.importance.GroupTaylorImportance(normalizer=None)
            if importance == "taylor"
            else tp.importance.GroupMagnitudeImportance(p=2, normalizer=None)
        )

    def cut(self, root: nn.Module, ratio: float) -> list[int]:
        """Take a share of a layer's outputs out, with all that goes with them; those that stay."""
        kept, dropped = self.choose(root, remaining(_outputs(root), ratio))
        self.drop(root, dropped)
        return kept

    def cut_hidden(self, mlp: Any, ratio: float, response: Response) -> None:  # noqa: ANN401
        """Cut the hidden layer of a block, so that what stays gives what it gave before."""
        kept, dropped = self.choose(mlp.fc1, remaining(_outputs(mlp.fc1), ratio))
        with torch.no_grad():
            gone = mlp.fc2.weight.flatten(1)[:, dropped] @ response.mean_C[dropped]
            mlp.fc2.bias += gone
            mlp.grn.weight *= response.correction(kept)
        self.drop(mlp.fc1, dropped)

    def narrow(self, head: nn.Module, wanted: nn.Module) -> None:
        """Make the convolutions of a head as narrow as those of a head for a narrower pyramid."""
        widths = {
            name: module.out_channels
            for name, module in wanted.named_modules()
            if isinstance(module, nn.Conv2d)
        }
        for name, module in head.named_modules():
            if isinstance(module, nn.Conv2d) and widths[name] < module.out_channels:
                _, dropped = self.choose(module, widths[name])
                self.drop(module, dropped)

    def choose(self, root: nn.Module, count: int) -> tuple[list[int], list[int]]:
        """The outputs of a layer that stay, as many as wanted, and those that go."""
        width = _outputs(root)
        importances = self.score(self._group(root, range(width)))
        order = importances.argsort(stable=True).tolist()
        return sorted(order[width - count :]), sorted(order[: width - count])

    def drop(self, root: nn.Module, dropped: Sequence[int]) -> None:
        """Take outputs of a layer out, with all that goes with them."""
        if dropped:
            self._group(root, dropped).prune()

    def _group(self, root: nn.Module, channels: Iterable[int]) -> Any:  # noqa: ANN401
        is_linear = isinstance(root, nn.Linear)
        prune = tp.prune_linear_out_channels if is_linear else tp.prune_conv_out_channels
        return self.graph.get_pruning_group(root, prune, list(channels))


def remaining(width: int, ratio: float) -> int:
    """How many channels of a layer stay; at least one."""
    return max(1, round(width * (1 - ratio)))


def _outputs(layer: Any) -> int:  # noqa: ANN401 - a convolution or a linear layer
    return len(layer.weight)


def _reductions(specialist: Specialist) -> list[int]:
    reductions: list[int] = specialist.feature_info.reduction()
    return reductions


def _level_roots(backbone: Any) -> list[nn.Module]:  # noqa: ANN401 - timm ships no types
    """The layer that begins each stage, and so decides how wide it is."""
    stages = [stage for name, stage in backbone.named_children() if name.startswith("stages_")]
    return [backbone.stem_0, *(stage.downsample[1] for stage in stages[1:])]


def _take_gradients(specialist: Specialist, batches: Batches) -> None:
    """Add up the gradients of the squared answers; of a backbone, those are its vectors."""
    specialist.zero_grad()
    for batch in batches:
        device = specialist.band_mean_C11.device
        valid = batch["valid"].to(device) if "valid" in batch else None
        specialist(batch["image"].to(device), valid=valid).square().mean().backward()


def _slice_pyramid_head(
    head: PyramidHead, level_widths: Sequence[int], kept: Sequence[Sequence[int]]
) -> dict[str, Tensor]:
    """The weights of a head that reads mean and deviation of fewer channels of each level."""
    weights, columns, offset = {}, [], 0
    for number, (width, kept_L) in enumerate(zip(level_widths, kept, strict=True)):
        pooled = [*kept_L, *(width + channel for channel in kept_L)]
        for name, values in head.norms[number].named_parameters():
            weights[f"head.norms.{number}.{name}"] = values.detach()[pooled]
        columns += [offset + place for place in pooled]
        offset += 2 * width
    is_linear = isinstance(head.hidden, nn.Identity)
    name, reader = ("fc", head.fc) if is_linear else ("hidden.0", head.get_submodule("hidden.0"))
    assert isinstance(reader, nn.Linear)
    columns += range(offset, reader.in_features)  # the bands
    weights[f"head.{name}.weight"] = reader.weight.detach()[:, columns]
    return weights
