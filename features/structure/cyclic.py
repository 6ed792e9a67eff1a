"""Is the order of the days, or of the months, in M? Two tests that word identity cannot pass.

Within one task "modulo 7" is only another name for the word: the days are numbered 1 to 7, so each
residue has one member, and a latent that knows Tuesday *is* a latent for residue 2, whatever
the order of the days. A residue means more only if the order shows: the words lie around a circle
in their order and in no other (Engels et al. 2024, arXiv 2405.14860), or Tuesday shares with the
number 2 what it does not share with the number 5 (section 3: representations common to all tasks).

Neither figure has an interval. The seven days are all there are and M has no noise, so there is
nothing to resample; what chance would do is the null over the orders.
"""

from collections.abc import Mapping
from itertools import permutations
from math import factorial

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from features.structure.class_means import ClassMeans, class_means
from lm.ordinals import OrdinalTask, load_tasks
from training.activations import Activations

ORDERS = 10_000
"""Orders that are tried; all of them where there are fewer (7 days have 5,040)."""
MIN_ELEMENTS = 5
"""Fewer have too few orders for a test at 5%: four words have three cyclic ones."""


def cyclic_order(
    activations: Activations,
    tasks: Mapping[str, OrdinalTask] | None = None,
    *,
    orders: int = ORDERS,
    seed: int = 0,
) -> pd.DataFrame:
    """Both tests on every task that they apply to.

    Args:
        activations: M(t) of the words and of the numbers 1, 2, ...
        tasks: says which are cyclic; by default the paper's.
        orders: tried at most.
        seed: of the orders, where there are more.

    Returns:
        One row per task and test: `task`; `test`, `circle` (`circle_share`, cyclic tasks alone:
        letters have no period) or `numbers` (`number_similarity`); `value`; `null_mean` and
        `null_95`, the mean and 95th percentile over the orders (the control); `p_value`; `n`, the
        elements; `n_orders`.
    """
    tasks = load_tasks() if tasks is None else tasks
    numbers = class_means(activations, "numbers")
    rows = []
    for name in activations.tokens.tasks:
        words = class_means(activations, name)
        if name == "numbers" or name not in tasks or len(words.index) < MIN_ELEMENTS:
            continue
        tried = _orders(len(words.index), orders, seed)
        if tasks[name].cyclic:
            period = len(tasks[name].elements or ())
            rows.append(_row(name, "circle", tried, circle_share(words, period, tried)))
        shared = np.isin(words.index, numbers.index)
        if shared.sum() >= MIN_ELEMENTS:
            tried = _orders(int(shared.sum()), orders, seed)
            rows.append(_row(name, "numbers", tried, number_similarity(words, numbers, tried)))
    return pd.DataFrame(rows)


def circle_share(
    words: ClassMeans, period: int, orders: Int[np.ndarray, "orders elements"]
) -> Float[np.ndarray, " orders"]:
    """Share of the class means' variance in the first harmonic of the period, in each order.

    It is the same for an order turned round or reversed: 5,040 orders of seven days are 360
    distinct ones, 14 times each, and the smallest p-value is 1/360.

    Returns:
        One share per order; 1 for a perfect circle.
    """
    angle = 2 * np.pi * words.index / period
    basis = np.linalg.qr(_centred(np.stack([np.cos(angle), np.sin(angle)], 1)))[0]
    gram = words.means @ words.means.T
    placed = gram[orders[:, :, None], orders[:, None, :]]
    return np.einsum("jk,oji,ik->o", basis, placed, basis) / np.trace(gram)


def number_similarity(
    words: ClassMeans, numbers: ClassMeans, orders: Int[np.ndarray, "orders elements"]
) -> Float[np.ndarray, " orders"]:
    """Mean cosine of each word with the number of its position, in each order.

    Words and numbers are each centred over the elements that both have, so that neither what words
    share nor what numbers share counts.
    """
    _, mine, theirs = np.intersect1d(words.index, numbers.index, return_indices=True)
    cosines = _unit(_centred(words.means[mine])) @ _unit(_centred(numbers.means[theirs])).T
    return cosines[orders, np.arange(len(mine))].mean(1)


def _orders(elements: int, most: int, seed: int) -> Int[np.ndarray, "orders elements"]:
    """The true order first, then all others, or a sample of them."""
    if factorial(elements) <= most:
        return np.array(list(permutations(range(elements))))
    rng = np.random.default_rng(seed)
    sampled = rng.permuted(np.tile(np.arange(elements), (most, 1)), axis=1)
    return np.concatenate([np.arange(elements)[None], sampled])


def _row(
    task: str,
    test: str,
    orders: Int[np.ndarray, "orders elements"],
    values: Float[np.ndarray, " orders"],
) -> dict[str, object]:
    """The true order is the first, and counts among those that reach it."""
    return {
        "task": task,
        "test": test,
        "value": float(values[0]),
        "null_mean": float(values.mean()),
        "null_95": float(np.percentile(values, 95)),
        "p_value": float((values >= values[0] - 1e-9).mean()),
        "n": orders.shape[1],
        "n_orders": len(values),
    }


def _centred(x: np.ndarray) -> np.ndarray:
    return x - x.mean(0)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
