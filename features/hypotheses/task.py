"""Task, or domain: the feature stands for days, for letters, for all words, ...

Null: elements change tasks, all spellings of one together.
"""

from itertools import combinations

import numpy as np
import pandas as pd

from features.hypotheses.family import Family, Hypothesis


def task_family(table: pd.DataFrame) -> Family | None:
    """`task/<a>`, `task/<a>+<b>` and `task/words` (all but numbers); None for a single task."""
    rows = np.flatnonzero(~table["held_out_task"])
    part = table.iloc[rows]
    unit = part.groupby(["task", "index"], sort=False).ngroup().to_numpy()
    task_of = part.groupby(["task", "index"], sort=False)["task"].first().to_numpy()
    tasks = list(dict.fromkeys(task_of))
    sets: list[tuple[str, ...]] = [(task,) for task in tasks]
    if len(tasks) > 3:
        sets.extend(combinations(tasks, 2))
    words = tuple(task for task in tasks if task != "numbers")
    if 2 < len(words) < len(tasks):
        sets.append(words)
    if len(tasks) < 2:
        return None
    everything = np.zeros(len(task_of), dtype=int)
    return Family(
        "task",
        [Hypothesis("task/" + ("words" if of == words else "+".join(of))) for of in sets],
        rows,
        unit,
        stratum=everything,
        block=everything,
        contrasts=np.stack([np.isin(task_of, of).astype(float) for of in sets]),
        home=np.zeros(len(sets), dtype=int),
    )
