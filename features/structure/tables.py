"""The structure of the number representation, one table for each question that can be asked of it.

Which questions can be asked depends on the tokens: another model may have numbers only, numbers
with gaps, or one SAE. A question that cannot be asked is left out, and its reason is kept.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from features.catalog import FeatureCatalog
from features.directions import ResidueDirections
from features.order import ordered_tasks
from features.structure.class_means import class_means
from features.structure.cyclic import cyclic_order
from features.structure.decomposition import index_and_domain
from features.structure.geometry import fourier_power, spectrum_periods, whole_periods
from features.structure.helix import circle_coordinates, helices
from features.structure.irreducible import irreducibility
from features.structure.matching import matching_table
from features.structure.order_span import ordinal_span
from lm.errors import OrdinalError
from lm.ordinals import FOLDS
from sae.ensemble import SAEEnsemble
from training.activations import Activations

LEFT_OUT = "left_out"
MIN_NUMBERS = 40
"""Numbers that circles and helices are fitted to: four turns of ten."""
SPECTRUM_PERMUTATIONS = 200
"""Behind each of the many periods of the spectrum, which is there to be looked at."""


def structure_tables(
    ensemble: SAEEnsemble,
    activations: Activations,
    catalog: FeatureCatalog,
    residues: Sequence[ResidueDirections],
    *,
    seed: int = 0,
) -> dict[str, pd.DataFrame]:
    """Every question that the tokens allow.

    Args:
        ensemble: the SAEs.
        activations: what they were fitted on.
        catalog: of the ensemble.
        residues: each member's residue directions.
        seed: of all controls.

    Returns:
        `cyclic`, `fourier`, `spectrum`, `helices`, `circle`, `irreducibility`, `index_and_domain`,
        `ordinal_span` and `matching`, each as its function says, less those that are left out; and
        `left_out`: `table`, `reason`.
    """
    period = int(catalog.metadata["modulus"])
    questions: dict[str, Callable[[], dict[str, pd.DataFrame]]] = {
        "cyclic": lambda: _cyclic(activations, seed),
        "fourier": lambda: _fourier(activations, seed),
        "helices": lambda: _helices(activations, seed),
        "circle": lambda: _circle(activations, period, seed),
        "index_and_domain": lambda: _index_and_domain(activations, seed),
        "ordinal_span": lambda: _ordinal_span(ensemble, activations, seed),
        "matching": lambda: _matching(ensemble, activations, catalog, residues, seed),
    }
    tables: dict[str, pd.DataFrame] = {}
    reasons: dict[str, str] = {}
    with tqdm(questions.items(), "structure", leave=False, delay=1, disable=None) as bar:
        for name, question in bar:
            bar.set_postfix_str(name.replace("_", " "))
            try:
                _check_spread(activations)
                tables |= question()
            except OrdinalError as error:
                reasons[name] = str(error)
    out = pd.DataFrame({"table": list(reasons), "reason": list(reasons.values())}, dtype="str")
    return tables | {LEFT_OUT: out}


def _check_spread(activations: Activations) -> None:
    """Every question is about how the tokens' vectors differ."""
    if torch.equal(activations.x, activations.x[:1].expand_as(activations.x)):
        raise OrdinalError("all tokens have the same vector")


def _cyclic(activations: Activations, seed: int) -> dict[str, pd.DataFrame]:
    found = cyclic_order(activations, seed=seed)
    if found.empty:
        raise OrdinalError("no cycle of words, and no list of words beside numbers, has 5 tokens")
    return {"cyclic": found}


def _fourier(activations: Activations, seed: int) -> dict[str, pd.DataFrame]:
    n = _numbers(activations)
    periods = whole_periods(spectrum_periods(n), n)
    return {
        "fourier": fourier_power(activations, seed=seed),
        "spectrum": fourier_power(
            activations, periods, permutations=SPECTRUM_PERMUTATIONS, seed=seed
        ),
    }


def _helices(activations: Activations, seed: int) -> dict[str, pd.DataFrame]:
    _numbers(activations)
    return {"helices": helices(activations, seed=seed)}


def _circle(activations: Activations, period: int, seed: int) -> dict[str, pd.DataFrame]:
    n = _numbers(activations)
    if not whole_periods([period], n):
        raise OrdinalError(f"{n} numbers are single tokens, too few for two turns of {period}")
    index = class_means(activations, "numbers").index
    points = circle_coordinates(activations, period)
    about = {"period": period, "index": index, "residue": index % period}
    judged = irreducibility(points, seed=seed)
    return {
        "circle": pd.DataFrame({**about, "x": points[:, 0], "y": points[:, 1]}),
        "irreducibility": pd.DataFrame([{"period": period, **judged._asdict()}]),
    }


def _index_and_domain(activations: Activations, seed: int) -> dict[str, pd.DataFrame]:
    table = activations.tokens.table
    fitted = table.loc[~table["held_out_task"], ["task", "index"]].drop_duplicates()
    shared = fitted["index"].value_counts()
    if (shared > 1).sum() < FOLDS:
        raise OrdinalError(
            f"{int((shared > 1).sum())} indices occur in two tasks, {FOLDS} are needed"
        )
    return {"index_and_domain": index_and_domain(activations, seed=seed)}


def _ordinal_span(
    ensemble: SAEEnsemble, activations: Activations, seed: int
) -> dict[str, pd.DataFrame]:
    if not ordered_tasks(activations.tokens.table):
        raise OrdinalError("no task has five elements that are single tokens")
    return {"ordinal_span": ordinal_span(ensemble, activations, seed=seed)}


def _matching(
    ensemble: SAEEnsemble,
    activations: Activations,
    catalog: FeatureCatalog,
    residues: Sequence[ResidueDirections],
    seed: int,
) -> dict[str, pd.DataFrame]:
    if len(ensemble) < 2:
        raise OrdinalError("one SAE has no other to be matched with")
    if reason := catalog.metadata.get("not_testable"):
        raise OrdinalError(reason)
    latents = np.array([member.latents for member in residues])
    reference = int(catalog.metadata["member"])
    found = matching_table(ensemble, activations, catalog.features, latents, reference, seed=seed)
    return {"matching": found}


def _numbers(activations: Activations) -> int:
    """How many numbers there are, if they are enough for circles."""
    n = len(class_means(activations, "numbers").index)
    if n < MIN_NUMBERS:
        raise OrdinalError(f"{n} numbers are single tokens, {MIN_NUMBERS} are needed")
    return n
