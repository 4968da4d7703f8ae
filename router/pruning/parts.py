"""What is an ensemble's own, gate, fusion and head, for those of its members that stay.

Shape suffixes: N chips, n rows asked for, H rows, W columns, K outputs.
"""

from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn

from router.ensemble import Ensemble
from router.ensemble_spec import EnsembleSpec
from router.execution import View
from router.fusion import TRUNK, Source
from router.gate import Gate, Routing
from router.manifest import Pin
from router.member import Member
from router.pruning.recording import Recording
from router.task_ensemble import TaskEnsemble
from router.trunk import Trunk


class Parts(nn.Module):
    """Copies of an ensemble's own weights, which answer from what was recorded of its members.

    Args:
        network: The whole ensemble; it is left as it is.
        recording: What was recorded of its members.
    """

    def __init__(self, network: TaskEnsemble, recording: Recording) -> None:
        super().__init__()
        ensemble = network.ensemble
        self.whole = ensemble.members
        self.members = ensemble.members
        self.task = [network]  # in a list: its weights are no part of this module
        self.gate = deepcopy(ensemble.gate)
        self.fusion = deepcopy(ensemble.fusion)
        self.head = deepcopy(network.head)
        self.has_trunk = ensemble.trunk is not None
        always_M = recording.applicable_NM.all(0).tolist()
        self.always_run = {
            m.key for m, always in zip(self.members, always_M, strict=True) if always
        }
        self.eval()

    @property
    def spec(self) -> EnsembleSpec:
        """Of the ensemble that these would make."""
        return self.fusion.spec

    @property
    def references(self) -> tuple[str, ...]:
        """Of the members that are left."""
        return tuple(member.reference for member in self.members)

    def copy(self) -> "Parts":
        """The same with weights of its own; members are shared."""
        parts = Parts.__new__(Parts)
        nn.Module.__init__(parts)
        parts.whole, parts.members, parts.task = self.whole, self.members, self.task
        parts.has_trunk, parts.always_run = self.has_trunk, self.always_run
        parts.gate, parts.fusion = deepcopy(self.gate), deepcopy(self.fusion)
        parts.head = deepcopy(self.head)
        return parts.eval()

    def without(self, reference: str) -> "Parts":
        """The same without one member; nothing is learned anew.

        A copy of it that always runs beside it takes its part over, exactly.

        Where fewer are left than run for an image, fewer run. Where one alone is left, there is
        nothing to choose: the gate goes, and with it a trunk that nobody else needs: its features
        are not fused, and the member can run for every chip.

        Args:
            reference: Of a member that is there, and not alone.
        """
        parts = self.copy()
        [gone] = [member for member in self.members if member.reference == reference]
        parts.members = tuple(member for member in self.members if member is not gone)
        twin = next((m for m in parts.members if m.pin.sha256 == gone.pin.sha256), None)
        if twin is not None and self.spec.fusion == "concat" and self.spec.gate == "uniform":
            parts.fusion.hand_over(gone.key, twin.key)
        parts.gate.remove(gone.key)
        parts.fusion.remove(gone.key)
        parts._lower_top_k()
        return parts

    def _lower_top_k(self) -> None:
        count = len(self.members)
        spec = replace(self.spec, top_k=min(self.spec.top_k, count))
        if count == 1:
            spec = replace(spec, gate="uniform")
            self.gate = Gate(spec, self.members)
            is_needed = spec.trunk_features or self.members[0].key not in self.always_run
            if self.has_trunk and not is_needed:
                self.has_trunk = False
                self.fusion.remove(TRUNK)
        self.gate.spec = self.fusion.spec = spec

    def numbers(self) -> list[int]:
        """Places of the members that are left in what was recorded."""
        names = [member.key for member in self.whole]
        return [names.index(member.key) for member in self.members]

    def route(self, recording: Recording, rows_n: Tensor) -> Routing:
        """What the gate decides for some chips, over the members that are left."""
        view = recording.view
        if view is not None:
            view = View(view.vectors_BD[rows_n], view.gsd_B[rows_n], None)
        numbers = self.numbers()
        applicable = recording.applicable_NM[rows_n][:, numbers]
        routing: Routing = self.gate(view, applicable, recording.match_NM2[rows_n][:, numbers])
        return routing

    def sources(self, recording: Recording, rows_n: Tensor) -> dict[str, Source]:
        """What those of the members that run say of some chips, as `Fusion` takes it."""
        weights_BM = self.route(recording, rows_n).weights_BM
        found = {}
        for number, member in enumerate(self.members):
            running = (weights_BM[:, number] > 0).nonzero()[:, 0]
            if len(running):
                levels = recording.read(member.key, rows_n[running])
                weights_b = weights_BM[running, number]
                reductions = recording.reductions[member.key]
                found[member.key] = Source(levels, running, weights_b, reductions)
        alone = (weights_BM <= 0).all(1).nonzero()[:, 0]
        if self.has_trunk and (self.spec.trunk_features or len(alone)):
            rows = torch.arange(len(rows_n)) if self.spec.trunk_features else alone
            levels, ones = recording.read(TRUNK, rows_n[rows]), torch.ones(len(rows))
            found[TRUNK] = Source(levels, rows, ones, recording.reductions[TRUNK])
        return found

    def forward(self, recording: Recording, rows_n: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Raw outputs (n, K) or (n, K, H, W), and the fused levels they come from."""
        sources = self.sources(recording, rows_n)
        levels = self.fusion(sources, len(rows_n), recording.size)
        if recording.image is None:
            image = torch.empty(len(rows_n), 0, *recording.chip_size)
        else:
            image = recording.image[rows_n]
        outputs: Tensor = self.head(levels, image)
        return outputs, levels

    def answer(self, recording: Recording, rows_n: Tensor) -> tuple[Tensor, Tensor]:
        """Raw outputs, and what `TaskNetwork.predict` makes of them."""
        outputs, _ = self(recording, rows_n)
        return outputs, self.task[0].interpret(outputs)

    def to_network(self, trunk: tuple[Trunk, Pin] | None) -> TaskEnsemble:
        """The ensemble with the members that are left, which are shared, not copied.

        Args:
            trunk: That of the whole ensemble.
        """
        members: tuple[Member, ...] = self.members
        ensemble = Ensemble(self.spec, members, trunk if self.has_trunk else None)
        network = TaskEnsemble(ensemble, self.task[0].spec)
        ensemble.gate.load_state_dict(self.gate.state_dict())
        ensemble.fusion.load_state_dict(self.fusion.state_dict())
        network.head.load_state_dict(self.head.state_dict())
        return network.eval()
