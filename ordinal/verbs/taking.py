"""The verbs for what people take away."""

from pathlib import Path
from typing import Literal

from ordinal.run_folder import existing_run
from ordinal.verbs.arguments import Target


def export(
    run: Target,
    /,
    *,
    out: Path | None = None,
    format: Literal["safetensors"] = "safetensors",
) -> None:
    """Write the feature vectors: one safetensors file of named vectors with their evidence.

    Example: ordinal export runs/counting --out vectors.safetensors

    Args:
        run: a run folder.
        out: the file; by default RUN/export/vectors.safetensors.
        format: of the file.
    """
    from ordinal.export.vectors import export_vectors

    opened = existing_run(run)
    opened.require("heads", "train", "features", "verify")
    path = export_vectors(opened, out)
    print(f"Wrote {path} ({format}). Load it: ordinal.load_vectors({str(path)!r})")
