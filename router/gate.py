"""The gate: which members run for an image, and how much each counts.

A routed gate compares a query, made of the trunk's vector of the image and the image's ground
sample distance, with a key for every member, made of what its card holds: the codes of its bands
from the trunk's wavelength encoder, its ground sample distance, its task, and its prototype, the
mean of the trunk's vectors over its training data. A small learned residual is added to each key.

The score is q.k - |k|^2 / 2, over the root of the width: the image's log-likelihood under a
Gaussian around each key, but for what all members share. To it comes how well the member's bands
are served, and how many of the image's bands it uses, each times a learned weight. Query and
prototype pass the same projection at first, so that an ensemble that has learned nothing sends an
image to the members whose bands fit and whose training data it resembles, and a member added later
is found in the same way.

Tensor shapes: B batch, M members, D width of the trunk, F width of a card's code, K width of keys.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from router.ensemble_spec import TRUNK_GATES, EnsembleSpec
from router.execution import View
from router.member import Member
from router.trunk import Trunk
from specialists.task_spec import TASKS
from specialists.wavelength import CODE_SIZE

_ABSENT = float("-inf")
_MATCH_WEIGHTS = (10.0, 2.0)
"""What a score gains from bands that are served perfectly, and from using all of the image's."""


class Routing(NamedTuple):
    """What the gate decided.

    Args:
        weights_BM: 0 for members that do not run; the others' sum to 1. All 0 where none can run.
        probabilities_BM: Softmax of the scores over all members that can run.
        applicable_BM: Which members can run.
    """

    weights_BM: Tensor
    probabilities_BM: Tensor
    applicable_BM: Tensor


class Gate(nn.Module):
    """Scores members, and chooses among those that can run.

    Args:
        spec: Of the ensemble.
        members: In the ensemble's order.
        trunk: The ensemble's trunk; needed by gates that look at the image.

    Attributes:
        noise: Standard deviation of the noise on scores while training, so that members that are
            second best are tried, too.
    """

    def __init__(
        self, spec: EnsembleSpec, members: Sequence[Member], trunk: Trunk | None = None
    ) -> None:
        super().__init__()
        self.spec = spec
        self.noise = 0.0
        self.scorer: nn.Module | None = None
        if spec.gate in TRUNK_GATES:
            assert trunk is not None
            self.scorer = KeyScorer(spec, members, trunk)
        elif spec.gate == "static":
            self.scorer = StaticScorer(members)

    def forward(self, view: View | None, applicable_BM: Tensor, match_BM2: Tensor) -> Routing:
        """Choose.

        Args:
            view: What the trunk saw; None for gates that do not look at the image.
            applicable_BM: bool, which members can run.
            match_BM2: How well each member's bands are served, and the share of the image's bands
                that it uses, 0 to 1 each.
        """
        if self.spec.gate == "uniform":
            scores_BM = torch.zeros_like(match_BM2[..., 0])
        elif self.spec.gate == "sensor":
            scores_BM = match_BM2 @ match_BM2.new_tensor(_MATCH_WEIGHTS)
        elif isinstance(self.scorer, StaticScorer):
            scores_BM = self.scorer().expand(len(match_BM2), -1)
        else:
            assert self.scorer is not None
            assert view is not None
            scores_BM = self.scorer(view.vectors_BD, view.gsd_B, match_BM2)
        return self._choose(scores_BM / self.spec.temperature, applicable_BM)

    def _choose(self, scores_BM: Tensor, applicable_BM: Tensor) -> Routing:
        probabilities_BM = _softmax(scores_BM, applicable_BM)
        if self.spec.takes_all or self.spec.top_k >= scores_BM.shape[1]:
            return Routing(probabilities_BM, probabilities_BM, applicable_BM)
        ranked_BM = scores_BM.detach()
        if self.training and self.noise:
            ranked_BM = ranked_BM + self.noise * torch.randn_like(ranked_BM)
        ranked_BM = ranked_BM.masked_fill(~applicable_BM, _ABSENT)
        # Sorted stably, so that the same member wins a tie every time.
        order_BM = ranked_BM.sort(dim=1, descending=True, stable=True).indices
        # One alone always weighs 1, whatever it is worth: to learn, two are compared.
        count = max(self.spec.top_k, 2) if self.training else self.spec.top_k
        best_Bk = order_BM[:, :count]
        chosen_BM = torch.zeros_like(applicable_BM).scatter(1, best_Bk, True) & applicable_BM
        if self.spec.gate == "sensor":
            scores_BM = torch.zeros_like(scores_BM)
        weights_BM = _softmax(scores_BM, chosen_BM)
        if self.training:
            # The weights of what was chosen say nothing of what was not: the gradient of the
            # probabilities goes straight through.
            shares_BM = probabilities_BM * chosen_BM
            weights_BM = weights_BM + shares_BM - shares_BM.detach()
        return Routing(weights_BM, probabilities_BM, applicable_BM)

    def add(self, member: Member, trunk: Trunk | None) -> None:
        """Know one more member, without learning anything anew."""
        if isinstance(self.scorer, KeyScorer):
            assert trunk is not None
            self.scorer.add(member, trunk)
        elif isinstance(self.scorer, StaticScorer):
            self.scorer.add(member)

    def remove(self, key: str) -> None:
        """Forget the member of this key."""
        if isinstance(self.scorer, KeyScorer | StaticScorer):
            self.scorer.remove(key)


def _softmax(scores_BM: Tensor, among_BM: Tensor) -> Tensor:
    """Softmax over some members; 0 for the others, and for all where there are none."""
    shares_BM = scores_BM.masked_fill(~among_BM, _ABSENT).softmax(1)
    return shares_BM.masked_fill(~among_BM, 0)


class StaticScorer(nn.Module):
    """One learned score a member, the same for every image."""

    def __init__(self, members: Sequence[Member]) -> None:
        super().__init__()
        self.scores = nn.ParameterDict({})
        for member in members:
            self.add(member)

    def forward(self) -> Tensor:
        """Scores (M,), members in the order of their keys."""
        return torch.stack([self.scores[key] for key in sorted(self.scores)])

    def add(self, member: Member) -> None:
        """One more member: it scores as much as the others do on average."""
        known = [value.detach() for value in self.scores.values()]
        self.scores[member.key] = nn.Parameter(
            torch.stack(known).mean() if known else torch.zeros(())
        )

    def remove(self, key: str) -> None:
        """Forget a member."""
        del self.scores[key]


class KeyScorer(nn.Module):
    """Compares an image's query with every member's key.

    Args:
        spec: Of the ensemble.
        members: In the ensemble's order. Their prototypes set the origin and scale of the trunk's
            space, once and for all.
        trunk: The trunk.
    """

    center_D: Tensor
    scale_D: Tensor

    def __init__(self, spec: EnsembleSpec, members: Sequence[Member], trunk: Trunk) -> None:
        super().__init__()
        width, key_size = trunk.num_features, spec.key_size
        center_D, scale_D = _space_of(members, width)
        self.register_buffer("center_D", center_D)
        self.register_buffer("scale_D", scale_D)
        self.query = nn.Linear(width + 2, key_size, bias=False)
        self.prototype = nn.Linear(width, key_size, bias=False)
        self.card = nn.Linear(CODE_SIZE + 2 + len(TASKS), key_size, bias=False)
        self.match = nn.Parameter(torch.tensor(_MATCH_WEIGHTS))
        self.residual = nn.ParameterDict({})
        self.prototypes = nn.ParameterDict({})
        self.cards = nn.ParameterDict({})
        with torch.no_grad():
            generator = torch.Generator().manual_seed(0)
            projection_KD = torch.empty(key_size, width)
            nn.init.orthogonal_(projection_KD, generator=generator)
            self.prototype.weight.copy_(projection_KD)
            self.query.weight.zero_()
            self.query.weight[:, :width] = projection_KD
            self.card.weight.zero_()
        for member in members:
            self.add(member, trunk)

    def add(self, member: Member, trunk: Trunk) -> None:
        """One more key, from the member's card and prototype."""
        spec = member.network.spec
        with torch.no_grad():
            codes_CE = trunk.patch_embed.encode(member.bands)
        task = F.one_hot(torch.tensor(TASKS.index(spec.task)), len(TASKS)).float()
        gsd = _encode_gsd(torch.tensor([spec.gsd]))[0]
        card_F = torch.cat([codes_CE.mean(0).cpu(), gsd, task])
        prototype = member.prototype
        mean_D = self.center_D.clone() if prototype is None else torch.tensor(prototype.mean)
        device = self.center_D.device
        self.cards[member.key] = nn.Parameter(card_F.to(device), requires_grad=False)
        self.prototypes[member.key] = nn.Parameter(mean_D.to(device), requires_grad=False)
        self.residual[member.key] = nn.Parameter(torch.zeros_like(self.query.weight[:, 0]))

    def remove(self, key: str) -> None:
        """Forget a member."""
        for part in (self.cards, self.prototypes, self.residual):
            del part[key]

    def keys(self) -> Tensor:
        """(M, K), members in the order of their keys."""
        names = sorted(self.residual)
        prototypes_MD = self._standardize(torch.stack([self.prototypes[name] for name in names]))
        cards_MF = torch.stack([self.cards[name] for name in names])
        residual_MK = torch.stack([self.residual[name] for name in names])
        keys_MK: Tensor = self.prototype(prototypes_MD) + self.card(cards_MF) + residual_MK
        return keys_MK

    def forward(self, image_BD: Tensor, gsd_B: Tensor, match_BM2: Tensor) -> Tensor:
        """Scores (B, M)."""
        image_BD = torch.cat([self._standardize(image_BD), _encode_gsd(gsd_B)], dim=1)
        query_BK, keys_MK = self.query(image_BD), self.keys()
        scores_BM: Tensor = query_BK @ keys_MK.T - keys_MK.square().sum(1) / 2
        return scores_BM / math.sqrt(keys_MK.shape[1]) + match_BM2 @ self.match

    def _standardize(self, vectors_D: Tensor) -> Tensor:
        return (vectors_D - self.center_D) / self.scale_D


def _space_of(members: Sequence[Member], width: int) -> tuple[Tensor, Tensor]:
    """Mean of the prototypes, and the spread of all their chips around it, (D,) each."""
    known = [member.prototype for member in members if member.prototype is not None]
    if not known:
        return torch.zeros(width), torch.ones(width)
    means_MD = torch.tensor([prototype.mean for prototype in known])
    spread_MD = torch.tensor([prototype.std for prototype in known])
    center_D = means_MD.mean(0)
    variance_D = (spread_MD.square() + (means_MD - center_D).square()).mean(0)
    return center_D, variance_D.sqrt().clamp_min(1e-6)


def _encode_gsd(gsd_B: Tensor) -> Tensor:
    """Octaves above 10 m, divided by 4, and whether it is known, (B, 2)."""
    known_B = gsd_B.isfinite()
    octaves_B = torch.where(known_B, gsd_B, 10.0).div(10).log2() / 4
    return torch.stack([octaves_B, known_B.float()], dim=1)
