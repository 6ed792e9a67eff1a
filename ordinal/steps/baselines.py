"""Does the SAE earn its place? The run's dictionary beside random and classical ones."""

from typing import TYPE_CHECKING

import pandas as pd
from tqdm import tqdm

from lm.errors import OrdinalError, UsageError
from ordinal.run_folder import NEEDS, Run
from ordinal.steps.proving import same_model

if TYPE_CHECKING:
    from training.metrics import MemberMetrics

TABLE = "dictionaries"
"""In `verification/`."""


def compare_dictionaries(run: Run) -> pd.DataFrame:
    """Put the run's SAEs and each baseline through the same discovery, edits and ablation.

    The baselines are kept in `baselines/`, each as soon as it is fitted, and are not fitted again.

    Returns:
        What `eval.dictionaries.measures.dictionary_table` gives, the run's SAEs first; it is
        written too. `_gain` is over them, `_top_k_gain` over SAEs that keep the k largest latents,
        as PCA, ICA, k-means and random directions do.

    Raises:
        UsageError: the run's SAE was trained elsewhere, so there is nothing to train beside it.
        OrdinalError: a step is missing, or the modulus is not testable on the run's tokens.
    """
    from eval.dictionaries.measures import dictionary_table, measure
    from eval.patching.readout import readouts
    from features.residues import testable
    from lm.open import open_model
    from sae.ensemble import SAEEnsemble
    from training.baselines import KINDS, TOP_K_SAE, baseline_ensemble, mean_l0

    run.require(*NEEDS["baselines"])
    config, activations = run.config, run.activations
    if config.pretrained is not None:
        raise UsageError(
            f"{run.folder} studies an SAE that was trained elsewhere: its baselines would have to "
            "be trained as it was. Give a run that trained its own."
        )
    if reason := testable(activations.tokens, config.features.modulus):
        raise OrdinalError(f"{run.folder}: {reason}.")
    model = open_model(config.model)
    same_model(run, model)
    read = readouts(model, activations.tokens, run.head.layer, run.head.head)
    l0 = mean_l0(run.ensemble, activations)
    redundant = config.sae.architecture == "topk"
    kinds = [kind for kind in KINDS if not (redundant and kind == TOP_K_SAE)]
    measured = []
    with tqdm(["SAE", *kinds], "dictionaries", leave=False, disable=None) as bar:

        def log(members: "list[MemberMetrics]") -> None:
            bar.set_postfix_str(f"{kind}, step {members[0].step:,} of {config.sae.steps:,}")

        for kind in bar:
            bar.set_postfix_str(kind)
            folder = run.folder / "baselines" / kind
            if kind == "SAE":
                ensemble = run.ensemble
            elif (folder / "saes").is_dir():
                ensemble = SAEEnsemble.load(folder)
            else:
                ensemble = baseline_ensemble(kind, activations, config.sae, l0, log=log)
                ensemble.save(folder)
            measured.append(
                measure(
                    kind,
                    ensemble,
                    activations,
                    read,
                    modulus=config.features.modulus,
                    permutations=config.features.permutations,
                    random_subspaces=config.verify.random_subspaces,
                    seed=config.seed,
                )
            )
    top_k = "SAE" if redundant else TOP_K_SAE
    against = {"gain": "SAE", "top_k_gain": top_k}
    table = dictionary_table(measured, against, seed=config.seed)
    run.write_table(TABLE, table)
    return table
