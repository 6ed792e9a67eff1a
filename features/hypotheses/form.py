"""Token form: the feature stands for a leading space, for a capital, for upper case, ...

Null: the spellings of each element change places among themselves.
"""

import numpy as np
import pandas as pd

from features.hypotheses.family import Family, Hypothesis


def form_family(table: pd.DataFrame) -> Family | None:
    """`form/<part>` and `form/<whole form>`; None where no element has two spellings."""
    rows = np.flatnonzero(~table["held_out_task"])
    part = table.iloc[rows]
    element = part.groupby(["task", "index"], sort=False).ngroup().to_numpy()
    forms = part["form"].to_numpy()
    if len(np.unique(forms)) < 2 or np.bincount(element).max() < 2:
        return None
    parts = [set(form.split()) for form in forms]
    names = dict.fromkeys([*sorted(set().union(*parts)), *sorted(set(forms))])
    # Where a part says as much as the whole form, as in a list without capitals, it stands for it.
    distinct: dict[tuple[bool, ...], str] = {}
    for name in names:
        distinct.setdefault(tuple(set(name.split()) <= each for each in parts), name)
    return Family(
        "form",
        [Hypothesis("form/" + name.replace(" ", "-")) for name in distinct.values()],
        rows,
        np.arange(len(rows)),
        stratum=element,
        block=np.zeros(len(rows), dtype=int),
        contrasts=np.array(list(distinct), dtype=float),
        home=np.zeros(len(distinct), dtype=int),
    )
