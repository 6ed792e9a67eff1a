"""Where a group's training stands, and the file it is kept in once a minute."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lm.errors import OrdinalError
from lm.files import replacing, write_safetensors
from training.config import TrainConfig
from training.engine import Engine
from training.inputs import Inputs
from training.metrics import MemberMetrics

FOLDER = "checkpoints"
EVERY = 60.0
"""Seconds between checkpoints."""


@dataclass
class State:
    """All that the rest of a training depends on beside the parameters and the moments.

    Random numbers are drawn from generators seeded by the member, the epoch or the step, so that
    there is no generator to keep.
    """

    step: int
    fired: Bool[Tensor, "members d_sae"]
    """Latents active since dead ones were last resampled."""
    best: Float[Tensor, " members"]
    """Least error on the rows held out for early stopping."""
    waited: Int[Tensor, " members"]
    """Reports since then."""
    kept: Float[Tensor, "members size"]
    """The parameters of then; empty without early stopping."""
    reports: list[list[MemberMetrics]] = field(default_factory=list)

    @classmethod
    def initial(cls, engine: Engine, patience: int | None) -> "State":
        flat = engine.parameters.flat
        members = len(flat)
        return cls(
            step=0,
            fired=flat.new_zeros(members, engine.parameters.d_sae, dtype=torch.bool),
            best=torch.full((members,), torch.inf),
            waited=torch.zeros(members, dtype=torch.int64),
            kept=flat.cpu().clone() if patience else torch.empty(0),
        )

    def tensors(self) -> dict[str, Tensor]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}


@dataclass
class Checkpoints:
    """The checkpoint of one group.

    It holds the reports up to its step too: a training that goes on from it tells them again, so
    what is written of them comes out the same.
    """

    path: Path | None
    """None keeps no checkpoint."""
    identity: str
    """Of the training that it belongs to."""
    every: float = EVERY
    """Seconds."""
    _last: float = field(default_factory=time.monotonic)

    def perhaps_save(self, engine: Engine, state: State) -> None:
        if time.monotonic() - self._last >= self.every:
            self.save(engine, state)

    def save(self, engine: Engine, state: State) -> None:
        if self.path is None:
            return
        tensors = {"parameters": engine.parameters.flat, "moments": engine.moments}
        tensors = {name: value.cpu() for name, value in (tensors | state.tensors()).items()}
        metadata = {
            "identity": self.identity,
            "step": str(state.step),
            "reports": json.dumps(state.reports),
        }
        with replacing(self.path) as partial:
            write_safetensors(tensors, partial, metadata)
        self._last = time.monotonic()

    def restore(self, engine: Engine) -> State | None:
        """Put the engine where the checkpoint left it; None if there is none.

        Raises:
            OrdinalError: the file is damaged, or is of another training.
        """
        if self.path is None or not self.path.exists():
            return None
        advice = f"Remove {self.path.parent} to train from the start."
        try:
            with safe_open(self.path, "pt") as file:
                header = file.metadata() or {}
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise OrdinalError(
                f"The checkpoint {self.path} is damaged ({error}). {advice}"
            ) from None
        if header.get("identity") != self.identity:
            raise OrdinalError(
                f"The checkpoint {self.path} is of a training with other settings or other "
                f"activations. {advice}"
            )
        engine.parameters.flat.copy_(found.pop("parameters"))
        engine.moments.copy_(found.pop("moments"))
        reports = [[MemberMetrics(*one) for one in row] for row in json.loads(header["reports"])]
        found["fired"] = found["fired"].to(engine.parameters.flat.device)
        return State(step=int(header["step"]), reports=reports, **found)


def identity(members: Sequence[int], config: TrainConfig, inputs: Sequence[Inputs]) -> str:
    """What a training's result depends on, as a digest."""
    settings = config.model_dump_json(exclude={"workers", "members", "device"})
    digest = hashlib.sha256(f"{list(members)} {settings}".encode())
    for fold in {id(fold): fold for fold in inputs}.values():
        for part in (fold.fit, fold.test, fold.stop, fold.origin, fold.scale):
            digest.update(part.numpy().tobytes())
    return digest.hexdigest()
