"""Each member's latent for each residue, and how good it is."""

from collections.abc import Sequence

import pandas as pd

from features.activity import Activity
from features.residues import fit_residues
from training.activations import Activations


def residue_table(
    activations: Activations, activity: Sequence[Activity], modulus: int
) -> pd.DataFrame:
    """Each member's best latent for each residue, by F1 on the numbers that it was fitted on.

    Returns:
        One row per member and residue: `member`, `modulus`, `residue`, `latent`; `good_train`,
        `f1_train` (fitted numbers); `precision`, `recall`, `good` (all numbers, in the worst
        spelling); `held_out_hits`, `held_out_active`, `held_out_members` (counts of held-out
        numbers: both, active, of the residue).
    """
    table = activations.tokens.table
    numbers = (table["task"] == "numbers").to_numpy()
    rows = []
    for acts in activity:
        held_out, active = acts.held_out.numpy(), acts.active.numpy()
        train, test = numbers & ~held_out, numbers & held_out
        fit = fit_residues(active[train], table[train], modulus)
        everywhere = fit_residues(active[numbers], table[numbers], modulus)
        best = fit.f1.argmax(0)
        for residue, latent in enumerate(best):
            here = active[test][:, latent]
            member = (table.loc[test, "index"] % modulus == residue).to_numpy()
            rows.append(
                {
                    "member": acts.member,
                    "modulus": modulus,
                    "residue": residue,
                    "latent": int(latent),
                    "good_train": bool(fit.good[latent, residue]),
                    "f1_train": float(fit.f1[latent, residue]),
                    "precision": float(everywhere.precision[latent, residue]),
                    "recall": float(everywhere.recall[latent, residue]),
                    "good": bool(everywhere.good[latent, residue]),
                    "held_out_hits": int((here & member).sum()),
                    "held_out_active": int(here.sum()),
                    "held_out_members": int(member.sum()),
                }
            )
    return pd.DataFrame(rows)
