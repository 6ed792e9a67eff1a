"""The operators that edit M(t): each takes something out of a token, and gives what a target has.

An edit of M by an operator is `M + scale (given - taken)`: `taken` is read off the token that is
edited, `given` is what the target stands for. Both are linear in what the head reads, so that all
tokens, targets and scales are a few matrix products (`edits.py`). Nothing is changed in place: the
edit is undone by reading M again.

| operator | takes | gives | scale 1 is |
|---|---|---|---|
| remove | the part in the span of the directions | that of another token of the residue | all |
| add | f_i | f_j (section 3.3: M + k (f_j - f_i)) | the contrast of the classes |
| replace | the part in the span of the directions | the mean of that part in class j | all |
| clamp | the latents of all residues, the SAE's error kept | latent j at its class's mean | all |
| swap | the index part P_N M (section 3) | P_N M of the target's index in another domain | all |
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from eval.patching.subspaces import span
from features.directions import ResidueDirections
from sae.autoencoder import SAE
from training.activations import Activations

RANK_HOLDS = 0.99
"""Share of the variance of P_N M that its rank is counted to."""


class Operator(Protocol):
    """What edits M(t), bound to the directions of one member and to the tokens."""

    @property
    def name(self) -> str:
        """`remove`, `add`, `replace`, `clamp` or `swap`."""
        ...

    @property
    def directions(self) -> ResidueDirections:
        """Whose source and held-out tokens the edits are reported under."""
        ...

    @property
    def unseen(self) -> str:
        """Which end of an edit the operator must not have been fitted on: `source` or `target`."""
        ...

    @property
    def rank(self) -> int:
        """Dimensions that an edit moves M in."""
        ...

    def taken(
        self, m: Float[Tensor, "edits d_model"], rows: Int[Tensor, " edits"]
    ) -> Float[Tensor, "edits d_model"]:
        """What the edit takes out of M.

        Args:
            m: of the tokens that are edited; in context, MLP0's output there.
            rows: of the same tokens in the `OrdinalTokens`.
        """
        ...

    def given(self, rows: Int[Tensor, " edits"]) -> Float[Tensor, "edits d_model"]:
        """What the edit puts in: of the targets, rows of the `OrdinalTokens`."""
        ...

    def can_give(self) -> Bool[Tensor, " tokens"]:
        """The tokens that may be targets."""
        ...


def edited(
    operator: Operator,
    m: Float[Tensor, "edits d_model"],
    sources: Int[Tensor, " edits"],
    targets: Int[Tensor, " edits"],
    scale: float = 1.0,
) -> Float[Tensor, "edits d_model"]:
    """M after the edit; M itself at scale 0."""
    return m + scale * (operator.given(targets) - operator.taken(m, sources))


@dataclass(frozen=True)
class _OfResidues:
    """An operator whose targets are residues."""

    directions: ResidueDirections
    activations: Activations

    unseen = "source"

    @cached_property
    def residue(self) -> Int[Tensor, " tokens"]:
        index = self.activations.tokens.table["index"].to_numpy()
        return torch.tensor(index % self.directions.modulus)

    @cached_property
    def fitted_numbers(self) -> Int[Tensor, " numbers"]:
        """Rows of the numbers that the directions were fitted on."""
        numbers = torch.tensor((self.activations.tokens.table["task"] == "numbers").to_numpy())
        return torch.nonzero(numbers & ~self.directions.held_out)[:, 0]

    @cached_property
    def basis(self) -> Float[Tensor, "d_model rank"]:
        return span(self.directions.vectors)

    @property
    def rank(self) -> int:
        return self.basis.shape[1]

    def can_give(self) -> Bool[Tensor, " tokens"]:
        return torch.ones(len(self.residue), dtype=torch.bool)

    def class_means(self, values: Float[Tensor, "numbers d"]) -> Float[Tensor, "modulus d"]:
        """Mean of the fitted numbers' values in each residue class."""
        member = torch.nn.functional.one_hot(
            self.residue[self.fitted_numbers], self.directions.modulus
        ).to(values.dtype)
        return (member.T @ values) / member.sum(0)[:, None]


@dataclass(frozen=True)
class Add(_OfResidues):
    """`M + k (f_j - f_i)` (section 3.3), with k in class contrasts."""

    name = "add"

    @cached_property
    def contrast(self) -> float:
        """How far apart the classes lie along their directions: the natural unit of k."""
        along = self.activations.x[self.fitted_numbers] @ self.directions.vectors.T
        residue = self.residue[self.fitted_numbers]
        on = torch.nn.functional.one_hot(residue, self.directions.modulus).bool()
        apart = [
            along[on[:, r], r].mean() - along[~on[:, r], r].mean()
            for r in range(self.directions.modulus)
        ]
        return float(torch.stack(apart).mean())

    def taken(
        self, m: Float[Tensor, "edits d_model"], rows: Int[Tensor, " edits"]
    ) -> Float[Tensor, "edits d_model"]:
        return self.given(rows)

    def given(self, rows: Int[Tensor, " edits"]) -> Float[Tensor, "edits d_model"]:
        return self.contrast * self.directions.vectors[self.residue[rows]]


@dataclass(frozen=True)
class Remove(_OfResidues):
    """The part in the directions' span, exchanged for that of one random fitted number."""

    name = "remove"

    @cached_property
    def donors(self) -> Int[Tensor, " tokens"]:
        """For each token as a target, a random fitted number of its residue, not its own index."""
        rng = np.random.default_rng(self.directions.member)
        index = self.activations.tokens.table["index"].to_numpy()
        pool, residue = self.fitted_numbers.numpy(), self.residue.numpy()
        out = np.empty(len(residue), dtype=int)
        for r in range(self.directions.modulus):
            of_class = pool[residue[pool] == r]
            for row in np.flatnonzero(residue == r):
                others = of_class[index[of_class] != index[row]]
                out[row] = rng.choice(others if len(others) else of_class)
        return torch.tensor(out)

    def taken(
        self, m: Float[Tensor, "edits d_model"], rows: Int[Tensor, " edits"]
    ) -> Float[Tensor, "edits d_model"]:
        return (m @ self.basis) @ self.basis.T

    def given(self, rows: Int[Tensor, " edits"]) -> Float[Tensor, "edits d_model"]:
        return (self.activations.x[self.donors[rows]] @ self.basis) @ self.basis.T


@dataclass(frozen=True)
class Replace(_OfResidues):
    """The part in the directions' span, exchanged for its mean in the target's class."""

    name = "replace"

    @cached_property
    def means(self) -> Float[Tensor, "modulus d_model"]:
        return self.class_means(self.activations.x[self.fitted_numbers] @ self.basis) @ self.basis.T

    def taken(
        self, m: Float[Tensor, "edits d_model"], rows: Int[Tensor, " edits"]
    ) -> Float[Tensor, "edits d_model"]:
        return (m @ self.basis) @ self.basis.T

    def given(self, rows: Int[Tensor, " edits"]) -> Float[Tensor, "edits d_model"]:
        return self.means[self.residue[rows]]


@dataclass(frozen=True)
class Clamp(_OfResidues):
    """The latents of all residues to zero, the target's to its class's mean; the error is kept."""

    sae: SAE

    name = "clamp"

    @cached_property
    def latents(self) -> Int[Tensor, " modulus"]:
        return torch.tensor(self.directions.latents)

    @cached_property
    def levels(self) -> Float[Tensor, " modulus"]:
        """Mean activity of each residue's latent over the fitted numbers of the residue."""
        active = self.sae.encode(self.activations.x[self.fitted_numbers])[:, self.latents]
        return self.class_means(active).diagonal()

    def taken(
        self, m: Float[Tensor, "edits d_model"], rows: Int[Tensor, " edits"]
    ) -> Float[Tensor, "edits d_model"]:
        unique = self.latents.unique()  # one latent may be the best for two residues
        return self.sae.encode(m)[:, unique] @ self.sae.W_dec[unique]

    def given(self, rows: Int[Tensor, " edits"]) -> Float[Tensor, "edits d_model"]:
        residue = self.residue[rows]
        return self.levels[residue, None] * self.sae.W_dec[self.latents[residue]]


@dataclass(frozen=True)
class Swap:
    """The index part of a token exchanged for that of the target's index in another domain.

    A domain is a task in one spelling. The donor is of another task where one has the index, else
    in another spelling, and never the target itself. P_N is fitted without the tokens held out,
    and only edits to those are reported: the pair of index and domain is not in the fit.
    """

    directions: ResidueDirections
    """Source `projections`: only its held-out tokens and its modulus count."""
    activations: Activations
    project: Float[Tensor, "d_model d_model"]
    """P_N for row vectors (or the projector of a random subspace, as a control)."""
    donors: Int[Tensor, " tokens"]
    """By target, the row that gives; -1 where there is none."""

    name, unseen = "swap", "target"

    @property
    def rank(self) -> int:
        """Dimensions that hold 99% of the variance of P_N M over the fitted tokens."""
        return self._rank

    @cached_property
    def _rank(self) -> int:
        fitted = self.activations.x[~self.directions.held_out]
        size = torch.linalg.svdvals((fitted - fitted.mean(0)) @ self.project) ** 2
        return int((size.cumsum(0) < RANK_HOLDS * size.sum()).sum()) + 1

    def taken(
        self, m: Float[Tensor, "edits d_model"], rows: Int[Tensor, " edits"]
    ) -> Float[Tensor, "edits d_model"]:
        return m @ self.project

    def given(self, rows: Int[Tensor, " edits"]) -> Float[Tensor, "edits d_model"]:
        return self.activations.x[self.donors[rows]] @ self.project

    def can_give(self) -> Bool[Tensor, " tokens"]:
        return self.donors >= 0
