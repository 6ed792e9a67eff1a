"""An SAE that was trained elsewhere: a SAELens folder, or a release of SAELens's directory."""

import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from lm.errors import OrdinalError, UsageError
from sae.autoencoder import SAE
from sae.saelens import CONFIG, from_saelens, read_saelens, shift_inputs

MLP0_OUTPUT = re.compile(
    r"blocks\.0\.(hook_mlp_out|mlp\.hook_out)"
    r"|((transformer|gpt_neox|model)\.)?(h|layers)\.0\.mlp(\.output)?"
)
"""Its names in TransformerLens, in its Bridge, and in the modules of Hugging Face's models."""
PROBE_SECONDS = 5


def load_pretrained(
    source: str,
    d_model: int,
    *,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> SAE:
    """Read an SAE of MLP0 outputs, so that it encodes them as the model gives them.

    Args:
        source: a folder with `cfg.json` and `sae_weights.safetensors`, or `RELEASE:SAE_ID`.
        d_model: of the model that it is to be used on.
        say: takes the lines meant for people.

    Raises:
        UsageError: there is no such folder, release or SAE.
        OrdinalError: it cannot be read or downloaded, or it reads something else than the MLP0
            outputs of a model of this width.
    """
    check_source(source)
    sae, about = read_saelens(Path(source)) if Path(source).is_dir() else _download(source)
    hook = about.get("hook_name") or about.get("hf_hook_name")
    if hook is not None and not MLP0_OUTPUT.fullmatch(hook):
        raise OrdinalError(
            f"{source} reads {hook}; expected an SAE of the MLP0 output, blocks.0.hook_mlp_out."
        )
    if sae.d_in != d_model:
        raise OrdinalError(
            f"{source} reads {sae.d_in} dimensions; the MLP0 outputs of this model have {d_model}."
        )
    say(
        f"{source} was fitted to {hook or 'activations that it does not name'} of "
        f"{about.get('model_name') or 'a model that it does not name'}. Features are chosen on "
        "four fifths of the elements and confirmed on the last, but it may have seen them all."
    )
    if (about.get("model_from_pretrained_kwargs") or {}).get("center_writing_weights"):
        return _without_mean(sae)
    return sae


def check_source(source: str) -> None:
    """Refuse what is neither a SAELens folder nor written as `RELEASE:SAE_ID`.

    Raises:
        UsageError: says what was expected.
    """
    if Path(source).is_dir():
        if not Path(source, CONFIG).is_file():
            raise UsageError(f"{source} holds no {CONFIG}; expected one SAE in SAELens's format.")
    elif not all(source.partition(":")):
        raise UsageError(
            f"{source}: no such folder. Expected one with {CONFIG} and sae_weights.safetensors, or "
            "RELEASE:SAE_ID of SAELens's pretrained SAEs."
        )


class Fit(NamedTuple):
    """How well an SAE explains activations that it was not fitted to here."""

    fvu: float
    """Fraction of their variance that is left unexplained; about 1 for another model's SAE."""
    l0: float
    """Mean number of active latents."""
    dead: int
    """Latents active on none."""


def fit_of(sae: SAE, x: Float[Tensor, "tokens d_in"]) -> Fit:
    """Measure an SAE on activations."""
    f = sae.encode(x)
    unexplained = (x - sae.decode(f)).square().sum() / (x - x.mean(0)).square().sum()
    active = f > 0
    l0 = active.sum(1, dtype=x.dtype).mean()
    return Fit(float(unexplained), float(l0), int((~active.any(0)).sum()))


def _without_mean(sae: SAE) -> SAE:
    """The same codes from raw activations, of an SAE that was fitted to those less their mean."""
    b_dec = sae.b_dec - sae.b_dec.mean()
    shifted = shift_inputs(sae, b_dec - sae.b_dec)
    return replace(shifted, W_enc=sae.W_enc - sae.W_enc.mean(0))


def _place(release: str, sae_id: str) -> tuple[str, str]:
    """The hub's repository, which SAELens also takes for a release, and the path in it."""
    from sae_lens.loading import pretrained_saes_directory

    directory = pretrained_saes_directory.get_pretrained_saes_directory()
    if release not in directory and "/" not in release:
        raise _unknown(f"SAELens knows no release {release!r}", release, list(directory))
    if release in directory and sae_id not in directory[release].saes_map:
        ids = list(directory[release].saes_map)
        raise _unknown(f"The release {release} has no SAE {sae_id!r}", sae_id, ids)
    return pretrained_saes_directory.get_repo_id_and_folder_name(release, sae_id)


def _unknown(what: str, given: str, known: list[str]) -> UsageError:
    close = get_close_matches(given, known, 3, cutoff=0.3) or known[:3]
    return UsageError(f"{what}. Close to it: {', '.join(close)}.")


def _check_hub(source: str, repository: str, path: str) -> None:
    """Ask the hub once, briefly, before its own client starts to retry; not for what is cached."""
    from huggingface_hub import model_info, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        if Path(snapshot_download(repository, local_files_only=True), path).exists():
            return
    except LocalEntryNotFoundError:
        pass
    try:
        model_info(repository, timeout=PROBE_SECONDS)
    except RepositoryNotFoundError:
        raise UsageError(f"{source}: the hub has no repository {repository}.") from None
    except Exception as error:  # the client's HTTP library, and so its errors, differ by version
        raise OrdinalError(
            f"{source} is not downloaded yet, and the hub could not be asked for {repository} "
            f"({error})."
        ) from None


def _download(source: str) -> tuple[SAE, dict[str, Any]]:
    from sae_lens import SAE as SAELensSAE

    release, _, sae_id = source.partition(":")
    _check_hub(source, *_place(release, sae_id))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = SAELensSAE.from_pretrained(release, sae_id)
    except Exception as error:  # its loaders raise whatever the files and the hub's client raise
        raise OrdinalError(
            f"SAELens could not load {source} ({type(error).__name__}: {error})."
        ) from None
    config = theirs.cfg.to_dict()
    return from_saelens(config, theirs.state_dict(), source), config["metadata"]
