"""Codebooks of residual k-means: weights, principal components, and the joint fit, by hand and by error."""

import pytest
import torch
from made_catalogues import hierarchy

from h2rec.semantic_ids.quantizers import kmeans_codebooks
from h2rec.semantic_ids.quantizers.kmeans_codebooks import fit_jointly, length_weights, residual_codebook
from h2rec.semantic_ids.residual import nearest_codes, residual_codes, sum_of_codes


def error(points, codebooks):
    return (points - sum_of_codes(residual_codes(points, codebooks), codebooks)).square().sum().item()


def test_a_residual_half_as_long_counts_four_times_as_much():
    weights = length_weights(torch.tensor([[3.0, 4.0], [10.0, 0.0], [0.0, 15.0]]), 2)
    torch.testing.assert_close(weights, torch.tensor([4.0, 1.0, 4 / 9]))
    assert length_weights(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), 0).tolist() == [1, 1]


def test_residuals_of_no_length_get_a_weight_that_is_a_number():
    assert length_weights(torch.zeros(3, 2), 2).tolist() == [1, 1, 1]
    weights = length_weights(torch.tensor([[0.0, 0.0], [2.0, 0.0]]), 2)
    torch.testing.assert_close(weights, torch.tensor([400.0, 0.25]))


def test_the_centres_have_all_dimensions_though_clusters_are_found_along_few(monkeypatch):
    monkeypatch.setattr(kmeans_codebooks, "COMPONENTS", 1)
    groups = torch.tensor([[10.0, 0, 0], [-10.0, 0, 0]]).repeat_interleave(20, dim=0)
    third = torch.where(groups[:, :1] > 0, 0.5, -0.5)  # goes with the group, but hardly varies
    noise = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)) * 0.01
    points = torch.cat([groups[:, :2], third], dim=1) + noise
    found = residual_codebook(points, 2, 0, torch.ones(40))
    expected = torch.stack([points[20:].mean(dim=0), points[:20].mean(dim=0)])
    torch.testing.assert_close(found[found[:, 0].argsort()], expected)


def test_a_weight_draws_its_code(monkeypatch):
    points = torch.tensor([[1.0, 0.0], [5.0, 0.0], [100.0, 1.0]])
    weights = torch.tensor([3.0, 1.0, 1.0])
    for components in (64, 1):
        monkeypatch.setattr(kmeans_codebooks, "COMPONENTS", components)
        found = residual_codebook(points, 2, 0, weights)
        torch.testing.assert_close(found[found[:, 0].argsort()], torch.tensor([[2.0, 0.0], [100.0, 1.0]]))


def test_a_code_to_spare_lies_among_the_points(monkeypatch):
    monkeypatch.setattr(kmeans_codebooks, "COMPONENTS", 1)
    points = torch.tensor([[5.0, 3.0], [5.0, 3.0], [9.0, 6.0]])
    found = residual_codebook(points, 3, 0, torch.ones(3))
    torch.testing.assert_close(
        torch.cdist(found, points).min(dim=1).values, torch.zeros(3), atol=1e-4, rtol=0
    )


def test_the_joint_fit_mends_codebooks_that_do_not_fit_each_other(monkeypatch):
    monkeypatch.setattr(kmeans_codebooks, "REFIT_PULL", 1e-6)
    whole = torch.tensor([[[0.0, 0.0], [10.0, 0.0]], [[0.0, 1.0], [0.0, -1.0]]])
    codes = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    points = sum_of_codes(codes, whole)
    off = whole + torch.tensor([[[0.4, 0.0], [-0.3, 0.2]], [[0.1, 0.2], [0.0, 0.3]]])
    fitted = fit_jointly(points, off)
    # Only sums are determined: what one level's codes have in common may as well lie in the other's.
    torch.testing.assert_close(sum_of_codes(codes, fitted), points, atol=1e-4, rtol=0)


def test_the_joint_fit_lowers_the_error_and_never_raises_it(monkeypatch):
    points = torch.from_numpy(hierarchy())
    left_over, codebooks = points.clone(), []
    for level in range(3):
        codebooks.append(residual_codebook(left_over, 8, level, torch.ones(len(points))))
        left_over -= codebooks[-1][nearest_codes(left_over, codebooks[-1])]
    greedy = torch.stack(codebooks)
    assert error(points, fit_jointly(points, greedy)) < 0.995 * error(points, greedy)
    monkeypatch.setattr(
        kmeans_codebooks, "_least_squares", lambda _points, _codes, books, _weights: books * 1.5
    )
    assert torch.equal(fit_jointly(points, greedy), greedy)


@pytest.mark.parametrize("limit", [15, 16])
def test_very_many_codes_are_not_fitted_jointly(limit: int, monkeypatch):
    monkeypatch.setattr(kmeans_codebooks, "REFIT_LIMIT", limit)
    points = torch.from_numpy(hierarchy())
    codebooks = points[:16].reshape(2, 8, -1)
    assert torch.equal(fit_jointly(points, codebooks), codebooks) == (limit < 16)
