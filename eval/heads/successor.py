"""Which heads are successor heads (section 2): every head's score, and an honest choice of one."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import tqdm

from features.statistics import bootstrap_means, clusters
from lm.access import LanguageModel
from lm.circuit import centred, scan_heads, succeeds, succession_groups, unembedding
from lm.ordinals import NO_SUCCESSOR, OrdinalTokens


class HeadChoice(NamedTuple):
    """The head chosen on one half of the elements, with what it scores on the other."""

    layer: int
    head: int
    score: float
    low: float
    high: float
    runner_up_layer: int
    runner_up_head: int
    runner_up_score: float
    chance: float
    """Mean over tasks of 1 / candidates: what a head that guesses reaches."""
    n_tokens: int


def scored_tokens(tokens: OrdinalTokens, numbers: tuple[int, int]) -> OrdinalTokens:
    """The tokens that scores are taken over: held-out tasks apart, numbers within a range.

    Args:
        tokens: all ordinal tokens.
        numbers: first and last number; the paper scores 1 to 200.
    """
    table = tokens.table
    outside = (table["task"] == "numbers") & ~table["index"].between(*numbers)
    return tokens.select((~outside & ~table["held_out_task"]).to_numpy())


def head_successes(
    model: LanguageModel,
    tokens: OrdinalTokens,
    m: Float[Tensor, "tokens d_model"],
    *,
    all_spellings: bool = False,
) -> Bool[np.ndarray, "heads sources"]:
    """Whether each head, layer by layer, maps each source to its successor."""
    sources = is_source(tokens)
    scan = scan_heads(model, tokens, m, all_spellings=all_spellings)
    layers = tqdm(
        scan, "heads", model.info.n_layers, unit="layer", leave=False, delay=1, disable=None
    )
    return torch.cat(list(layers)).numpy()[:, sources]


def is_source(tokens: OrdinalTokens) -> Bool[np.ndarray, " tokens"]:
    """Tokens with a successor in their own spelling."""
    return (tokens.table["successor"] != NO_SUCCESSOR).to_numpy()


def head_table(
    model: LanguageModel,
    tokens: OrdinalTokens,
    m: Float[Tensor, "tokens d_model"],
    *,
    seed: int = 0,
) -> tuple[pd.DataFrame, HeadChoice]:
    """Score every head, best first, and choose the successor head on half of the elements.

    Returns:
        One row per head: `layer`, `head`, `score` (mean over tasks) with its 95% interval
        `score_low`, `score_high`, `pooled` (over tokens), `all_spellings` (against every spelling
        of the task), `n_tokens`, `n_clusters`, and one column per task; and the choice.

    Raises:
        ValueError: no token has a successor.
    """
    success = head_successes(model, tokens, m)
    against_all = head_successes(model, tokens, m, all_spellings=True)
    sources = tokens.table[is_source(tokens)].reset_index(drop=True)
    task = sources["task"].to_numpy()
    result = bootstrap_means(success.astype(float), clusters(sources), task, seed=seed)
    low, high = result.interval()
    heads = pd.MultiIndex.from_product(
        [range(model.info.n_layers), range(model.info.n_heads)], names=["layer", "head"]
    ).to_frame(index=False)
    table = heads.assign(
        score=result.estimate,
        score_low=low,
        score_high=high,
        pooled=success.mean(1),
        all_spellings=_task_mean(against_all, task),
        n_tokens=result.n_rows,
        n_clusters=result.n_clusters,
        **{name: success[:, task == name].mean(1) for name in dict.fromkeys(task)},
    )
    choice = _choose(heads, success, sources, tokens, seed)
    return table.sort_values("score", ascending=False, ignore_index=True), choice


def halves(sources: pd.DataFrame, seed: int) -> Bool[np.ndarray, " sources"]:
    """One half of the elements, all spellings together: heads are chosen on it.

    Args:
        sources: rows with `task` and `index`.
        seed: of the draw.

    Returns:
        True for the rows that heads are chosen on, False for those that they are reported on.
    """
    cluster = clusters(sources)
    rng = np.random.default_rng(seed)
    return rng.permuted(np.arange(cluster.max() + 1) % 2)[cluster].astype(bool)


def reported_on(
    tokens: OrdinalTokens, scored: OrdinalTokens, seed: int
) -> Bool[np.ndarray, " tokens"]:
    """The tokens of elements that no head was chosen on.

    The last element of a task that has an end is no source, so nothing was chosen on it.

    Args:
        tokens: of the rows returned.
        scored: what `head_table` chose the head over.
        seed: that it was chosen with.
    """
    sources = scored.table[is_source(scored)]
    chosen_on = sources[halves(sources, seed)]
    keys = set(zip(chosen_on["task"], chosen_on["index"], strict=True))
    rows = zip(tokens.table["task"], tokens.table["index"], strict=True)
    return np.array([key not in keys for key in rows])


def _choose(
    heads: pd.DataFrame,
    success: Bool[np.ndarray, "heads sources"],
    sources: pd.DataFrame,
    tokens: OrdinalTokens,
    seed: int,
) -> HeadChoice:
    """Best and second head on one half of the elements of each task, scored on the other half."""
    cluster, half = clusters(sources), halves(sources, seed)
    task = sources["task"].to_numpy()
    ranking = np.argsort(-_task_mean(success[:, half], task[half]), kind="stable")
    best, second = ranking[0], ranking[1]
    result = bootstrap_means(
        success[[best, second]][:, ~half].astype(float), cluster[~half], task[~half], seed=seed
    )
    low, high = result.interval()[:, 0]
    sizes = tokens.table.groupby(["task", "form"]).size()
    chance = np.mean([1 / sizes[name].mean() for name in dict.fromkeys(task)])
    (layer, head), (second_layer, second_head) = heads.iloc[[best, second]].to_numpy().tolist()
    return HeadChoice(
        layer=layer,
        head=head,
        score=float(result.estimate[0]),
        low=float(low),
        high=float(high),
        runner_up_layer=second_layer,
        runner_up_head=second_head,
        runner_up_score=float(result.estimate[1]),
        chance=float(chance),
        n_tokens=result.n_rows,
    )


def _task_mean(success: np.ndarray, task: np.ndarray) -> Float[np.ndarray, " heads"]:
    return np.mean([success[:, task == name].mean(1) for name in dict.fromkeys(task)], axis=0)


def baseline_table(
    model: LanguageModel,
    tokens: OrdinalTokens,
    m: Float[Tensor, "tokens d_model"],
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """The score without any head: the embedding, M(t), and their sum read by the unembedding."""
    embedding = model.embed(torch.tensor(tokens.table["token_id"].to_numpy()))
    readings = {"W_E": embedding, "M": m, "W_E + M": embedding + m}
    success = {read: np.zeros(len(tokens)) for read in readings}
    for group in succession_groups(tokens):
        readout = unembedding(model, group.candidates).T
        for read, x in readings.items():
            logits = centred(x[group.sources], model) @ readout
            success[read][group.sources.numpy()] = succeeds(logits, group.targets).numpy()
    return readings_table(success, tokens, seed)


def readings_table(
    success: dict[str, Float[np.ndarray, " tokens"]], tokens: OrdinalTokens, seed: int
) -> pd.DataFrame:
    """The task-mean score of each reading of the tokens, held-out tasks apart.

    Args:
        success: by what is read, the share of readings of each token that give its successor.

    Returns:
        `read`, `score`, its 95% interval `score_low`, `score_high`, and `n_tokens`.
    """
    sources = is_source(tokens) & ~tokens.table["held_out_task"].to_numpy()
    table = tokens.table[sources]
    values = np.stack(list(success.values()))[:, sources]
    result = bootstrap_means(values, clusters(table), table["task"].to_numpy(), seed=seed)
    low, high = result.interval()
    return pd.DataFrame(
        {
            "read": list(success),
            "score": result.estimate,
            "score_low": low,
            "score_high": high,
            "n_tokens": result.n_rows,
        }
    )
