"""Fitting a group of members: schedules, batches, reports, early stopping.

The engines differ; what is asked of them, step by step, is here.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import normalize

from lm.errors import OrdinalError
from sae.architecture import Architecture
from sae.architectures import ARCHITECTURES
from sae.autoencoder import SAE
from training.checkpoint import Checkpoints, State
from training.config import TrainConfig
from training.engine import Engine, Seen
from training.frozen import keeper
from training.inputs import Inputs
from training.metrics import MemberMetrics
from training.parameters import Parameters
from training.resampling import resample, resampling_steps
from training.sparse import SparseEngine
from training.stacked import StackedEngine

REPORTS = 25
"""How often members are measured, spread evenly over their steps."""


class Stopped(Exception):
    """The training was asked to stop; its checkpoint is written."""


@dataclass(frozen=True)
class Group:
    """Members that are fitted together: one on a CPU core, all of them on a GPU."""

    members: Sequence[int]
    inputs: Sequence[Inputs]
    """Of each member; members of one fold share theirs."""
    config: TrainConfig

    @property
    def seeds(self) -> list[int]:
        return [self.config.seed + member for member in self.members]

    @property
    def batch(self) -> int | None:
        """Rows in a step, or None for all of them."""
        batch = self.config.batch
        return batch if batch != "full" and batch < min(len(x.fit) for x in self.inputs) else None


def architecture_of(config: TrainConfig) -> Architecture:
    """The architecture with its settings."""
    kind = ARCHITECTURES[config.architecture]
    return kind(**{field.name: getattr(config, field.name) for field in fields(kind)})


def fit_group(
    group: Group,
    device: str,
    checkpoints: Checkpoints,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[list[MemberMetrics] | list[SAE]]:
    """Fit a group: yields the members' metrics at each report, and the finished SAEs last.

    What was reported before a checkpoint is reported again when training goes on from it.

    Args:
        device: `cpu` for the sparse engine and a group of one, else that of the dense engine.
        stop: asked before each step.

    Raises:
        OrdinalError: a loss is no longer a number, or the checkpoint is of another training.
        Stopped: `stop` said so.
    """
    config, architecture = group.config, architecture_of(group.config)
    engine = _engine(group, architecture, device)
    keep_frozen = keeper(config.frozen, engine.parameters)
    state = checkpoints.restore(engine) or State.initial(engine, config.patience)
    yield from state.reports
    report_every = max(1, config.steps // REPORTS)
    resample_at = resampling_steps(config)
    try:
        while state.step < config.steps and not _out_of_patience(state, config).all():
            if stop():
                raise Stopped
            step = state.step + 1
            report = step % report_every == 0 or step == config.steps
            looks = _look(engine, group) if report else {}
            kept = engine.parameters.flat.clone() if report and config.patience else None
            rate = config.learning_rate * _schedule(step, config)
            seen = engine.step(_batch(group, step), _penalty(step, config), rate, step)
            state.fired |= seen.fired
            if step in resample_at:
                resample(engine, architecture, group.inputs, group.seeds, state.fired, step)
                state.fired.zero_()
            keep_frozen()
            state.step = step
            if kept is not None:
                _keep_the_best(state, config, kept, looks["stop"])
            if report and not (config.patience and step == config.steps):
                state.reports.append(_metrics(group, step, {"fit": seen, **looks}))
                yield state.reports[-1]
            checkpoints.perhaps_save(engine, state)
    except (GeneratorExit, Stopped):
        checkpoints.save(engine, state)
        raise
    checkpoints.save(engine, state)
    if config.patience:
        engine.parameters.flat.copy_(state.kept)
        looks = {"fit": engine.look("fit"), **_look(engine, group)}
        yield _metrics(group, config.steps, looks)
    yield [_finished(engine, architecture, group, i) for i in range(len(group.members))]


def _engine(group: Group, architecture: Architecture, device: str) -> Engine:
    config, names = group.config, list(architecture.latents)
    d_in, d_sae = max(fold.d_in for fold in group.inputs), config.latents
    size = Parameters.size(d_in, d_sae, names)
    flat = torch.zeros(len(group.members), size, dtype=group.inputs[0].fit.dtype)
    p = Parameters(flat, d_in, d_sae, names)
    for i, (fold, seed) in enumerate(zip(group.inputs, group.seeds, strict=True)):
        generator = torch.Generator().manual_seed(seed)
        start = torch.randn(d_sae, fold.d_in, generator=generator, dtype=flat.dtype)
        p.W_dec[i, :, : fold.d_in] = directions = normalize(start, dim=1)
        p.W_enc[i, :, : fold.d_in] = config.encoder_norm * directions
        for name, initial in architecture.latents.items():
            p.latents[name][i] = initial
        if config.start_density is not None:
            pre = fold.fit @ p.W_enc[i, :, : fold.d_in].T
            bias = next(iter(architecture.latents))
            p.latents[bias][i] -= pre.quantile(1 - config.start_density, dim=0)
    levels = config.normalisations
    if device == "cpu" and len(group.members) == 1:
        rows = group.batch or len(group.inputs[0].fit)
        bfloat16 = config.precision == "bfloat16"
        return SparseEngine(architecture, p, group.inputs[0], levels, rows=rows, bfloat16=bfloat16)
    return StackedEngine(architecture, p.like(flat.to(device)), group.inputs, levels)


def _batch(group: Group, step: int) -> Int[Tensor, "members rows"] | None:
    """The rows of a step: the tokens in a new order each epoch, one batch after the other."""
    if group.batch is None:
        return None
    return torch.stack(
        [
            _next_rows(len(fold.fit), seed, (step - 1) * group.batch, group.batch)
            for fold, seed in zip(group.inputs, group.seeds, strict=True)
        ]
    )


def _next_rows(rows: int, seed: int, start: int, count: int) -> Int[Tensor, " count"]:
    first, last = start // rows, (start + count - 1) // rows
    order = torch.cat([_epoch(rows, seed, epoch) for epoch in range(first, last + 1)])
    return order[start - first * rows :][:count]


@lru_cache(maxsize=256)
def _epoch(rows: int, seed: int, epoch: int) -> Int[Tensor, " rows"]:
    generator = torch.Generator().manual_seed((seed << 32) + epoch)
    return torch.randperm(rows, generator=generator)


def _schedule(step: int, config: TrainConfig) -> float:
    rise = step / max(1.0, config.warm_up * config.steps)
    fall = (config.steps - step) / max(1.0, config.decay * config.steps)
    return min(1.0, rise, fall)


def _penalty(step: int, config: TrainConfig) -> float:
    """Multiple of the sparsity penalty."""
    gone = min(1.0, step / max(1.0, config.sparsity_warm_up * config.steps))
    return config.sparsity_start + (1 - config.sparsity_start) * gone


def _look(engine: Engine, group: Group) -> dict[str, Seen]:
    """What a report needs beside what the step itself sees, which is from before it too."""
    wanted = {"test": True, "stop": bool(group.config.patience)}
    # Batches see too little, and coarse products are not what the finished SAE reads with.
    wanted["fit"] = group.batch is not None or group.config.precision != "float32"
    return {
        name: engine.look(name)
        for name, yes in wanted.items()
        if yes and any(len(getattr(fold, name)) for fold in group.inputs)
    }


def _metrics(group: Group, step: int, looks: dict[str, Seen]) -> list[MemberMetrics]:
    out = []
    fit, test = looks["fit"].cpu(), looks["test"].cpu() if "test" in looks else None
    for i, (member, fold) in enumerate(zip(group.members, group.inputs, strict=True)):
        loss = float(fit.square[i] + fit.penalty[i])
        if not torch.isfinite(torch.tensor(loss)):
            raise OrdinalError(
                f"Member {member} (seed {group.seeds[i]}) diverged before step {step}: its loss "
                "is not a number. Try a tenth of the learning rate "
                f"(learning_rate: {group.config.learning_rate / 10:g})."
            )

        def unexplained(seen: Seen, rows: int, outside: Tensor, at: int, i=i, fold=fold) -> float:
            error = float(seen.square[i]) * rows + float(outside)
            return error / float(fold.variance[at]) if fold.variance[at] > 0 else 0.0

        held_out = (
            unexplained(test, len(fold.test), fold.outside[0], 1)
            if test is not None and len(fold.test)
            else None
        )
        out.append(
            MemberMetrics(
                member=member,
                step=step,
                loss=loss,
                fvu=unexplained(fit, len(fold.fit), torch.zeros(()), 0),
                fvu_held_out=held_out,
                l0=float(fit.l0[i]),
                dead=int((~fit.fired[i]).sum()),
            )
        )
    return out


def _keep_the_best(state: State, config: TrainConfig, flat: Tensor, stop: Seen) -> None:
    """Early stopping: while a member has patience left, its best parameters are kept."""
    error, waiting = stop.square.float().cpu(), ~_out_of_patience(state, config)
    better = waiting & (error < state.best)
    state.best[better] = error[better]
    state.kept[better] = flat.cpu()[better]
    state.waited = torch.where(better, 0, state.waited + 1)


def _out_of_patience(state: State, config: TrainConfig) -> Tensor:
    return state.waited >= (config.patience or config.steps + 1)


def _finished(engine: Engine, architecture: Architecture, group: Group, i: int) -> SAE:
    """The member's SAE in the model's own space and scale."""
    p, fold = engine.parameters, group.inputs[i]
    pre = engine.pre_activations(i).cpu()
    W_enc, W_dec, b_dec = (fold.lift(x[i].cpu()) for x in (p.W_enc, p.W_dec, p.b_dec))
    return architecture.finished(
        {
            "W_enc": W_enc.T.contiguous(),
            "W_dec": W_dec.clone(),
            "b_dec": fold.origin + b_dec / fold.scale,
        },
        {name: value[i].cpu() for name, value in p.latents.items()},
        float(fold.scale),
        pre,
    )
