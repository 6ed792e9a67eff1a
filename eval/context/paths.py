"""Edits of what the head reads inside a whole model that runs prompts, by path (sections 3 and 4).

With M = MLP0's output at a position of the prompt, an edit of M can reach the logits

- on the path MLP0 -> the head's value input alone (`value`): the head's attention pattern and the
  scales of the norms on the way stay as they are in the unedited run, and no other head or layer
  sees the edit;
- everywhere (`everywhere`): M itself is replaced and all that follows is computed again.

Either way the head's output changes, and with it the logits: **directly**, through the residual
stream straight to the unembedding, with the final norm's scale of the unedited run; and **in
total**, with everything after the edit computed again. The two are never added up.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eval.patching.operators import Operator
from lm.circuit import HeadCircuit, centred, head_circuit, unembedding
from lm.errors import OrdinalError

if TYPE_CHECKING:
    from lm.bridged import BridgedModel

MLP_OUT = "blocks.0.hook_mlp_out"
FINAL_SCALE = "ln_final.hook_scale"
Path = Literal["value", "everywhere"]
Hooks = list[tuple[str, Callable[..., Any]]]


class Intervention(Protocol):
    """What is changed while the model runs."""

    def hooks(self, model: "BridgedModel") -> Hooks:
        """Names of the bridge's hooks, and what is done there."""
        ...


@dataclass(frozen=True)
class Edit:
    """An operator applied to MLP0's output at some positions of a batch of prompts."""

    operator: Operator
    prompts: Int[Tensor, " edits"]
    """Rows of the batch."""
    positions: Int[Tensor, " edits"]
    sources: Int[Tensor, " edits"]
    """Rows of the `OrdinalTokens` that stand at these positions."""
    targets: Int[Tensor, " edits"]
    scale: float | Float[Tensor, "edits 1"] = 1.0
    random: int | None = None
    """Seed of a control: random vectors as long as the operator's, in their place."""

    def delta(self, m: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "edits d_model"]:
        """What is added to MLP0's output, which is `m` in the unedited run."""
        here = m[self.prompts, self.positions]
        given, taken = self.operator.given(self.targets), self.operator.taken(here, self.sources)
        out = self.scale * (given - taken)
        if self.random is None:
            return out
        noise = torch.randn(out.shape, generator=torch.Generator().manual_seed(self.random))
        return noise * (out.norm(dim=1) / noise.norm(dim=1))[:, None]


@dataclass(frozen=True)
class Patch:
    """Edits of MLP0's output, along one path.

    Raises:
        OrdinalError: the path is `value`, and the head's layer is the first, which does not read
            MLP0's output.
    """

    layer: int
    head: int
    path: Path
    edits: tuple[Edit, ...]
    """Where two meet at a position, what they add is added up."""

    def __post_init__(self) -> None:
        if self.path == "value" and self.layer == 0:
            raise OrdinalError(
                f"L0H{self.head} reads no MLP0 output, so there is no path from MLP0 to it to "
                "edit: choose a head of a later layer."
            )

    def hooks(self, model: "BridgedModel") -> Hooks:
        """One hook for `everywhere`; for `value`, those that read and the one that edits."""
        prompts = torch.cat([edit.prompts for edit in self.edits])
        positions = torch.cat([edit.positions for edit in self.edits])

        def delta(m: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "edits d_model"]:
            return torch.cat([edit.delta(m) for edit in self.edits])

        def replace(m: Float[Tensor, "batch pos d_model"], hook: object) -> Tensor:
            return m.index_put((prompts, positions), delta(m), accumulate=True)

        if self.path == "everywhere":
            return [(MLP_OUT, replace)]

        # The value's change goes into z by the head's own attention, not into the value itself:
        # with grouped queries other heads read the same.
        weights, info = model.attention(self.layer), model.info
        value = weights.W_V[self.head // (info.n_heads // info.n_kv_heads)]
        seen: dict[str, Tensor] = {}

        def read_m(m: Float[Tensor, "batch pos d_model"], hook: object) -> None:
            seen["delta"] = delta(m)

        def read_scale(scale: Float[Tensor, "batch pos 1"], hook: object) -> None:
            seen["scale"] = scale[prompts, positions]

        def read_pattern(pattern: Float[Tensor, "batch heads to at"], hook: object) -> None:
            seen["pattern"] = pattern[prompts, self.head, :, positions]

        def add(z: Float[Tensor, "batch pos heads d_head"], hook: object) -> Tensor:
            normed = centred(seen["delta"], model) * weights.gain / seen["scale"]
            change = seen["pattern"][:, :, None] * (normed @ value)[:, None]
            out = z.clone()
            out[:, :, self.head] = out[:, :, self.head].index_add(0, prompts, change)
            return out

        name = f"blocks.{self.layer}"
        return [
            (MLP_OUT, read_m),
            (f"{name}.ln1.hook_scale", read_scale),
            (f"{name}.attn.hook_pattern", read_pattern),
            (f"{name}.attn.hook_z", add),
        ]


@dataclass(frozen=True)
class MeanAblation:
    """A head's output at the last position, exchanged for its mean over other prompts."""

    layer: int
    head: int
    mean: Float[Tensor, " d_head"]

    def hooks(self, model: "BridgedModel") -> Hooks:
        """One hook, at the head's z."""

        def replace(z: Float[Tensor, "batch pos heads d_head"], hook: object) -> Tensor:
            out = z.clone()
            out[:, -1, self.head] = self.mean
            return out

        return [(f"blocks.{self.layer}.attn.hook_z", replace)]


@contextlib.contextmanager
def patched(model: "BridgedModel", intervention: Intervention) -> Iterator[None]:
    """Inside, `model.bridge` runs edited; afterwards, whatever happened, it is as it was.

    Raises:
        OrdinalError: the bridge has not all the hooks for this model.

    Example:
        >>> with patched(model, patch):
        ...     logits = model.bridge(ids)
    """
    with hooked(model, intervention.hooks(model)):
        yield


@contextlib.contextmanager
def hooked(model: "BridgedModel", hooks: Hooks) -> Iterator[None]:
    """`bridge.hooks`, which by itself passes over a name that it does not know.

    Raises:
        OrdinalError: the bridge has not all the hooks for this model.
    """
    missing = sorted({name for name, _ in hooks} - set(model.bridge.hook_dict))
    if missing:
        raise OrdinalError(
            f"{model.info.name} (family {model.info.family!r}) cannot be studied in context: "
            f"TransformerLens's bridge has no hook {', '.join(missing)}."
        )
    with torch.no_grad(), model.bridge.hooks(fwd_hooks=hooks):
        yield


class HeadRun(NamedTuple):
    """One unedited run of a batch of prompts, as seen from their last position."""

    logits: Float[Tensor, "prompts candidates"]
    """The model's."""
    z: Float[Tensor, "prompts d_head"]
    pattern: Float[Tensor, "prompts pos"]
    """The head's attention."""
    scale: Float[Tensor, "prompts 1"]
    """Of the final norm."""


class Effects(NamedTuple):
    """Changes of the candidates' logits at the last position."""

    direct: Float[Tensor, "prompts candidates"]
    """Through the head's output straight to the unembedding."""
    total: Float[Tensor, "prompts candidates"]
    """With everything after the edit computed again."""


@dataclass(frozen=True)
class HeadInContext:
    """One head of a model that runs prompts, and the tokens whose logits are looked at."""

    model: "BridgedModel"
    layer: int
    head: int
    candidates: Int[Tensor, " candidates"]

    @cached_property
    def circuit(self) -> HeadCircuit:
        """The head's effective OV circuit: what it makes of M(t), by the weights alone."""
        return head_circuit(self.model, self.layer, self.head, self.candidates)

    @cached_property
    def _kernel(self) -> Float[Tensor, "d_head candidates"]:
        written = self.model.attention(self.layer).W_O[self.head]
        return written @ unembedding(self.model, self.candidates).T

    def written(self, z: Float[Tensor, "prompts d_head"]) -> Float[Tensor, "prompts candidates"]:
        """The head's output through the unembedding, up to the final norm's scale."""
        return z @ self._kernel

    def run(self, ids: Int[Tensor, "prompts pos"]) -> HeadRun:
        """Run prompts of equal length, unedited.

        Raises:
            OrdinalError: the bridge has not all the hooks for this model.
        """
        attention, seen = f"blocks.{self.layer}.attn", {}
        reading: Hooks = [
            (f"{attention}.hook_z", lambda z, hook: seen.update(z=z[:, -1, self.head])),
            (f"{attention}.hook_pattern", lambda a, hook: seen.update(pattern=a[:, self.head, -1])),
            (FINAL_SCALE, lambda scale, hook: seen.update(scale=scale[:, -1])),
        ]
        with hooked(self.model, reading):
            logits = self.model.bridge(ids)[:, -1, self.candidates]
        return HeadRun(logits.float(), **seen)

    def effects(
        self, clean: HeadRun, ids: Int[Tensor, "prompts pos"], intervention: Intervention
    ) -> Effects:
        """What an intervention changes, directly and in total.

        Args:
            clean: the unedited run of the same prompts.
            ids: the prompts.
            intervention: a patch, or an ablation.
        """
        name, seen = f"blocks.{self.layer}.attn.hook_z", []
        # The hooks of one place run in their order: what is read has been edited.
        reading = (name, lambda z, hook: seen.append(z[:, -1, self.head]))
        with hooked(self.model, [*intervention.hooks(self.model), reading]):
            logits = self.model.bridge(ids)[:, -1, self.candidates].float()
        direct = self.written(seen[0] - clean.z) / clean.scale
        return Effects(direct, logits - clean.logits)
