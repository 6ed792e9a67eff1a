"""The class mean of each element: M(t) averaged over the element's spellings."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from training.activations import Activations


class ClassMeans(NamedTuple):
    """One vector for each element of a task, their mean taken off."""

    index: Int[np.ndarray, " elements"]
    """Ascending."""
    means: Float[np.ndarray, "elements d_model"]


def class_means(activations: Activations, task: str) -> ClassMeans:
    """M(t) less its spelling's mean, averaged over the spellings of each element.

    The spelling's mean goes first, so that an element which lacks a spelling is not told by that.
    A task that has no tokens gives no elements.
    """
    table = activations.tokens.table
    rows = (table["task"] == task).to_numpy()
    x = activations.x.numpy()[rows].astype(float)
    x -= group_means(x, pd.factorize(table.loc[rows, "form"])[0])
    index, element = np.unique(table.loc[rows, "index"], return_inverse=True)
    means = group_means(x, element)[np.unique(element, return_index=True)[1]]
    return ClassMeans(index, means - means.mean(0) if len(means) else means)


def in_span(x: Float[np.ndarray, "rows d"]) -> Float[np.ndarray, "rows rank"]:
    """The rows in coordinates of their own span, at most as many as rows: all products are kept."""
    left, size, _ = np.linalg.svd(x, full_matrices=False)
    return left * size


def group_means(
    x: Float[np.ndarray, "rows d"], group: Int[np.ndarray, " rows"]
) -> Float[np.ndarray, "rows d"]:
    """Each row's own group's mean; groups are numbered from 0."""
    member = np.eye(group.max(initial=-1) + 1)[group]
    return member @ ((member.T @ x) / np.maximum(member.sum(0), 1)[:, None])
