"""Open a language model by name or folder: the one door, where every bad input is refused."""

from pathlib import Path
from typing import Literal

from lm.access import LanguageModel
from lm.checkpoint import open_checkpoint
from lm.errors import OrdinalError, UsageError

Route = Literal["auto", "streamed", "bridged"]

COUNTING = Path(__file__).parent / "counting" / "weights"
PROBE_SECONDS = 5
_WANTED = ["config.json", "tokenizer*.json", "special_tokens_map.json", "model*.safetensors*"]


def open_model(name_or_path: str, route: Route = "auto") -> LanguageModel:
    """Open a model.

    Args:
        name_or_path: `counting` (the embedded model), a folder in the Hugging Face layout, or the
            name of a model on the hub; `NAME@REVISION` is one of its branches, tags or commits.
        route: `streamed` reads only the weights that are asked for, and knows GPT-2, GPT-NeoX and
            Llama; `bridged` loads all of it into a TransformerBridge, which can also run prompts
            and knows many more families; `auto` streams where it can.

    Raises:
        UsageError: there is no such folder and no such model or revision, or the hub cannot be
            reached.
        OrdinalError: the files are incomplete, corrupt, or of a kind that is not supported.

    Example:
        >>> model = open_model("counting")
        >>> m = mlp0_outputs(model, torch.tensor([1, 2, 3]))
    """
    folder, revision = _locate(name_or_path)
    checkpoint = open_checkpoint(folder)
    from lm.families import FAMILIES
    from lm.streamed import StreamedModel

    if route == "streamed" or (
        route == "auto" and str(checkpoint.config.get("model_type")) in FAMILIES
    ):
        return StreamedModel(checkpoint, name_or_path, revision)
    from lm.bridged import BridgedModel

    return BridgedModel(checkpoint, name_or_path, revision)


def _locate(name_or_path: str) -> tuple[Path, str | None]:
    """The folder that holds the model, and its commit where it came from the hub."""
    if name_or_path == "counting":
        return COUNTING, None
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path, None
    if path.exists():
        raise UsageError(f"{name_or_path} is a file; give the folder that holds the model.")
    name, _, revision = name_or_path.partition("@")
    folder = _cached(name, revision or None) or _downloaded(name, revision or None)
    return folder, folder.name


def _cached(name: str, revision: str | None) -> Path | None:
    """The hub model's folder in the local cache, if it is all there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, revision=revision, local_files_only=True))
    except HFValidationError:
        raise _unknown(name, "there is no such folder and it cannot be a hub name") from None
    except LocalEntryNotFoundError:
        return None
    whole = (folder / "tokenizer.json").is_file() and any(folder.glob("model*.safetensors"))
    return folder if whole else None


def _downloaded(name: str, revision: str | None) -> Path:
    """Ask the hub once, briefly, before its own client starts to retry; then download."""
    from huggingface_hub import model_info, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        found = model_info(name, revision=revision, timeout=PROBE_SECONDS)
    except GatedRepoError:
        raise OrdinalError(
            f"{name} is gated: accept its terms on its page of the hub, then type `hf auth login`."
        ) from None
    except RepositoryNotFoundError:
        raise _unknown(name, "there is no such folder and the hub has no such model") from None
    except RevisionNotFoundError:
        raise UsageError(
            f"{name} has no revision {revision!r} on the hub. Its page lists branches and tags "
            "under `Files and versions`."
        ) from None
    except Exception as error:  # the client's HTTP library, and so its errors, differ by version
        why = f"there is no such folder, and the hub could not be asked ({error})"
        raise _unknown(name, why) from None
    files = {sibling.rfilename for sibling in found.siblings or []}
    if files and not any(file.endswith(".safetensors") for file in files):
        which = f"'{name}', revision='{revision}'" if revision else f"'{name}'"
        raise OrdinalError(
            f"{name} has no safetensors on the hub, and nothing is unpickled here because a pickle "
            "can run code. If you trust it, convert it once with "
            f"`AutoModelForCausalLM.from_pretrained({which}).save_pretrained(FOLDER)`."
        )
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_WANTED))
    except Exception as error:  # as above
        raise OrdinalError(
            f"The download of {name} stopped ({error}). Type the same again: it resumes."
        ) from None


def _unknown(name: str, why: str) -> UsageError:
    return UsageError(
        f"{name}: {why}. Expected `counting`, a folder with config.json, model.safetensors and "
        "tokenizer.json, or a hub name as `EleutherAI/pythia-1.4b`."
    )
