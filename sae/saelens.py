"""One SAE as a SAELens folder: `cfg.json` and `sae_weights.safetensors`.

SAELens opens what is written here with `SAE.load_from_disk(folder)`. It is imported only for
folders from before its version 6, since that takes longer than fitting a member does.
"""

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lm.errors import OrdinalError
from lm.files import write_safetensors
from sae.autoencoder import SAE
from sae.gated import GatedSAE
from sae.jumprelu import JumpReLUSAE
from sae.relu import ReLUSAE
from sae.topk import TopKSAE

CONFIG = "cfg.json"
WEIGHTS = "sae_weights.safetensors"
FORMAT = "6.54.0"
"""The SAELens whose format this is. It drops the metadata of a config that names none."""
CLASSES: dict[str, type[SAE]] = {
    "standard": ReLUSAE,
    "topk": TopKSAE,
    "jumprelu": JumpReLUSAE,
    "gated": GatedSAE,
}
"""By SAELens's name of the architecture. What BatchTopK trains is a `jumprelu`."""


def write_saelens(sae: SAE, folder: Path, metadata: dict[str, Any]) -> None:
    """Write one SAE into `folder`, which is made if need be.

    Args:
        metadata: what SAELens keeps beside the weights: `model_name`, `hook_name`, and more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = sae.tensors()
    config = {
        "architecture": next(name for name, kind in CLASSES.items() if type(sae) is kind),
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        **{name: value for name, value in vars(sae).items() if name not in tensors},
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": FORMAT, **metadata},
    }
    write_safetensors(tensors, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def read_saelens(folder: Path) -> tuple[SAE, dict[str, Any]]:
    """Read one SAE and its metadata.

    Raises:
        OrdinalError: a file is missing or damaged, the architecture is not one of `CLASSES`, its
            inputs are normalised, or a weight has another shape than the config says.
    """
    config = _config(folder / CONFIG)
    path = folder / WEIGHTS
    try:
        weights = load_file(path)
    except FileNotFoundError:
        raise OrdinalError(f"{path}: no such file; {folder} is not a whole SAE.") from None
    except (SafetensorError, OSError) as error:
        raise OrdinalError(f"{path} is not a readable safetensors file ({error}).") from None
    return from_saelens(config, weights, str(folder)), config["metadata"]


def from_saelens(config: Mapping[str, Any], weights: Mapping[str, Tensor], where: str) -> SAE:
    """The SAE of SAELens's config and weights.

    Two of SAELens's conventions are folded into the weights, both exactly: an encoder that does not
    subtract `b_dec`, and a TopK that ranks pre-activations times the norm of their decoder row.

    Args:
        where: what the errors name.

    Raises:
        OrdinalError: as `read_saelens`.
    """
    kind = _kind(config, where)
    d_in, d_sae = config["d_in"], config["d_sae"]
    shapes = {"W_enc": (d_in, d_sae), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
    values: dict[str, Any] = {"k": _k(config, where)} if kind is TopKSAE else {}
    for name in [field.name for field in fields(kind) if field.name not in values]:
        shape = shapes.get(name, (d_sae,))
        if name not in weights:
            raise OrdinalError(f"{where}: {WEIGHTS} has no tensor `{name}`.")
        if tuple(weights[name].shape) != shape:
            raise OrdinalError(
                f"{where}: `{name}` has shape {tuple(weights[name].shape)}, {CONFIG} says {shape}."
            )
        if not torch.isfinite(weights[name]).all():
            raise OrdinalError(f"{where}: `{name}` holds NaN or infinite values.")
        values[name] = weights[name].detach().float()
    sae = kind(**values)
    if kind is TopKSAE and config.get("rescale_acts_by_decoder_norm", False):
        norm = sae.W_dec.norm(dim=1).clamp(min=1e-8)
        sae = replace(
            sae,
            W_enc=sae.W_enc * norm,
            b_enc=values["b_enc"] * norm,
            W_dec=sae.W_dec / norm[:, None],
        )
    return sae if config.get("apply_b_dec_to_input", True) else shift_inputs(sae, sae.b_dec)


def shift_inputs(sae: SAE, by: Tensor) -> SAE:
    """The SAE that encodes x as `sae` encodes x + by; it decodes as before."""
    read = by @ sae.W_enc
    if isinstance(sae, GatedSAE):
        return replace(sae, b_gate=sae.b_gate + read, b_mag=sae.b_mag + read * sae.r_mag.exp())
    return replace(sae, b_enc=sae.tensors()["b_enc"] + read)


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        raise OrdinalError(f"{path}: no such file; {path.parent} is not an SAE.") from None
    except (ValueError, OSError) as error:
        raise OrdinalError(f"{path} is not readable JSON ({error}).") from None
    if not isinstance(config, dict):
        raise OrdinalError(f"{path}: expected one JSON object.")
    if not isinstance(config.setdefault("metadata", {}), dict):
        raise OrdinalError(f"{path}: `metadata` must be an object.")
    _kind({"architecture": "standard", **config}, str(path.parent))
    if "sae_lens_version" in config["metadata"]:
        return config
    from sae_lens.loading.pretrained_sae_loaders import handle_config_defaulting

    return handle_config_defaulting(config)


def _kind(config: Mapping[str, Any], where: str) -> type[SAE]:
    """The class of an SAE, if its config asks for nothing that we do not do."""
    for key in ("d_in", "d_sae"):
        if not isinstance(config.get(key), int):
            raise OrdinalError(f"{where}: `{key}` of {CONFIG} must be a whole number.")
    architecture = str(config.get("architecture"))
    if architecture not in CLASSES:
        raise OrdinalError(
            f"{where}: `architecture` is {architecture!r}; those that can be read are "
            f"{', '.join(CLASSES)}."
        )
    for key in ("normalize_activations", "reshape_activations"):
        value = config.get(key) or "none"
        if value != "none":
            scaled = value == "expected_average_only_in"
            hint = " Fold its scale in: `fold_activation_norm_scaling_factor` in SAELens."
            raise OrdinalError(
                f"{where}: `{key}` is {value!r}; only 'none' can be read.{hint if scaled else ''}"
            )
    return CLASSES[architecture]


def _k(config: Mapping[str, Any], where: str) -> int:
    k = config.get("k")
    if not isinstance(k, int) or not 1 <= k <= config["d_sae"]:
        raise OrdinalError(f"{where}: `k` is {k!r}; expected 1 to {config['d_sae']}, its latents.")
    return k
