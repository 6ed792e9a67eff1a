"""The third step: every latent labelled, and the structure that the numbers have in M(t)."""

import pandas as pd

from lm.files import replacing
from ordinal.run_folder import Run


def features(run: Run) -> pd.DataFrame:
    """Label every latent, and write the catalog and the tables about structure."""
    from features.activity import latent_activity
    from features.directions import sae_directions
    from features.labels import label_features
    from features.structure.tables import structure_tables

    config, ensemble, activations = run.config, run.ensemble, run.activations
    modulus = config.features.modulus
    catalog = label_features(
        ensemble,
        activations,
        modulus=modulus,
        permutations=config.features.permutations,
        seed=config.seed,
    )
    residues = []
    if "not_testable" not in catalog.metadata:
        activity = latent_activity(ensemble, activations)
        residues = sae_directions(ensemble, activity, activations, modulus)
    tables = structure_tables(ensemble, activations, catalog, residues, seed=config.seed)
    run.forget_after("features")
    catalog.save(run.folder)
    with replacing(run.structure) as partial:
        partial.mkdir()
        for name, table in tables.items():
            table.to_parquet(partial / f"{name}.parquet", index=False)
    return catalog.features
