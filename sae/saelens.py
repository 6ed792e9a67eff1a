"""One SAE as a SAELens folder: `cfg.json` and `sae_weights.safetensors`.

SAELens opens what is written here with `SAE.load_from_disk(folder)`; it is not imported, since
that takes longer than fitting a member does.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from lm.errors import OrdinalError
from lm.files import write_safetensors
from sae.relu import ReLUSAE

CONFIG = "cfg.json"
WEIGHTS = "sae_weights.safetensors"
ARCHITECTURE = "standard"
"""SAELens's name for the ReLU SAE."""
FORMAT = "6.54.0"
"""The SAELens whose format this is. It drops the metadata of a config that names none."""


def write_saelens(sae: ReLUSAE, folder: Path, metadata: dict[str, Any]) -> None:
    """Write one SAE into `folder`, which is made if need be.

    Args:
        metadata: what SAELens keeps beside the weights: `model_name`, `hook_name`, and more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architecture": ARCHITECTURE,
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": FORMAT, **metadata},
    }
    tensors = {"W_enc": sae.W_enc, "b_enc": sae.b_enc, "W_dec": sae.W_dec, "b_dec": sae.b_dec}
    write_safetensors(tensors, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def read_saelens(folder: Path) -> tuple[ReLUSAE, dict[str, Any]]:
    """Read one SAE and its metadata.

    Raises:
        OrdinalError: a file is missing or damaged, the architecture is not a ReLU SAE that reads
            unnormalised inputs, or a weight has another shape than the config says.
    """
    config = _config(folder / CONFIG)
    path = folder / WEIGHTS
    try:
        weights = load_file(path)
    except FileNotFoundError:
        raise OrdinalError(f"{path}: no such file; {folder} is not a whole SAE.") from None
    except (SafetensorError, OSError) as error:
        raise OrdinalError(f"{path} is not a readable safetensors file ({error}).") from None
    d_in, d_sae = config["d_in"], config["d_sae"]
    shapes = {"W_enc": (d_in, d_sae), "b_enc": (d_sae,), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
    for name, shape in shapes.items():
        if name not in weights:
            raise OrdinalError(f"{path} has no tensor `{name}`.")
        if tuple(weights[name].shape) != shape:
            raise OrdinalError(
                f"{path}: `{name}` has shape {tuple(weights[name].shape)}, {CONFIG} says {shape}."
            )
        if not torch.isfinite(weights[name]).all():
            raise OrdinalError(f"{path}: `{name}` holds NaN or infinite values.")
    return ReLUSAE(**{name: weights[name].float() for name in shapes}), config["metadata"]


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        raise OrdinalError(f"{path}: no such file; {path.parent} is not an SAE.") from None
    except (ValueError, OSError) as error:
        raise OrdinalError(f"{path} is not readable JSON ({error}).") from None
    if not isinstance(config, dict):
        raise OrdinalError(f"{path}: expected one JSON object.")
    for key in ("d_in", "d_sae"):
        if not isinstance(config.get(key), int):
            raise OrdinalError(f"{path}: `{key}` must be a whole number.")
    if not isinstance(config.setdefault("metadata", {}), dict):
        raise OrdinalError(f"{path}: `metadata` must be an object.")
    expected = {
        "architecture": ARCHITECTURE,
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
    }
    for key, value in expected.items():
        if config.get(key, value) != value:
            raise OrdinalError(f"{path}: `{key}` is {config[key]!r}; only {value!r} can be read.")
    return config
