"""Every bad input gives one clear line, quickly, and the exit code that fits."""

import json
import shutil
import struct
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lm.access import mlp0_outputs
from lm.errors import OrdinalError
from lm.open import open_model


@pytest.fixture
def folder(checkpoint, tmp_path):
    """A good GPT-2 checkpoint, to be spoilt."""
    return Path(shutil.copytree(checkpoint("gpt2", tied=True), tmp_path / "model"))


@pytest.fixture
def shards(checkpoint, tmp_path):
    return Path(shutil.copytree(checkpoint("gpt2", sharded=True), tmp_path / "model"))


def refusal(name: str | Path, route="auto") -> OrdinalError:
    start = time.monotonic()
    with pytest.raises(OrdinalError) as caught:
        open_model(str(name), route)
    assert time.monotonic() - start < 10
    assert "\n" not in str(caught.value)
    return caught.value


def configure(folder: Path, **changes) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def change_weights(folder: Path, change) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("name", ["no-such-model", "nobody/no-such-model", "./no/such/folder", "?"])
def test_a_name_that_is_nothing(name, monkeypatch, tmp_path):
    """Here with a hub that cannot be reached."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    error = refusal(name)
    assert error.exit_code == 2
    assert name in str(error) and "`counting`" in str(error)


def test_a_name_that_the_hub_does_not_know(monkeypatch):
    from unittest.mock import Mock

    from huggingface_hub.errors import RepositoryNotFoundError

    def unknown(name, revision, timeout):
        raise RepositoryNotFoundError("404", response=Mock())

    monkeypatch.setattr("huggingface_hub.model_info", unknown)
    error = refusal("nobody/no-such-model")
    assert error.exit_code == 2
    assert "the hub has no such model" in str(error)


def test_a_hub_model_without_safetensors_is_not_downloaded(monkeypatch):
    from huggingface_hub.hf_api import ModelInfo as HubInfo

    found = HubInfo(id="some/model", siblings=[{"rfilename": "pytorch_model.bin"}])
    monkeypatch.setattr("huggingface_hub.model_info", lambda name, revision, timeout: found)
    error = refusal("some/model")
    assert error.exit_code == 1
    assert "unpickled" in str(error) and "from_pretrained('some/model').save" in str(error)
    error = refusal("some/model@step1")
    assert "from_pretrained('some/model', revision='step1').save_pretrained" in str(error)


def test_a_model_in_the_local_cache_needs_no_network(checkpoint, monkeypatch, tmp_path):
    commit = "0123456789012345678901234567890123456789"
    repository = tmp_path / "models--some--model"
    shutil.copytree(checkpoint("gpt2", tied=True), repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.model_info", None)
    info = open_model("some/model").info
    assert (info.name, info.revision) == ("some/model", commit)


def test_each_revision_in_the_local_cache_is_a_model_of_its_own(checkpoint, monkeypatch, tmp_path):
    repository = tmp_path / "models--some--model"
    made = {"step0": checkpoint("gpt2", tied=True), "step1000": checkpoint("gpt2", tied=False)}
    (repository / "refs").mkdir(parents=True)
    for number, (revision, source) in enumerate(made.items()):
        shutil.copytree(source, repository / "snapshots" / (str(number) * 40))
        (repository / "refs" / revision).write_text(str(number) * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.model_info", None)
    some = torch.arange(9)
    for number, (revision, source) in enumerate(made.items()):
        model = open_model(f"some/model@{revision}")
        assert (model.info.name, model.info.revision) == (
            f"some/model@{revision}", str(number) * 40
        )  # fmt: skip
        assert torch.equal(model.unembed(some), open_model(str(source)).unembed(some))
    assert open_model("some/model@" + "1" * 40).info.revision == "1" * 40


def test_a_revision_that_the_hub_does_not_know(monkeypatch):
    from unittest.mock import Mock

    from huggingface_hub.errors import RevisionNotFoundError

    def unknown(name, revision, timeout):
        raise RevisionNotFoundError("404", response=Mock())

    monkeypatch.setattr("huggingface_hub.model_info", unknown)
    error = refusal("some/model@step3")
    assert error.exit_code == 2
    assert "some/model has no revision 'step3' on the hub" in str(error)


def test_a_file_in_place_of_a_folder(folder):
    error = refusal(folder / "model.safetensors")
    assert error.exit_code == 2 and "is a file" in str(error)


@pytest.mark.parametrize("route", ["auto", "streamed", "bridged"])
def test_no_config(folder, route):
    (folder / "config.json").unlink()
    error = refusal(folder, route)
    assert error.exit_code == 1 and "has no config.json" in str(error)


@pytest.mark.parametrize("route", ["auto", "bridged"])
def test_only_a_pickle(folder, route):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
    error = refusal(folder, route)
    assert "nothing is unpickled" in str(error) and "save_pretrained" in str(error)


def test_no_weights_at_all(folder):
    (folder / "model.safetensors").unlink()
    assert "no weights to read" in str(refusal(folder))


@pytest.mark.parametrize("size", [0, 5, 300, -1000])
def test_a_weight_file_that_was_cut_short(folder, size):
    """In the length, in the header, in the data."""
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:size])
    assert "cut short or is not safetensors" in str(refusal(folder))


@pytest.mark.parametrize(
    "content",
    [b"version https://git-lfs.github.com/spec/v1\n", struct.pack("<Q", 4) + b"{{{{", b"\xff" * 64],
    ids=["git-lfs pointer", "header no JSON", "noise"],
)
def test_a_weight_file_that_is_something_else(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    assert "cut short or is not safetensors" in str(refusal(folder))


def test_a_missing_shard(shards):
    files = sorted(shards.glob("model-*.safetensors"))
    assert len(files) > 2
    files[1].unlink()
    error = str(refusal(shards))
    assert files[1].name in error and f"lacks 1 of the {len(files)} weight files" in error


def test_an_index_that_names_nothing(shards):
    (shards / "model.safetensors.index.json").write_text("{}")
    assert "weight_map" in str(refusal(shards))


def test_no_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    assert "has no tokenizer.json" in str(refusal(folder))


def test_a_spoilt_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{}")
    assert "tokenizer.json is not a tokenizer" in str(refusal(folder))


@pytest.mark.parametrize("text", ["{", "", "[1]", "\x00"])
def test_a_config_that_is_no_config(folder, text):
    (folder / "config.json").write_text(text)
    assert "config.json" in str(refusal(folder))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": "bert"}, "not bert"),
        ({"model_type": None}, "streamed route reads gpt2"),
        ({"activation_function": "mish"}, "activation mish"),
        ({"activation_function": ["x"]}, "activation ['x']"),
        ({"model_type": ["gpt2"]}, "not ['gpt2']"),
        ({"layer_norm_epsilon": "x"}, "`layer_norm_epsilon` is 'x'"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"n_layer": None}, "`n_layer` is None"),
        ({"n_layer": "3"}, "`n_layer` is '3'"),
        ({"n_layer": 4}, "no tensor transformer.h.3.ln_1.weight"),
        ({"n_embd": 64}, "which does not fit its config"),
        ({"n_head": 5}, "which does not fit its config"),
        ({"tie_word_embeddings": False}, "no tensor lm_head.weight"),
    ],
)
def test_a_config_that_does_not_fit(folder, changes, says):
    configure(folder, **changes)
    assert says in str(refusal(folder, "streamed"))


def test_weights_of_another_kind(folder):
    def quantise(weights):
        weights["transformer.h.1.attn.c_attn.weight"] = torch.zeros(48, 144, dtype=torch.int8)

    change_weights(folder, quantise)
    assert "is stored as I8" in str(refusal(folder))


@pytest.mark.parametrize("route", ["streamed", "bridged"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "name",
    ["wte.weight", "h.0.mlp.c_fc.weight", "h.1.attn.c_attn.weight", "h.1.attn.c_proj.weight"],
)
def test_weights_that_are_not_finite(folder, route, value, name):
    def spoil(weights):
        weights["transformer." + name][7, -1] = value

    change_weights(folder, spoil)
    with pytest.raises(OrdinalError, match="NaN or infinity"):
        model = open_model(str(folder), route)
        mlp0_outputs(model, torch.arange(20))
        model.attention(1)


@pytest.mark.parametrize("route", ["streamed", "bridged"])
def test_a_tokenizer_with_more_tokens_than_the_model(folder, route):
    model = open_model(str(folder), route)
    for read in (model.embed, model.unembed):
        with pytest.raises(OrdinalError, match="belongs to another model"):
            read(torch.tensor([0, model.info.d_vocab]))


def test_the_revision_tells_checkpoints_apart(folder, checkpoint):
    original = open_model(str(checkpoint("gpt2", tied=True))).info.revision
    assert open_model(str(folder)).info.revision == original
    configure(folder, layer_norm_epsilon=1e-6)
    assert open_model(str(folder)).info.revision != original
