import torch

from eval.patching.subspaces import (
    matched_random_subspaces,
    remove,
    span,
    variance_share,
)

GENERATOR = torch.Generator().manual_seed(0)
SPREAD = torch.randn(300, 40, generator=GENERATOR) * torch.linspace(3, 0.05, 40)
SPREAD = SPREAD - SPREAD.mean(0)


def test_dependent_vectors_add_no_rank() -> None:
    vectors = torch.randn(4, 40, generator=GENERATOR)
    basis = span(torch.cat([vectors, vectors.sum(0, keepdim=True)]))
    assert basis.shape == (40, 4)
    assert torch.allclose(basis.T @ basis, torch.eye(4), atol=1e-5)
    assert torch.allclose(basis @ (basis.T @ vectors.T), vectors.T, atol=1e-4)


def test_removal_leaves_the_mean_in_the_subspace_and_all_else_alone() -> None:
    mean = torch.randn(40, generator=GENERATOR)
    basis = span(torch.randn(3, 40, generator=GENERATOR))
    m = SPREAD + mean
    left = remove(m, basis, mean)
    assert torch.allclose(left @ basis, (mean @ basis).expand(300, 3), atol=1e-4)
    outside = torch.eye(40) - basis @ basis.T
    assert torch.allclose(left @ outside, m @ outside, atol=1e-4)


def test_random_controls_hold_the_variance_that_they_should() -> None:
    for share in (0.05, 0.2, 0.3):
        drawn = matched_random_subspaces(SPREAD, 5, share, count=8, seed=1)
        assert len(drawn) == 8
        for basis in drawn:
            assert basis.shape == (40, 5)
            assert abs(variance_share(SPREAD, basis) - share) <= 0.1 * share
        assert not torch.allclose(drawn[0], drawn[1], atol=1e-2)


def test_a_share_that_no_subspace_of_the_rank_holds_gives_no_control() -> None:
    assert matched_random_subspaces(SPREAD, 1, 0.9, count=3) == []
