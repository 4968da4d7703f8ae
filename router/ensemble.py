"""`Ensemble`: many frozen specialists and a router that act as one encoder.

Tensor shapes: B batch, C given bands, H rows, W columns, M members, D width of the trunk.
"""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from timm.models import FeatureInfo
from torch import Tensor, nn

from registry import Reference, Registry, SpecialistCard
from router.applicability import find_patterns, fit_members
from router.compatibility import report_doubts
from router.ensemble_spec import EnsembleSpec, check_spec, suit_members
from router.execution import Images, View, look, nobody_can, prepare_images, run_member
from router.explanation import Explanation, explain_routing
from router.find import find_trunk_pin
from router.fusion import TRUNK, Fusion, Source
from router.gate import Gate, Routing
from router.manifest import Manifest, Pin
from router.member import Member, check_members, load_member
from router.trunk import Trunk
from sensors.bands import Channel
from sensors.errors import InputError

if TYPE_CHECKING:
    from router.task_ensemble import TaskEnsemble


class Ensemble(nn.Module):
    """Members, a gate that chooses among them for every image, and the fusion of what they say.

    It keeps the contract of every feature network here: `forward_features` gives a list of
    (B, C_i, H / r_i, W / r_i), finest first, `feature_info.channels()` and
    `feature_info.reduction()` give C_i and r_i, `num_features` is the width of the coarsest level.
    It takes any bands; images of any size are padded inside to a multiple of the coarsest
    reduction, and H and W above are those of the padded image.

    Members and trunk are frozen: what learns is `gate` and `fusion`.

    Args:
        spec: What kind of gate and fusion; their weights are those of an ensemble that has learned
            nothing.
        members: In any order.
        trunk: What the gate looks through, and which registered one it is; None where the gate does
            not look at the image.

    Raises:
        InputError: If there is no member, one is there twice, `top_k` is larger than their number,
            or a trunk is needed and not given.
    """

    def __init__(
        self,
        spec: EnsembleSpec,
        members: Iterable[Member],
        trunk: tuple[Trunk, Pin] | None = None,
    ) -> None:
        super().__init__()
        self.members = check_members(members)
        check_spec(spec, len(self.members), has_trunk=trunk is not None)
        self.spec = spec
        self.networks = nn.ModuleDict({member.key: member.network for member in self.members})
        self.trunk: Trunk | None = None
        self.trunk_pin: Pin | None = None
        if trunk is not None:
            self.trunk, self.trunk_pin = trunk[0].freeze(), trunk[1]
        self.gate = Gate(spec, self.members, self.trunk)
        pyramids = {
            key: (info.channels(), info.reduction()) for key, info in self._feature_infos().items()
        }
        self.fusion = Fusion(spec, pyramids)
        levels = [
            {"num_chs": width, "reduction": reduction, "module": f"fusion.{level}"}
            for level, (width, reduction) in enumerate(
                zip(spec.channels, spec.reductions, strict=True)
            )
        ]
        self.feature_info = FeatureInfo(levels, tuple(range(len(levels))))
        self.register_state_dict_post_hook(_keep_own)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_post_hook(_forgive_frozen)  # type: ignore[no-untyped-call]

    @classmethod
    def compose(
        cls,
        members: Iterable[str | Reference | SpecialistCard],
        trunk: str | Reference | None = None,
        top_k: int = 2,
        fusion: str = "concat",
        *,
        gate: str | None = None,
        registry: Registry | None = None,
        **settings: Any,  # noqa: ANN401
    ) -> "Ensemble":
        """An ensemble of registered specialists that has learned nothing yet, ready to run.

        Args:
            members: Names, references or cards, such as `Registry.search` gives.
            trunk: Name of a registered trunk; None for gates that do not look at the image.
            top_k: Members that run for an image.
            fusion: One of `router.ensemble_spec.FUSIONS`.
            gate: One of `router.ensemble_spec.GATES`; by default `routed` with a trunk, and
                `sensor` without.
            registry: Where they are; the default one if not given.
            settings: Further fields of `EnsembleSpec`.

        Raises:
            InputError: If a member or the trunk cannot be had, there is no member, one is named
                twice, `top_k` is larger than their number, or prototypes are of another trunk.
        """
        registry = registry or Registry.open()
        found = None if trunk is None else find_trunk_pin(str(trunk), registry)
        pin = None if found is None else found[1]
        loaded = check_members(load_member(member, registry, pin) for member in members)
        gate = gate or ("sensor" if found is None else "routed")
        infos = [member.network.feature_info for member in loaded]
        spec = suit_members(infos, gate=gate, top_k=top_k, fusion=fusion, **settings)
        report_doubts([registry.specialist(member.pin.reference) for member in loaded], found)
        return cls(spec, loaded, found)

    @classmethod
    def load(cls, source: str | Path, registry: Registry | None = None) -> "Ensemble":
        """Open a saved or registered ensemble, in evaluation mode.

        Args:
            source: Its folder, a manifest in it, or its name in the registry.
            registry: Where its members and trunk are.

        Raises:
            InputError: If it is not there, or a part of it is missing, was changed, or is another
                than its manifest pins.
        """
        from router.ensemble_files import load_ensemble

        return load_ensemble(source, registry)

    def save(
        self, folder: str | Path, action: str = "compose", reasons: Sequence[str] = ()
    ) -> Manifest:
        """Write the ensemble as the next manifest of a folder, see `router.manifest`.

        Args:
            folder: Of this ensemble alone; made if it is not there.
            action: What was done, one of `router.manifest.ACTIONS`.
            reasons: Why, in sentences.

        Raises:
            InputError: If a weight is not finite, or the folder cannot be used.
        """
        from router.ensemble_files import save_ensemble

        return save_ensemble(self, folder, action, reasons)

    def fit(
        self, run_dir: str | Path, overrides: Sequence[str], registry: Registry | None = None
    ) -> "TaskEnsemble":
        """Teach a copy of it a task, by `compose-ensemble`; gate, fusion and a head learn.

        Args:
            run_dir: Folder of the run; the ensemble as it is now is saved beside it, in
                `RUN_DIR_start`. A run that was interrupted goes on, a finished one is opened.
            overrides: As on the command line, such as `data=eurosat_ms` and `trainer.epochs=40`.
            registry: Where its members and trunk are.

        Returns:
            The ensemble that learned, with its head.

        Raises:
            InputError: As for `router.composing.compose_ensemble`, and if `RUN_DIR_start` holds
                another ensemble.
        """
        from router.composing.fit import fit_ensemble

        return fit_ensemble(self, Path(run_dir), overrides, registry)

    @property
    def bands(self) -> None:
        """None: it takes any."""

    @property
    def num_features(self) -> int:
        """Width of the coarsest level."""
        return self.spec.channels[-1]

    def forward_features(
        self,
        x_BCHW: Tensor,
        bands: Sequence[Channel] | None = None,
        valid: Tensor | None = None,
        gsd: float | None = None,
        routing: Routing | None = None,
    ) -> list[Tensor]:
        """Fused pyramid, finest level first.

        An image's bands are those of `bands` that have a valid pixel in it. Members that need
        others cannot run for it; where none can, the trunk's features alone are given, with a
        warning.

        Args:
            x_BCHW: Physical pixels.
            bands: What each channel measures.
            valid: True where a pixel was measured, shape of `x_BCHW`; others, and non-finite ones,
                do not count.
            gsd: Ground sample distance of the pixels in metres; by default the bands' own.
            routing: What `route` decided for this batch, if it was asked before.

        Raises:
            InputError: If shapes do not fit together, or no member can run and there is no trunk.
        """
        images = self._prepare(x_BCHW, bands, valid)
        if routing is not None:
            return self._fuse(images, routing, None)
        return self._fuse(images, *self._route(images, gsd))

    def forward(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> list[Tensor]:
        """The same as `forward_features`."""
        return self.forward_features(x_BCHW, bands, valid)

    def route(
        self,
        x_BCHW: Tensor,
        bands: Sequence[Channel] | None = None,
        valid: Tensor | None = None,
        gsd: float | None = None,
    ) -> Routing:
        """What the gate decides, members in the order of `members`; none of them runs.

        Arguments and errors as for `forward_features`.
        """
        return self._route(self._prepare(x_BCHW, bands, valid), gsd)[0]

    def gate_weights(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None = None, valid: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Weight (B,) of every member, by reference; arguments and errors as there."""
        weights_BM = self.route(x_BCHW, bands, valid).weights_BM
        return {
            member.reference: weights_BM[:, number] for number, member in enumerate(self.members)
        }

    @torch.no_grad()
    def explain(
        self,
        x_BCHW: Tensor,
        bands: Sequence[Channel] | None = None,
        valid: Tensor | None = None,
        gsd: float | None = None,
    ) -> list[Explanation]:
        """For each image: who was asked, with what weight, who could not be, and for which band.

        Arguments and errors as for `forward_features`.
        """
        images = self._prepare(x_BCHW, bands, valid)
        routing, _ = self._route(images, gsd)
        explanations: dict[int, Explanation] = {}
        for pattern in find_patterns(images.usable_BCHW, images.bands, self.members):
            rows = range(len(x_BCHW)) if pattern.rows is None else pattern.rows.tolist()
            explanations |= {
                row: explain_routing(self.members, pattern.plans, routing, row) for row in rows
            }
        return [explanations[row] for row in range(len(x_BCHW))]

    def add(self, reference: str | Reference, registry: Registry | None = None) -> Member:
        """One more registered specialist, without learning anything anew.

        Its key follows from its card and prototype; its projection begins as every one's does.

        Raises:
            InputError: If it cannot be had, is a member already, or its prototypes are of another
                trunk.
        """
        member = load_member(reference, registry or Registry.open(), self.trunk_pin)
        members = check_members([*self.members, member])
        device = self.fusion.bias[0].device
        info = member.network.feature_info
        self.fusion.add(member.key, info.channels(), info.reduction())
        self.gate.add(member, self.trunk)
        self.networks[member.key] = member.network
        self.members = members
        self.to(device)
        return member

    def remove(self, reference: str | Reference) -> None:
        """Take a member out; nothing is learned anew, and the registry keeps it.

        Args:
            reference: `name@version`, or `name` where one member has it.

        Raises:
            InputError: If there is no such member, or too few would be left.
        """
        found = [
            member
            for member in self.members
            if str(reference) in (member.reference, member.pin.name)
        ]
        if len(found) != 1:
            names = ", ".join(member.reference for member in self.members)
            raise InputError(f"{reference} is not one member of this ensemble; it has {names}")
        left = tuple(member for member in self.members if member is not found[0])
        check_spec(self.spec, len(left), has_trunk=self.trunk is not None)
        self.members = left
        self.gate.remove(found[0].key)
        self.fusion.remove(found[0].key)
        del self.networks[found[0].key]

    def train(self, mode: bool = True) -> Self:
        """Set training mode of gate and fusion; members and trunk stay as they are."""
        super().train(mode)
        if self.trunk is not None:
            self.trunk.eval()
        return self

    def freeze(self) -> Self:
        """No gradient, and evaluation mode."""
        return self.requires_grad_(False).eval()

    def _feature_infos(self) -> dict[str, Any]:
        infos = {member.key: member.network.feature_info for member in self.members}
        return infos if self.trunk is None else infos | {TRUNK: self.trunk.feature_info}

    def _prepare(
        self, x_BCHW: Tensor, bands: Sequence[Channel] | None, valid: Tensor | None
    ) -> Images:
        return prepare_images(x_BCHW, bands, valid, self.spec.reductions[-1])

    def _route(self, images: Images, gsd: float | None) -> tuple[Routing, View | None]:
        """What the gate decides, and what the trunk saw, if it looked."""
        applicable_BM, match_BM2 = fit_members(images.usable_BCHW, images.bands, self.members)
        match_BM2 = match_BM2.to(images.x_BCHW.dtype)
        view = None
        if self.trunk is not None and self.spec.needs_trunk:
            with_levels = self.spec.trunk_features
            view = look(self.trunk, self.spec, images, gsd, with_levels=with_levels)
        routing: Routing = self.gate(view, applicable_BM, match_BM2)
        return routing, view

    def _fuse(self, images: Images, routing: Routing, view: View | None) -> list[Tensor]:
        sources: dict[str, Source] = {}
        for number, member in enumerate(self.members):
            source = run_member(member, images, routing.weights_BM[:, number])
            if source is not None:
                sources[member.key] = source
        alone = (routing.weights_BM <= 0).all(1).nonzero()[:, 0]
        if len(alone):
            text = nobody_can(self.members, images, alone)
            if self.trunk is None:
                raise InputError(
                    f"{text}\nadd a member that can, or compose the ensemble with a trunk, whose "
                    "own features are used then"
                )
            warnings.warn(f"{text}\nthe trunk's own features are used instead", stacklevel=3)
        if self.trunk is not None and (self.spec.trunk_features or len(alone)):
            rows = None if self.spec.trunk_features else alone
            sources[TRUNK] = self._see(images, rows, view)
        height, width = images.x_BCHW.shape[-2:]
        fused: list[Tensor] = self.fusion(sources, len(images.x_BCHW), (height, width))
        return fused

    def _see(self, images: Images, rows: Tensor | None, view: View | None) -> Source:
        """The trunk's own pyramid, of some images or all; it runs unless that was asked before."""
        assert self.trunk is not None
        levels = None if view is None else view.levels
        if levels is None:
            levels = look(self.trunk, self.spec, images.select(rows), with_levels=True).levels
        assert levels is not None
        weights_b = images.x_BCHW.new_ones(len(levels[0]))
        return Source(levels, rows, weights_b, self.trunk.feature_info.reduction())


def _keep_own(module: nn.Module, state: dict[str, Any], prefix: str, _: object) -> None:
    """Leave members and trunk out of a state dict: they are frozen, and pinned by their hash."""
    for name in _frozen_names(module):
        state.pop(prefix + name, None)


def _forgive_frozen(module: nn.Module, incompatible: Any) -> None:  # noqa: ANN401 - torch names no type
    """Members and trunk are not missing from a state dict."""
    frozen = tuple(f".{name}" for name in _frozen_names(module))
    left = [name for name in incompatible.missing_keys if not f".{name}".endswith(frozen)]
    incompatible.missing_keys[:] = left


def _frozen_names(ensemble: nn.Module) -> list[str]:
    """Names of the weights of members and trunk in an ensemble."""
    weights = (*ensemble.named_parameters(), *ensemble.named_buffers())
    return [name for name, _ in weights if name.startswith(("networks.", "trunk."))]
