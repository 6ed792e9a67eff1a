"""SAEs on disk are SAELens's, and damage to them is told in one line."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lm.errors import OrdinalError
from sae.ensemble import SAEEnsemble
from sae.relu import ReLUSAE

ABOUT = {"model_name": "toy", "hook_name": "blocks.0.hook_mlp_out"}


def random_sae(seed: int, d_in: int = 12, d_sae: int = 20) -> ReLUSAE:
    generator = torch.Generator().manual_seed(seed)
    W_dec = torch.nn.functional.normalize(torch.randn(d_sae, d_in, generator=generator))
    return ReLUSAE(
        W_enc=torch.randn(d_in, d_sae, generator=generator),
        b_enc=torch.randn(d_sae, generator=generator),
        W_dec=W_dec,
        b_dec=torch.randn(d_in, generator=generator),
    )


@pytest.fixture
def folder(tmp_path):
    SAEEnsemble([random_sae(0), random_sae(1)], [0, 1], [0, 1], **ABOUT).save(tmp_path)
    return tmp_path


def test_sae_lens_opens_a_member_and_computes_the_same(folder):
    from sae_lens import SAE

    theirs = SAE.load_from_disk(str(folder / "saes" / "001"))
    ours = random_sae(1)
    x = torch.randn(50, 12)
    torch.testing.assert_close(theirs.encode(x), ours.encode(x), atol=1e-5, rtol=0)
    torch.testing.assert_close(theirs(x), ours.decode(ours.encode(x)), atol=1e-5, rtol=0)
    assert theirs.cfg.metadata.hook_name == "blocks.0.hook_mlp_out"
    assert theirs.cfg.metadata.model_name == "toy"
    assert (theirs.cfg.metadata.seed, theirs.cfg.metadata.held_out_fold) == (1, 1)


def test_a_folder_that_sae_lens_saved_is_read(tmp_path):
    from sae_lens import StandardSAE, StandardSAEConfig

    theirs = StandardSAE(StandardSAEConfig(d_in=6, d_sae=9))
    for seed in (0, 1):
        path = tmp_path / "saes" / f"{seed:03d}"
        theirs.cfg.metadata.model_name, theirs.cfg.metadata.hook_name = ABOUT.values()
        theirs.cfg.metadata.seed = theirs.cfg.metadata.held_out_fold = seed
        theirs.save_model(path)
    ours = SAEEnsemble.load(tmp_path).members[1]
    x = torch.randn(8, 6)
    torch.testing.assert_close(ours.encode(x), theirs.encode(x).detach(), atol=1e-5, rtol=0)


def test_an_ensemble_survives_the_disk_and_replaces_the_one_before(folder):
    SAEEnsemble([random_sae(7)], [7], [2], **ABOUT).save(folder)
    read = SAEEnsemble.load(folder)
    assert (read.seeds, read.held_out_folds, len(read)) == ([7], [2], 1)
    for name, value in vars(random_sae(7)).items():
        assert torch.equal(getattr(read.members[0], name), value)
    assert [path.name for path in folder.iterdir()] == ["saes"]


def _spoil(path, change):
    tensors = load_file(path / "sae_weights.safetensors")
    change(tensors)
    save_file(tensors, path / "sae_weights.safetensors")


def _config(path, **changes):
    config = json.loads((path / "cfg.json").read_text())
    (path / "cfg.json").write_text(json.dumps(config | changes))


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda p: (p / "cfg.json").unlink(), "no such file"),
        (lambda p: (p / "cfg.json").write_text("{"), "not readable JSON"),
        (lambda p: _config(p, d_sae=21), "has shape"),
        (lambda p: _config(p, d_sae="20"), "`d_sae` must be a whole number"),
        (lambda p: _config(p, architecture="topk"), "'topk'"),
        (lambda p: _config(p, metadata={}), "no `model_name`"),
        (lambda p: _config(p, metadata={**ABOUT, "model_name": "other", "seed": 0,
                                        "held_out_fold": 0}), "other activations"),
        (lambda p: (p / "sae_weights.safetensors").unlink(), "no such file"),
        (lambda p: (p / "sae_weights.safetensors").write_bytes(b"12345678"), "not a readable"),
        (lambda p: _spoil(p, lambda t: t.pop("b_dec")), "no tensor `b_dec`"),
        (lambda p: _spoil(p, lambda t: t["W_enc"].fill_(float("nan"))), "NaN"),
    ],
)  # fmt: skip
def test_a_damaged_member_is_one_clear_line(folder, damage, line):
    damage(folder / "saes" / "001")
    with pytest.raises(OrdinalError) as error:
        SAEEnsemble.load(folder)
    assert line in str(error.value) and "001" in str(error.value)


def test_a_folder_without_saes_says_how_to_make_them(tmp_path):
    with pytest.raises(OrdinalError, match="ordinal train"):
        SAEEnsemble.load(tmp_path)
