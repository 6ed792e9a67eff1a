"""One checkpoint of a training: its successor head, one head fixed for all, and its residues.

Whether a head counts, and whether M(t) says what n is modulo 10, are two curves over training.
Both are measured from the weights alone, on elements that nothing was chosen or fitted on.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eval.heads.successor import (
    baseline_table,
    halves,
    head_table,
    is_source,
    scored_tokens,
)
from eval.patching.arithmetic import arithmetic_edits, arithmetic_table, headline_edits
from eval.patching.readout import readouts
from eval.scorecard.claim import interval, row
from features.directions import class_mean_directions
from features.residue_probe import probe_accuracy
from features.residues import testable
from features.statistics import bootstrap_means, clusters
from features.structure.geometry import fourier_power
from lm.access import LanguageModel
from lm.circuit import head_circuit, succeeds, succession_groups
from lm.ordinals import OrdinalTokens
from training.activations import Activations
from training.harvest import harvest


class Head(NamedTuple):
    """A head by its place, 0-based."""

    layer: int
    head: int


class Score(NamedTuple):
    """A successor score with its 95% interval."""

    value: float
    low: float
    high: float
    n_tokens: int


def measure_checkpoint(
    model: LanguageModel,
    tokens: OrdinalTokens,
    fixed: Head | None = None,
    *,
    numbers: tuple[int, int] = (1, 200),
    modulus: int = 10,
    seed: int = 0,
) -> dict[str, object]:
    """Everything about one checkpoint, as a row of the table over training.

    Args:
        model: the checkpoint.
        tokens: all ordinal tokens of its tokenizer.
        fixed: the head that is scored at every checkpoint; by default the one chosen here.
        numbers: first and last number that scores are taken over (section 2).
        modulus: of the residues.
        seed: of the halves, the controls and the intervals.

    Returns:
        `layer`, `head`: the best head on one half of the elements; `score`, on the other half, with
        `score_low`, `score_high` and `n_tokens`; `runner_up_layer`, `runner_up_head`, `runner_up`;
        `chance`; `without_head` with its ends and `n_without_head`: W_E + M(t) unembedded, over all
        elements. `fixed_layer`, `fixed_head`, `fixed_score` with its ends: the fixed head on the
        same half. Then what `residue_strength` gives, with the edits read by the fixed head.
    """
    scored = scored_tokens(tokens, numbers)
    m = harvest(model, scored).x
    _, choice = head_table(model, scored, m, seed=seed)
    fixed = fixed or Head(choice.layer, choice.head)
    followed = head_score(model, scored, m, fixed, seed=seed)
    baselines = baseline_table(model, scored, m, seed=seed)
    direct = row(baselines, read="W_E + M")
    without, without_low, without_high = interval(direct, "score")
    return {
        "layer": choice.layer,
        "head": choice.head,
        "score": choice.score,
        "score_low": choice.low,
        "score_high": choice.high,
        "n_tokens": choice.n_tokens,
        "runner_up_layer": choice.runner_up_layer,
        "runner_up_head": choice.runner_up_head,
        "runner_up": choice.runner_up_score,
        "chance": choice.chance,
        "without_head": float(without),
        "without_head_low": float(without_low),
        "without_head_high": float(without_high),
        "n_without_head": int(direct["n_tokens"]),
        "fixed_layer": fixed.layer,
        "fixed_head": fixed.head,
        "fixed_score": followed.value,
        "fixed_score_low": followed.low,
        "fixed_score_high": followed.high,
        **residue_strength(model, tokens, fixed, modulus, seed=seed),
    }


def head_score(
    model: LanguageModel,
    tokens: OrdinalTokens,
    m: Float[Tensor, "tokens d_model"],
    head: Head,
    *,
    seed: int = 0,
) -> Score:
    """The score of one head, whatever it was chosen by, on the half that no head is chosen on.

    Args:
        model: the checkpoint.
        tokens: those that heads are scored on, as `head_table` takes them.
        m: M(t) of the tokens.
        head: to score.
        seed: of the halves.
    """
    sources = is_source(tokens)
    table = tokens.table[sources].reset_index(drop=True)
    reported = ~halves(table, seed)
    success = _successes(model, tokens, m, head)[sources][reported]
    table = table[reported]
    found = bootstrap_means(
        success[None].astype(float), clusters(table), table["task"].to_numpy(), seed=seed
    )
    (low,), (high,) = found.interval()
    return Score(float(found.estimate[0]), float(low), float(high), found.n_rows)


def _successes(
    model: LanguageModel, tokens: OrdinalTokens, m: Float[Tensor, "tokens d_model"], head: Head
) -> Bool[np.ndarray, " tokens"]:
    """Whether one head maps each token to its successor; its weights are read once."""
    groups = succession_groups(tokens)
    wanted = torch.unique(torch.cat([group.candidates for group in groups]))
    logits = head_circuit(model, head.layer, head.head, wanted).logits(m)
    out = np.zeros(len(tokens), dtype=bool)
    for group in groups:
        columns = torch.searchsorted(wanted, group.candidates)
        here = logits[group.sources][:, columns]
        out[group.sources.numpy()] = succeeds(here, group.targets).numpy()
    return out


def residue_strength(
    model: LanguageModel, tokens: OrdinalTokens, head: Head, modulus: int, *, seed: int = 0
) -> dict[str, object]:
    """How strongly M(t) of the numbers says what n is modulo m, and whether the head reads it.

    Args:
        model: the checkpoint.
        tokens: all ordinal tokens; the numbers count.
        head: that reads the edits.
        modulus: m.
        seed: of the controls and the intervals.

    Returns:
        `probe`: held-out accuracy of a ridge probe of n mod m, with its ends, `probe_permuted` and
        `probe_permuted_95` (its control), `probe_chance` and `n_numbers` (tokens). `power`: the
        share of the variance of M(n) at period m, with `power_permuted` and `power_permuted_95`.
        `edits`: the share of `M + k (f_j - f_i)` with class means that give exactly the edited
        successor, with its ends, `edits_random` with its ends (random vectors as long) and
        `n_edited` (tokens).
        `not_testable`: empty, or why figures are NaN.
    """
    reason = testable(tokens, modulus)
    if reason is not None:
        return {**dict.fromkeys(STRENGTH, np.nan), "not_testable": reason}
    numbers = tokens.select((tokens.table["task"] == "numbers").to_numpy())
    activations = harvest(model, numbers)
    probe = probe_accuracy(activations, modulus, seed=seed)
    spectrum = row(fourier_power(activations, [modulus], seed=seed))
    edits = _edits(model, activations, head, modulus, seed)
    return {
        "probe": probe.accuracy,
        "probe_low": probe.low,
        "probe_high": probe.high,
        "probe_permuted": probe.permuted,
        "probe_permuted_95": probe.permuted_95,
        "probe_chance": probe.chance,
        "n_numbers": float(probe.n_tokens),
        "power": spectrum["power"],
        "power_permuted": spectrum["null_mean"],
        "power_permuted_95": spectrum["null_95"],
        **(edits or dict.fromkeys(EDITS, np.nan)),
        "not_testable": "" if edits else "no number of 20-99 can be edited",
    }


EDITS = (
    *("edits", "edits_low", "edits_high"),
    *("edits_random", "edits_random_low", "edits_random_high", "n_edited"),
)
STRENGTH = (
    *("probe", "probe_low", "probe_high", "probe_permuted", "probe_permuted_95"),
    *("probe_chance", "n_numbers"),
    *("power", "power_permuted", "power_permuted_95"),
    *EDITS,
)
"""Columns of `residue_strength` that are NaN where residues cannot be tested."""


def _edits(
    model: LanguageModel, activations: Activations, head: Head, modulus: int, seed: int
) -> dict[str, float]:
    """The columns `EDITS`; none where no number that counts can be edited."""
    read = readouts(model, activations.tokens, head.layer, head.head)
    sets = class_mean_directions(activations, modulus)
    edits = arithmetic_edits(sets, activations, read, seed=seed)
    rows = headline_edits(arithmetic_table(edits, modulus, seed=seed))
    edit, random = (row(rows, task="numbers", control=control) for control in ("none", "random"))
    if not edit:
        return {}
    ends = ("", "_low", "_high")
    return {
        **dict(zip(EDITS[:3], (float(edit[f"success{end}"]) for end in ends), strict=True)),
        **dict(zip(EDITS[3:6], (float(random[f"success{end}"]) for end in ends), strict=True)),
        "n_edited": float(edit["n_tokens"]),
    }
