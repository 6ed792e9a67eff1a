"""Two runs' models beside each other: do they hold the same number features?"""

import pandas as pd

from ordinal.run_folder import Run


def compare_runs(run: Run, other: Run) -> pd.DataFrame:
    """Representational similarity and Procrustes of the two runs' M(t).

    Returns:
        One row a measure: `measure` and the fields of `features.structure.universality.Similarity`.

    Raises:
        OrdinalError: a run has no activations, or they share too few numbers.
    """
    from features.structure.universality import procrustes, representational_similarity

    for each in (run, other):
        each.require("train")
    a, b, seed = run.activations, other.activations, run.config.seed
    measures = {"RSA": representational_similarity, "Procrustes R2": procrustes}
    return pd.DataFrame(
        [
            {"measure": name, **measure(a, b, seed=seed)._asdict()}
            for name, measure in measures.items()
        ]
    )
