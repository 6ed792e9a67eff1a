"""What else a head computes: succession beside copying, predecessor, skip-one and acronym.

In natural text the paper's head also wins by acronyms and by copying. All five behaviours are read
in the same way, through the head's effective OV circuit on M(t), against the task's tokens in the
source's own spelling; an acronym head reads a word and writes its initial, against the capital
letters in the source's spacing.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import binom
from torch import Tensor

from eval.heads.successor import reported_on
from features.statistics import bootstrap_means, clusters
from lm.access import LanguageModel
from lm.circuit import SuccessionGroup, head_circuit, succeeds
from lm.ordinals import NO_SUCCESSOR, OrdinalTokens, Tokenizer, single_tokens

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
EVERY_TASK = "all"


class BehaviourGroup(NamedTuple):
    """The tokens of one task and spelling that a behaviour is asked of."""

    task: str
    group: SuccessionGroup
    chance: float
    """What the best head that does not read its source gets right: 1 / candidates, or the share of
    the commonest initial."""


def behaviour_groups(
    tokens: OrdinalTokens, tokenizer: Tokenizer
) -> dict[str, list[BehaviourGroup]]:
    """Sources, candidates and targets of each behaviour, by task and spelling.

    Args:
        tokens: sources are those for which the behaviour has a target.
        tokenizer: tells which capital letters are single tokens.
    """
    names = ("succession", "copying", "predecessor", "skip-one")
    out: dict[str, list[BehaviourGroup]] = {name: [] for name in (*names, "acronym")}
    for (task, _), rows in tokens.table.groupby(["task", "form"], sort=False):
        ids = rows["token_id"]
        follows = {t: s for t, s in zip(ids, rows["successor"], strict=True) if s != NO_SUCCESSOR}
        precedes = {successor: token for token, successor in follows.items()}
        targets = (
            follows,
            {token: token for token in ids},
            precedes,
            {t: follows[s] for t, s in follows.items() if s in follows},
        )
        for name, target in zip(names, targets, strict=True):
            group = _group(rows, target, sorted(set(ids)))
            if group is not None:
                out[name].append(BehaviourGroup(str(task), group, 1 / len(group.candidates)))
        acronym = _acronym(rows, tokenizer)
        if acronym is not None:
            common = torch.bincount(acronym.targets).max() / len(acronym.targets)
            out["acronym"].append(BehaviourGroup(str(task), acronym, float(common)))
    return {name: groups for name, groups in out.items() if groups}


def _group(
    rows: pd.DataFrame, target: Mapping[int, int], candidates: Sequence[int]
) -> SuccessionGroup | None:
    """The rows with a target; None where there is none, or nothing to tell it from."""
    sources = rows[rows["token_id"].isin(list(target))]
    if sources.empty or len(candidates) < 2:
        return None
    column = {token: position for position, token in enumerate(candidates)}
    return SuccessionGroup(
        torch.tensor(sources.index.to_numpy()),
        torch.tensor([column[target[token]] for token in sources["token_id"]]),
        torch.tensor(candidates),
    )


def _acronym(rows: pd.DataFrame, tokenizer: Tokenizer) -> SuccessionGroup | None:
    """Words, and the capital letters in their spacing; a letter or a number is no word."""
    words = rows[rows["text"].str.fullmatch(r" ?[A-Za-z]{2,}")]
    if words.empty:
        return None
    space = " " if words["text"].iloc[0].startswith(" ") else ""
    letters = single_tokens([space + letter for letter in LETTERS], tokenizer)
    initial = space + words["text"].str.strip().str[0].str.upper()
    known = initial.isin(list(letters))
    pairs = zip(words.loc[known, "token_id"], initial[known], strict=True)
    target = {token: letters[letter] for token, letter in pairs}
    return _group(words, target, sorted(letters.values()))


def behaviour_table(
    model: LanguageModel,
    tokens: OrdinalTokens,
    m: Float[Tensor, "tokens d_model"],
    heads: Mapping[str, tuple[int, int]],
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """Score some heads at every behaviour, on the elements that no head was chosen on.

    Args:
        tokens: those that heads were scored over.
        m: M(t) of each.
        heads: (layer, head) by role, as `successor head` and `runner-up`; the others are compared
            with the first.
        seed: that the head was chosen with, and of the bootstrap.

    Returns:
        One row per role, behaviour and task, `all` being the mean over tasks: `role`, `layer`,
        `head`, `behaviour`, `task`, `score` with its 95% interval `score_low`, `score_high`;
        `chance`; `p_value`, the probability that a head which does not read its source gets as
        many elements right; `ratio` of the first head's score to this one's, with a paired
        interval `ratio_low`, `ratio_high` (infinite where this one scores 0); `n_tokens` and
        `n_clusters`, the elements.
    """
    reported = reported_on(tokens, tokens, seed)
    out = []
    for behaviour, groups in behaviour_groups(tokens, model.tokenizer).items():
        asked = np.zeros(len(tokens), dtype=bool)
        chance = np.zeros(len(tokens))
        success = np.zeros((len(heads), len(tokens)), dtype=bool)
        for _, group, guessing in groups:
            rows = group.sources.numpy()
            asked[rows], chance[rows] = True, guessing
            for number, (layer, head) in enumerate(heads.values()):
                logits = head_circuit(model, layer, head, group.candidates).logits(m[group.sources])
                success[number, rows] = succeeds(logits, group.targets).numpy()
        rows = asked & reported
        part = tokens.table[rows]
        scores = _scores(success[:, rows].astype(float), chance[rows], part, seed)
        out += [_head_rows(s, behaviour, heads) for s in scores]
    return pd.concat(out, ignore_index=True)


class _Score(NamedTuple):
    task: str
    columns: dict[str, np.ndarray]
    """One value a head."""


def _scores(
    success: Float[np.ndarray, "heads rows"],
    chance: Float[np.ndarray, " rows"],
    table: pd.DataFrame,
    seed: int,
) -> list[_Score]:
    """One for each task, and one for their mean."""
    task, cluster = table["task"].to_numpy(), clusters(table)
    out = []
    for name in (EVERY_TASK, *dict.fromkeys(task)):
        rows = np.ones(len(task), dtype=bool) if name == EVERY_TASK else task == name
        result = bootstrap_means(success[:, rows], cluster[rows], task[rows], seed=seed)
        low, high = result.interval()
        ratio, ratio_low, ratio_high = _ratios(result.estimate, result.draws)
        guessing = pd.Series(chance[rows]).groupby(task[rows]).mean()
        columns = {
            "score": result.estimate,
            "score_low": low,
            "score_high": high,
            "chance": np.full(len(success), guessing.mean()),
            "p_value": np.array(
                [guessing_p(s, cluster[rows], task[rows], guessing) for s in success[:, rows]]
            ),
            "ratio": ratio,
            "ratio_low": ratio_low,
            "ratio_high": ratio_high,
            "n_tokens": np.full(len(success), result.n_rows),
            "n_clusters": np.full(len(success), result.n_clusters),
        }
        out.append(_Score(str(name), columns))
    return out


def _head_rows(score: _Score, behaviour: str, heads: Mapping[str, tuple[int, int]]) -> pd.DataFrame:
    layers, numbers = zip(*heads.values(), strict=True)
    about = {"role": list(heads), "layer": layers, "head": numbers, "behaviour": behaviour}
    return pd.DataFrame(about | {"task": score.task} | score.columns)


def guessing_p(
    success: Bool[np.ndarray, " rows"] | Float[np.ndarray, " rows"],
    cluster: Int[np.ndarray, " rows"],
    task: np.ndarray,
    chance: Mapping[str, float] | pd.Series,
) -> float:
    """The probability that guessing gets as many elements right; exact, one trial an element.

    An element whose spellings are partly right counts for their share, and the sum is rounded
    down; trials of different tasks have different chances, so their binomials are convolved.

    Args:
        success: of each row.
        cluster: the element of each row.
        task: of each row.
        chance: by task.
    """
    elements = pd.DataFrame({"right": success, "cluster": cluster, "task": task})
    elements = elements.groupby(["task", "cluster"])["right"].mean()
    pmf = np.ones(1)
    for name, n in elements.groupby("task").size().items():
        pmf = np.convolve(pmf, binom.pmf(np.arange(n + 1), n, chance[str(name)]))
    hits = int(elements.sum() + 1e-9)
    return float(min(1.0, pmf[hits:].sum()))


def _ratios(
    estimate: Float[np.ndarray, " heads"], draws: Float[np.ndarray, "draws heads"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first score over the others', and its interval's ends; NaN for itself and for 0/0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio, drawn = estimate[0] / estimate, draws[:, :1] / draws
    ratio[0], drawn[:, 0] = np.nan, np.nan
    low, high = np.full(len(ratio), np.nan), np.full(len(ratio), np.nan)
    known = ~np.isnan(drawn).any(0)
    # No interpolation: some draws may be infinite.
    low[known] = np.percentile(drawn[:, known], 2.5, axis=0, method="lower")
    high[known] = np.percentile(drawn[:, known], 97.5, axis=0, method="higher")
    return ratio, low, high
