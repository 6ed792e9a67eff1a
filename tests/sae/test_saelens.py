"""SAEs on disk are SAELens's, both ways, and damage to them is told in one line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import sae_lens
import torch
from safetensors.torch import load_file, save_file

from lm.errors import OrdinalError
from sae.autoencoder import SAE
from sae.ensemble import SAEEnsemble
from sae.gated import GatedSAE
from sae.jumprelu import JumpReLUSAE
from sae.relu import ReLUSAE
from sae.saelens import CLASSES, read_saelens, write_saelens
from sae.topk import TopKSAE

ABOUT = {"model_name": "toy", "hook_name": "blocks.0.hook_mlp_out"}
D_IN, D_SAE = 12, 20


def random_sae(seed: int, architecture: str = "standard") -> SAE:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    W_dec = torch.nn.functional.normalize(random(D_SAE, D_IN))
    shared = {"W_enc": random(D_IN, D_SAE), "W_dec": W_dec, "b_dec": random(D_IN)}
    one, two, three = random(3, D_SAE)
    if architecture == "topk":
        return TopKSAE(**shared, b_enc=one, k=4)
    if architecture == "jumprelu":
        return JumpReLUSAE(**shared, b_enc=one, threshold=two.abs())
    if architecture == "gated":
        return GatedSAE(**shared, b_gate=one, r_mag=two / 2, b_mag=three)
    return ReLUSAE(**shared, b_enc=one)


def saelens_sae(architecture: str, **settings) -> sae_lens.SAE:
    """SAELens's own class, with every weight random."""
    settings = {"k": 4} | settings if architecture == "topk" else settings
    kind, config = sae_lens.registry.get_sae_class(architecture)
    return randomised(kind(config(d_in=D_IN, d_sae=D_SAE, **settings)))


def randomised(sae: sae_lens.SAE) -> sae_lens.SAE:
    generator = torch.Generator().manual_seed(5)
    for parameter in sae.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return sae


def assert_same(ours: SAE, theirs: sae_lens.SAE) -> None:
    x = torch.randn(50, D_IN, generator=torch.Generator().manual_seed(9))
    f = ours.encode(x)
    assert 0 < (f > 0).float().mean() < 1
    torch.testing.assert_close(f, theirs.encode(x).detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.decode(f), theirs(x).detach(), atol=1e-5, rtol=1e-5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    SAEEnsemble([random_sae(0), random_sae(1)], [0, 1], [0, 1], **ABOUT).save(tmp_path)
    return tmp_path


@pytest.mark.parametrize("architecture", CLASSES)
def test_sae_lens_opens_what_is_written_and_computes_the_same(architecture: str, tmp_path) -> None:
    ours = random_sae(1, architecture)
    SAEEnsemble([ours], [7], [2], **ABOUT).save(tmp_path)
    theirs = sae_lens.SAE.load_from_disk(tmp_path / "saes" / "000")
    assert theirs.cfg.architecture() == architecture
    assert_same(ours, theirs)
    assert theirs.cfg.metadata.hook_name == "blocks.0.hook_mlp_out"
    assert theirs.cfg.metadata.model_name == "toy"
    assert (theirs.cfg.metadata.seed, theirs.cfg.metadata.held_out_fold) == (7, 2)


@pytest.mark.parametrize("subtracts", [True, False])
@pytest.mark.parametrize("architecture", CLASSES)
def test_what_sae_lens_saves_is_read(architecture: str, subtracts: bool, tmp_path) -> None:
    theirs = saelens_sae(architecture, apply_b_dec_to_input=subtracts)
    theirs.save_model(tmp_path)
    assert_same(read_saelens(tmp_path)[0], theirs)


def test_a_topk_that_ranks_by_decoder_norm_is_read(tmp_path) -> None:
    theirs = saelens_sae("topk", rescale_acts_by_decoder_norm=True)
    theirs.save_model(tmp_path)
    ours, _ = read_saelens(tmp_path)
    assert_same(ours, theirs)
    torch.testing.assert_close(ours.W_dec.norm(dim=1), torch.ones(D_SAE))
    plain = replace(ours, W_enc=theirs.W_enc.data, b_enc=theirs.b_enc.data)
    x = torch.randn(50, D_IN)
    assert not torch.equal(plain.encode(x) > 0, ours.encode(x) > 0)


@pytest.mark.parametrize("trained", ["jumprelu", "batchtopk", "gated", "topk", "standard"])
def test_what_sae_lens_trained_is_read(trained: str, tmp_path) -> None:
    kind, config = sae_lens.registry.get_sae_training_class(trained)
    settings = {"k": 4} if "topk" in trained else {}
    sae = randomised(kind(config(d_in=D_IN, d_sae=D_SAE, **settings)))
    if trained == "batchtopk":
        sae.topk_threshold += 0.3
    sae.save_inference_model(tmp_path)
    assert_same(read_saelens(tmp_path)[0], sae_lens.SAE.load_from_disk(tmp_path))


def test_a_folder_from_before_version_6_is_read(tmp_path) -> None:
    theirs = saelens_sae("topk")
    theirs.save_model(tmp_path)
    old = {"d_in": D_IN, "d_sae": D_SAE, "dtype": "float32", "hook_name": "blocks.0.hook_mlp_out"}
    old |= {"model_name": "toy", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 4}}
    (tmp_path / "cfg.json").write_text(json.dumps({**old, "normalize_activations": False}))
    ours, metadata = read_saelens(tmp_path)
    assert_same(ours, theirs)
    assert metadata.items() >= ABOUT.items()


def test_an_ensemble_survives_the_disk_and_replaces_the_one_before(folder: Path) -> None:
    members = [random_sae(7, architecture) for architecture in CLASSES]
    SAEEnsemble(members, [7, 8, 9, None], [2, 0, 1, 0], **ABOUT, pretrained="there").save(folder)
    read = SAEEnsemble.load(folder)
    assert (read.seeds, read.held_out_folds, len(read)) == ([7, 8, 9, None], [2, 0, 1, 0], 4)
    assert read.pretrained == "there"
    for saved, member in zip(members, read.members, strict=True):
        assert type(member) is type(saved)
        for name, value in vars(saved).items():
            assert torch.equal(torch.as_tensor(getattr(member, name)), torch.as_tensor(value))
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
        (lambda p: _config(p, d_sae="20"), "`d_sae` of cfg.json must be a whole number"),
        (lambda p: _config(p, architecture="transcoder"), "standard, topk, jumprelu, gated"),
        (lambda p: _config(p, architecture="topk"), "`k` is None; expected 1 to 20"),
        (lambda p: _config(p, architecture="topk", k=21), "`k` is 21; expected 1 to 20"),
        (lambda p: _config(p, architecture="gated"), "no tensor `b_gate`"),
        (lambda p: _config(p, normalize_activations="layer_norm"), "'layer_norm'"),
        (lambda p: _config(p, reshape_activations="hook_z"), "'hook_z'"),
        (lambda p: _config(p, metadata=[]), "`metadata` must be an object"),
        (lambda p: _config(p, metadata={}), "no `model_name`"),
        (lambda p: _config(p, metadata={**ABOUT, "model_name": "other", "seed": 0,
                                        "held_out_fold": 0, "sae_lens_version": "6.54.0"}),
         "other activations"),
        (lambda p: (p / "sae_weights.safetensors").unlink(), "no such file"),
        (lambda p: (p / "sae_weights.safetensors").write_bytes(b"12345678"), "not a readable"),
        (lambda p: _spoil(p, lambda t: t.pop("b_dec")), "no tensor `b_dec`"),
        (lambda p: _spoil(p, lambda t: t["W_enc"].fill_(float("nan"))), "NaN"),
    ],
)  # fmt: skip
def test_a_damaged_member_is_one_clear_line(folder: Path, damage, line: str) -> None:
    damage(folder / "saes" / "001")
    with pytest.raises(OrdinalError) as error:
        SAEEnsemble.load(folder)
    assert line in str(error.value) and "001" in str(error.value)


def test_a_folder_without_saes_says_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(OrdinalError, match="ordinal train"):
        SAEEnsemble.load(tmp_path)


def test_the_same_sae_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_saelens(random_sae(3, "gated"), tmp_path / name, ABOUT)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
