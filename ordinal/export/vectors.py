"""The vector file: named directions as safetensors, each with the evidence for it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lm.errors import OrdinalError
from lm.files import replacing, write_safetensors
from ordinal.run_folder import Run

VERSION = "1"


@dataclass(frozen=True)
class Vectors:
    """Named unit vectors in a model's space, with what is known about them."""

    vectors: dict[str, Float[Tensor, " d_model"]]
    metadata: dict[str, Any]
    """`model`, `revision`, `hook_name`, `ln`, `head` (the successor head), `scale` (multiply
    f_j - f_i by it), and `evidence`: by name, the figures of the feature."""

    def __getitem__(self, name: str) -> Float[Tensor, " d_model"]:
        return self.vectors[name]


def export_vectors(run: Run, out: Path | None = None) -> Path:
    """Write a run's vectors and their evidence to one safetensors file.

    Args:
        run: with every step done.
        out: by default `export/vectors.safetensors` in the run folder.
    """
    path = out or run.folder / "export" / "vectors.safetensors"
    head, catalog = run.head, run.catalog
    evidence: dict[str, dict[str, Any]] = {
        str(row["name"]): {str(k): v for k, v in row.items()} for _, row in catalog.order.iterrows()
    }
    metadata = {
        "format": "ordinal-vectors",
        "version": VERSION,
        "model": catalog.metadata.get("model", run.config.model),
        "revision": catalog.metadata.get("revision", ""),
        "hook_name": catalog.metadata.get("hook", ""),
        "ln": run.config.ln,
        "head": json.dumps([head.layer, head.head]),
        "head_score": json.dumps([head.score, head.low, head.high]),
    }
    if "member" in catalog.metadata:
        modulus, member = catalog.metadata["modulus"], int(catalog.metadata["member"])
        arithmetic = run.table("edits")
        sae = (arithmetic["directions"] == "SAE") & (arithmetic["member"] == member)
        sae &= arithmetic["operator"] == "add"
        mine = arithmetic[sae & (arithmetic["control"] == "none")]
        control = arithmetic[sae & (arithmetic["control"] == "random")]
        metadata["member"] = str(member)
        metadata["scale"] = str(float(mine["k"].median()))
        features = catalog.features[catalog.features["member"] == member].set_index("index")
        for residue, latent in enumerate(json.loads(catalog.metadata["latents"])):
            row = features.loc[latent]
            edits, random = (
                part[(part["j"] == residue) & (part["task"] == "numbers")]
                for part in (mine, control)
            )
            evidence[f"mod{modulus}/{residue}"] = {
                "member": member,
                "latent": int(latent),
                **{key: float(row[key]) for key in ("precision", "recall", "q_value", "stability")},
                "edit_success": float(edits["success"].mean()),
                "edit_success_random": float(random["success"].mean()),
                "n_edits": len(edits),
            }
    metadata["evidence"] = json.dumps(evidence)
    with replacing(path) as partial:
        write_safetensors(catalog.vectors, partial, metadata)
    return path


def load_vectors(path: str | Path) -> Vectors:
    """Read a file that `export_vectors` wrote.

    Raises:
        OrdinalError: it is missing, damaged, or something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            vectors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise OrdinalError(f"{path} cannot be read as safetensors ({error}).") from None
    if metadata.get("format") != "ordinal-vectors":
        raise OrdinalError(f"{path} holds no ordinal vectors; `ordinal export RUN` writes them.")
    plain = {"format", "version", "model", "revision", "hook_name", "ln"}
    return Vectors(vectors, {k: v if k in plain else json.loads(v) for k, v in metadata.items()})
