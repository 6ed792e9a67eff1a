"""SAEs trained elsewhere: what is taken in, and what is refused in one line."""

import json
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file

from lm.errors import OrdinalError, UsageError
from sae.pretrained import MLP0_OUTPUT, fit_of, load_pretrained
from sae.saelens import CLASSES
from tests.sae.test_saelens import ABOUT, D_IN, D_SAE, assert_same, saelens_sae

RELEASE, SAE_ID = "gpt2-small-mlp-tm", "blocks.0.hook_mlp_out"


def saved(folder: Path, architecture: str = "standard", settings: dict | None = None, **about):
    theirs = saelens_sae(architecture, **settings or {})
    theirs.cfg.metadata = type(theirs.cfg.metadata)(**about)
    theirs.save_model(folder)
    return theirs


def raw_outputs() -> torch.Tensor:
    return torch.randn(50, D_IN, generator=torch.Generator().manual_seed(3)) + 3


@pytest.mark.parametrize("architecture", CLASSES)
def test_a_folder_of_sae_lens_is_taken_as_it_is(architecture: str, tmp_path: Path) -> None:
    theirs, said = saved(tmp_path, architecture, **ABOUT), []
    assert_same(load_pretrained(str(tmp_path), D_IN, say=said.append), theirs)
    assert len(said) == 1
    assert "blocks.0.hook_mlp_out of toy" in said[0] and "may have seen" in said[0]


def test_an_sae_without_metadata_is_taken_with_a_note(tmp_path: Path) -> None:
    saved(tmp_path)
    said = []
    load_pretrained(str(tmp_path), D_IN, say=said.append)
    assert "activations that it does not name of a model that it does not name" in said[0]


@pytest.mark.parametrize("architecture", CLASSES)
def test_an_sae_of_centred_outputs_reads_raw_ones(architecture: str, tmp_path: Path) -> None:
    """GPT-2's were fitted to a model whose MLPs write no mean over d_model."""
    about = {**ABOUT, "model_from_pretrained_kwargs": {"center_writing_weights": True}}
    theirs = saved(tmp_path, architecture, **about)
    ours = load_pretrained(str(tmp_path), D_IN, say=lambda _: None)
    x = raw_outputs()
    f, centred = ours.encode(x), x - x.mean(1, keepdim=True)
    torch.testing.assert_close(f, theirs.encode(centred).detach(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.decode(f), theirs(centred).detach(), atol=1e-4, rtol=1e-4)


def test_a_release_that_was_downloaded_is_read_with_its_scale(tmp_path: Path, monkeypatch) -> None:
    """Its config is from before version 6, its inputs are scaled and centred: all is folded in."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    place = get_pretrained_saes_directory()[RELEASE]
    cache = tmp_path / f"models--{place.repo_id.replace('/', '--')}"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("0" * 40)
    folder = cache / "snapshots" / ("0" * 40) / place.saes_map[SAE_ID]
    theirs = saved(folder)
    save_file({"sparsity": torch.zeros(D_SAE)}, folder / "sparsity.safetensors")
    config = {"d_in": D_IN, "d_sae": D_SAE, "dtype": "torch.float32", "model_name": "gpt2-small"}
    config |= {"hook_point": SAE_ID, "normalize_activations": "expected_average_only_in"}
    (folder / "cfg.json").write_text(json.dumps(config))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)

    ours = load_pretrained(f"{RELEASE}:{SAE_ID}", D_IN, say=lambda _: None)
    x = raw_outputs()
    scaled = (x - x.mean(1, keepdim=True)) * place.norm_scaling_factor[SAE_ID]
    torch.testing.assert_close(ours.encode(x), theirs.encode(scaled).detach(), atol=1e-4, rtol=1e-4)
    with pytest.raises(OrdinalError, match="expected_average_only_in"):
        load_pretrained(str(folder), D_IN)


@pytest.mark.parametrize(
    ("hook", "taken"),
    [
        ("blocks.0.hook_mlp_out", True),
        ("blocks.0.mlp.hook_out", True),
        ("transformer.h.0.mlp", True),
        ("gpt_neox.layers.0.mlp", True),
        ("model.layers.0.mlp.output", True),
        ("layers.0.mlp", True),
        ("blocks.10.hook_mlp_out", False),
        ("blocks.0.hook_resid_post", False),
        ("blocks.0.hook_mlp_in", False),
        ("transformer.h.0.mlp.c_fc", False),
    ],
)
def test_names_of_the_mlp0_output(hook: str, taken: bool) -> None:
    assert bool(MLP0_OUTPUT.fullmatch(hook)) == taken


@pytest.mark.parametrize(
    ("architecture", "settings", "about", "line"),
    [
        ("standard", {}, {"hook_name": "blocks.3.hook_resid_post"}, "reads blocks.3.hook_resid"),
        ("standard", {"normalize_activations": "layer_norm"}, ABOUT, "'layer_norm'"),
        (
            "transcoder",
            {"d_out": D_IN, "apply_b_dec_to_input": False},
            ABOUT,
            "standard, topk, jumprelu, gated",
        ),
        ("abstopk", {"k": 4}, ABOUT, "'abstopk'"),
    ],
)
def test_what_we_cannot_study_is_named(architecture, settings, about, line, tmp_path) -> None:
    saved(tmp_path, architecture, settings, **about)
    with pytest.raises(OrdinalError, match=line):
        load_pretrained(str(tmp_path), D_IN)


def test_another_width_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, **ABOUT)
    with pytest.raises(OrdinalError, match=r"reads 12 dimensions; the MLP0 outputs of .* have 128"):
        load_pretrained(str(tmp_path), 128)


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("nothing", "nothing: no such folder.*RELEASE:SAE_ID"),
        ("release:", "no such folder"),
        ("gpt2-small-mlp:blocks.0.hook_mlp_out", "no release.*gpt2-small-mlp-tm"),
        (f"{RELEASE}:block.0.mlp_out", f"no SAE 'block.0.mlp_out'.*{SAE_ID}"),
    ],
)
def test_an_unknown_source_is_told_what_is_close(source: str, line: str) -> None:
    with pytest.raises(UsageError, match=line):
        load_pretrained(source, D_IN)


def test_a_folder_that_is_no_sae(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no cfg\.json"):
        load_pretrained(str(tmp_path), D_IN)


def test_without_a_network_the_hub_is_asked_once(tmp_path: Path, monkeypatch) -> None:
    asked = []

    def unreachable(name: str, timeout: float) -> None:
        asked.append((name, timeout))
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "model_info", unreachable)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OrdinalError, match=r"could not be asked .*no route to host"):
        load_pretrained(f"{RELEASE}:{SAE_ID}", D_IN)
    assert len(asked) == 1 and asked[0][1] <= 5


def test_fit_counts_what_is_active_and_what_is_left() -> None:
    eye, zeros = torch.eye(3), torch.zeros(3)
    b_enc = torch.tensor([0.0, 0.0, -9.0])
    sae = CLASSES["standard"](W_enc=eye, W_dec=eye, b_dec=zeros, b_enc=b_enc)
    fit = fit_of(sae, torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 1, 2], [0, 0, 0]]))
    assert (fit.l0, fit.dead) == (1.0, 1)
    assert fit.fvu == pytest.approx(4 / 5)
