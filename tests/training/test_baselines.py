"""The random and classical dictionaries that an SAE has to beat."""

import pytest
import torch
from torch.nn.functional import normalize

from features.activity import latent_activity
from features.residue_table import residue_table
from lm.planted import planted_activations
from sae.ensemble import SAEEnsemble
from tests.training.made_up import numbers, planted
from training.activations import Activations
from training.baselines import FROZEN, KINDS, baseline_ensemble, mean_l0
from training.checkpoint import Checkpoints
from training.config import TrainConfig
from training.decompositions import (
    cluster_directions,
    independent_components,
    principal_components,
)
from training.fit import train
from training.frozen import LEAST_COSINE, within_cone
from training.inputs import Inputs
from training.loop import Group, fit_group

K = 4
CONFIG = TrainConfig(
    members=2, architecture="topk", k=K, latents=24, steps=200, workers=1, device="cpu"
)
RELU = CONFIG.model_copy(update={"architecture": "relu", "l1": 1.0, "steps": 600})


@pytest.fixture(scope="module")
def activations() -> Activations:
    return numbers(planted(rows=200, d_model=32, features=16)[0] * 20)


def _start(member: int, d_in: int) -> torch.Tensor:
    """Where a member's encoder and decoder start."""
    generator = torch.Generator().manual_seed(CONFIG.seed + member)
    return normalize(torch.randn(CONFIG.latents, d_in, generator=generator), dim=1)


@pytest.mark.parametrize("changes", [{}, {"resamples": 2}, {"batch": 50}, {"patience": 3}])
def test_a_frozen_decoder_is_its_start_bit_for_bit(activations, changes) -> None:
    config = CONFIG.model_copy(update=changes)
    ensemble = baseline_ensemble("frozen decoder", activations, config, K)
    for member, sae in enumerate(ensemble.members):
        start = _start(member, sae.d_in)
        assert torch.equal(sae.W_dec, start)
        assert not torch.allclose(sae.W_enc.T, start, atol=0.1)


def test_a_random_encoder_is_its_start_bit_for_bit(activations) -> None:
    ensemble = baseline_ensemble("random encoder", activations, CONFIG, K)
    for member, sae in enumerate(ensemble.members):
        start = _start(member, sae.d_in)
        assert torch.equal(sae.W_enc.T, start)
        assert not torch.allclose(sae.W_dec, start, atol=0.1)


def test_members_in_one_stack_stay_frozen_too(activations) -> None:
    """As on a GPU."""
    fit, test = (
        activations.x[torch.from_numpy(rows(0))]
        for rows in (activations.fit_rows, activations.test_rows)
    )
    inputs = Inputs.prepare(fit, test)
    config = CONFIG.model_copy(update={"frozen": "decoder"})
    *_, saes = fit_group(Group(range(2), [inputs] * 2, config), "cpu", Checkpoints(None, ""))
    for member, sae in enumerate(saes):
        assert torch.equal(sae.W_dec, _start(member, sae.d_in))


def test_a_softly_frozen_decoder_goes_to_its_bound_and_no_further(activations) -> None:
    soft, free = (
        torch.stack([(sae.W_dec * _start(m, sae.d_in)).sum(1) for m, sae in enumerate(e.members)])
        for e in (
            baseline_ensemble(kind, activations, CONFIG, K)
            for kind in ("soft-frozen decoder", "SAE, top-k")
        )
    )
    assert soft.min() >= LEAST_COSINE - 1e-5
    assert soft.min() <= LEAST_COSINE + 1e-5
    assert free.min() < LEAST_COSINE - 0.1


def test_rows_that_strayed_come_back_the_shortest_way() -> None:
    axes = torch.tensor([[1.0, 0.0]] * 3)
    rows = torch.tensor([[2.0, 0.1], [3.0, 4.0], [-1.0, -1.0]])
    root = 2**0.5
    expected = torch.tensor([[2.0, 0.1], [4.0, 3.0], [0.8 * root, -0.6 * root]])
    torch.testing.assert_close(within_cone(rows, axes, 0.8), expected)


@pytest.fixture(scope="module")
def trained(activations) -> SAEEnsemble:
    return train(activations, RELU, progress=False)


@pytest.mark.parametrize("kind", KINDS)
def test_every_baseline_is_as_sparse_as_the_sae_with_its_folds_and_seeds(
    activations, trained, kind
) -> None:
    l0 = mean_l0(trained, activations)
    ensemble = baseline_ensemble(kind, activations, RELU, l0)
    assert ensemble.held_out_folds == trained.held_out_folds
    assert ensemble.seeds == trained.seeds
    half_a_latent = 0 if kind in FROZEN else 0.5
    assert abs(mean_l0(ensemble, activations) - l0) <= max(0.1 * l0, half_a_latent)
    for sae in ensemble.members:
        assert sae.W_dec.shape == trained.members[0].W_dec.shape
        torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(sae.d_sae))


def test_the_penalty_of_jumprelu_is_found_too(activations) -> None:
    config = RELU.model_copy(update={"architecture": "jumprelu", "members": 1})
    ensemble = baseline_ensemble("frozen decoder", activations, config, 5.0)
    assert mean_l0(ensemble, activations) == pytest.approx(5.0, rel=0.1)


def test_held_out_tokens_do_not_reach_a_baseline(activations) -> None:
    spoilt = activations.x.clone()
    spoilt[torch.from_numpy(activations.held_out(0))] = 1e6
    one = CONFIG.model_copy(update={"members": 1, "steps": 20})
    for kind in KINDS:
        before, after = (
            baseline_ensemble(kind, a, one, K).members[0] for a in (activations, numbers(spoilt))
        )
        for name, value in before.tensors().items():
            assert torch.equal(value, getattr(after, name)), (kind, name)


def test_pca_gives_the_singular_vectors_both_ways() -> None:
    x = torch.randn(100, 12, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 13)
    x -= x.mean(0)
    encoder, decoder = principal_components(x, 8, 0)
    expected = torch.linalg.svd(x, full_matrices=False).Vh[:4]
    torch.testing.assert_close((decoder[:4] * expected).sum(1).abs(), torch.ones(4))
    assert torch.equal(decoder[4:], -decoder[:4])
    assert torch.equal(encoder, decoder)


def test_pca_and_ica_give_no_more_than_the_data_span() -> None:
    x = torch.randn(100, 3) @ torch.randn(3, 12)
    for method in (principal_components, independent_components):
        assert method(x - x.mean(0), 24, 0).decoder.shape == (6, 12)


def test_ica_recovers_independent_sources_and_k_means_their_clusters() -> None:
    generator = torch.Generator().manual_seed(0)
    mixing = normalize(torch.randn(4, 12, generator=generator), dim=1)
    x = torch.rand(2000, 4, generator=generator) @ mixing
    encoder, decoder = independent_components(x - x.mean(0), 8, 0)
    cosine = (mixing @ decoder.T).amax(1)
    assert cosine.min() > 0.99
    codes = ((x - x.mean(0)) @ encoder.T).relu()
    torch.testing.assert_close(codes @ decoder, x - x.mean(0), atol=1e-3, rtol=0)

    centres = torch.eye(6)[torch.arange(300) % 6]
    blobs = centres + 0.01 * torch.randn(300, 6, generator=generator)
    found = cluster_directions(blobs - blobs.mean(0), 6, 0).decoder
    expected = normalize(torch.eye(6) - 1 / 6, dim=1)
    assert (expected @ found.T).amax(1).min() > 0.99


def test_the_sae_finds_planted_residues_that_random_dictionaries_do_not() -> None:
    tokens, m, _ = planted_activations(seed=0)
    activations = Activations(m, tokens)
    config = TrainConfig(members=1, latents=48, steps=600, workers=1, device="cpu")
    trained = train(activations, config, progress=False)
    l0 = mean_l0(trained, activations)

    def good(ensemble) -> int:
        activity = latent_activity(ensemble, activations)
        return int(residue_table(activations, activity, 10)["good"].sum())

    assert good(trained) == 10
    for kind in ("frozen decoder", "random encoder", "random directions"):
        assert good(baseline_ensemble(kind, activations, config, l0)) <= 2, kind
