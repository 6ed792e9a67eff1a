"""What the successor head does in natural text, in tables (Successor Heads, section 4)."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from eval.text.cases import Cases, token_texts, where_succession
from eval.text.classify import CLASSES
from eval.text.contexts import Contexts
from eval.text.effects import Head, cross_fitted_effects
from eval.text.lists import list_wins
from features.statistics import bootstrap_means

if TYPE_CHECKING:
    from lm.bridged import BridgedModel

PERMUTATIONS = 100
"""Behind each base rate."""
CASES = {
    "outcome": "str", "context": "int64", "position": "int64", "class": "str",
    "loss_change": "float64", "loss": "float64", "source_position": "int64", "source": "str",
    "attention": "float64", "attended": "str", "current": "str", "next": "str", "excerpt": "str",
}  # fmt: skip
SHARES = {
    "role": "str", "layer": "int64", "head": "int64", "among": "str", "class": "str",
    "share": "float64", "share_low": "float64", "share_high": "float64", "permuted": "float64",
    "permuted_95": "float64", "of_loss": "float64", "of_loss_low": "float64",
    "of_loss_high": "float64", "n": "int64", "n_contexts": "int64",
}  # fmt: skip


class NaturalText(NamedTuple):
    """The successor head in text."""

    cases: pd.DataFrame
    """One row for each position that the successor head wins or loses (`outcome`): `context`;
    `position` of the current token; `class`; `loss_change`, of the next token when the head is
    ablated, and the model's `loss` there, in nats; the `source` token that the head attends to
    most, its `source_position` and `attention`; all that rules look at, with weights (`attended`);
    the `current` and the `next` token; `excerpt`."""
    shares: pd.DataFrame
    """For the successor head, its runner-up and a random head (`role`, `layer`, `head`): the
    `share` of `class` `among` its `wins` and `losses`, with its 95% interval (contexts drawn
    again); `permuted` and `permuted_95`, mean and 95th percentile of the same share with the next
    tokens permuted among these cases; `of_loss`, the class's share of the sum of these cases'
    changes of loss, with its interval; `n` cases in `n_contexts`. And the share of `win` and
    `loss` among all `positions`, of `win` among all `successions` (positions of that class by what
    the head reads, won or not), and of `win` among the prompts of numbered `lists` (there a context
    is a prompt)."""


def natural_text(
    model: "BridgedModel",
    contexts: Contexts,
    chosen: Head,
    runner_up: Head,
    *,
    seed: int = 0,
) -> NaturalText:
    """Where the head wins and loses, what it does there, and what other heads do.

    Args:
        model: with its bridge.
        contexts: what it reads.
        chosen: the successor head.
        runner_up: a control, beside a head drawn at random.
        seed: of the halves, the random head, the permutations, the prompts and the bootstrap.

    Raises:
        OrdinalError: the bridge does not offer what is needed.
    """
    rng = np.random.default_rng(seed)
    roles = {"successor head": chosen, "runner-up": runner_up}
    info = model.info
    others = [
        (layer, head)
        for layer in range(info.n_layers)
        for head in range(info.n_heads)
        if (layer, head) not in roles.values()
    ]
    if others:
        roles["random head"] = others[rng.integers(len(others))]
    effects = cross_fitted_effects(model, contexts.ids, list(roles.values()), seed=seed)
    lists = list_wins(model, effects.means, list(roles.values()), seed=seed)
    texts = token_texts(model.tokenizer, contexts.ids)
    cases: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for role, at in roles.items():
        own = effects.heads[at]
        named: dict[str, Any] = {"role": role, "layer": at[0], "head": at[1]}
        wins, loses = own.wins.numpy(), own.loses.numpy()
        context = np.indices(wins.shape)[0]
        successions = where_succession(texts, own)
        rows += [
            named | {"among": "positions", "class": "win"} | _share(wins, context, seed),
            named | {"among": "positions", "class": "loss"} | _share(loses, context, seed),
            named
            | {"among": "successions", "class": "win"}
            | _share(wins[successions], context[successions], seed),
        ]
        for outcome, among, where in (("win", "wins", wins), ("loss", "losses", loses)):
            found = Cases.of(texts, own, where)
            rows += [named | {"among": among} | row for row in _class_shares(found, rng, seed)]
            if role == "successor head":
                cases += [{"outcome": outcome} | row for row in found.rows(texts, effects, own)]
        won = lists[at].numpy()
        if len(won):
            share = _share(won, np.arange(len(won)), seed)
            rows.append(named | {"among": "lists", "class": "win"} | share)
    return NaturalText(_typed(cases, CASES), _typed(rows, SHARES))


def empty() -> NaturalText:
    """The same tables without rows, where there is no text to read."""
    return NaturalText(_typed([], CASES), _typed([], SHARES))


def _typed(rows: list[dict[str, Any]], columns: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def _class_shares(cases: Cases, rng: np.random.Generator, seed: int) -> list[dict[str, Any]]:
    """One row for each class."""
    kinds, n = np.arange(len(CLASSES))[:, None], len(cases.readings)
    found = cases.classes(range(n)) == kinds
    rows = _shares(found, cases.context, seed)
    if n:
        orders = [rng.permutation(n).tolist() for _ in range(PERMUTATIONS)]
        permuted = np.stack([(cases.classes(order) == kinds).mean(1) for order in orders])
        high = np.percentile(permuted, 95, axis=0)
        for kind, row in enumerate(rows):
            row |= {"permuted": permuted[:, kind].mean(), "permuted_95": high[kind]}
            row |= _of_loss(found[kind], cases.change, cases.context, seed)
    return [{"class": name} | row for name, row in zip(CLASSES, rows, strict=True)]


def _share(found: Bool[np.ndarray, "..."], context: np.ndarray, seed: int) -> dict[str, Any]:
    return _shares(found.reshape(1, -1), context.flatten(), seed)[0]


def _shares(
    found: Bool[np.ndarray, "k cases"], context: Int[np.ndarray, " cases"], seed: int
) -> list[dict[str, Any]]:
    """Shares with their intervals, contexts drawn again; NaN where there is no case."""
    if not found.shape[1]:
        return [{"n": 0, "n_contexts": 0} for _ in found]
    result = bootstrap_means(found.astype(float), context, seed=seed)
    low, high = result.interval()
    counts = {"n": result.n_rows, "n_contexts": result.n_clusters}
    return [
        {"share": share, "share_low": low[k], "share_high": high[k]} | counts
        for k, share in enumerate(result.estimate)
    ]


def _of_loss(
    found: Bool[np.ndarray, " cases"],
    change: Float[np.ndarray, " cases"],
    context: Int[np.ndarray, " cases"],
    seed: int,
) -> dict[str, float]:
    """A class's share of the sum of changes, contexts drawn again; no interval at 0 and 1."""
    result = bootstrap_means(np.stack([found * change, change]), context, seed=seed)
    of_loss = result.estimate[0] / result.estimate[1] + 0.0  # no minus before a zero
    low, high = np.percentile(result.draws[:, 0] / result.draws[:, 1], [2.5, 97.5])
    if found.all() or not found.any():
        low = high = np.nan
    return {"of_loss": of_loss, "of_loss_low": low, "of_loss_high": high}
