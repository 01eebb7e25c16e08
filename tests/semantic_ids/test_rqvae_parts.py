import pytest
import torch

from h2rec.semantic_ids.balance import sinkhorn_biases
from h2rec.semantic_ids.quantizers.rqvae_fitting import (
    Fitting,
    RQVAESettings,
    one_cycle,
    reconstruction_loss,
)
from h2rec.semantic_ids.quantizers.rqvae_network import RQVAENetwork, pass_gradient
from h2rec.semantic_ids.residual import nearest_codes


def test_the_gradient_passes_straight_through_to_encoder_and_codes():
    latent = torch.tensor([[1.0, 0.0]], requires_grad=True)
    quantized = torch.tensor([[0.0, 2.0]], requires_grad=True)
    passed = pass_gradient(latent, quantized)
    assert passed.tolist() == [[0.0, 2.0]]
    passed.backward(torch.tensor([[3.0, 5.0]]))
    assert latent.grad.tolist() == [[3.0, 5.0]]
    assert quantized.grad.tolist() == [[3.0, 5.0]]


def test_the_rotation_trick_turns_the_gradient_by_hand():
    # (1, 0) becomes (0, 2): a quarter turn and a doubling. Back through it, a gradient (0, 1) is (2, 0).
    latent = torch.tensor([[1.0, 0.0]], requires_grad=True)
    quantized = torch.tensor([[0.0, 2.0]], requires_grad=True)
    passed = pass_gradient(latent, quantized, rotation_trick=True)
    assert passed.tolist() == [[0.0, 2.0]]
    passed.backward(torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(latent.grad, torch.tensor([[2.0, 0.0]]))
    assert quantized.grad.tolist() == [[0.0, 1.0]]


def test_a_pass_gives_each_level_what_the_one_before_left():
    torch.manual_seed(0)
    network = RQVAENetwork(6, 4, 8, levels=3, codebook_size=5)
    torch.nn.init.normal_(network.codebooks)
    points = torch.randn(7, 6)
    result = network(points)
    left = network.encoder(points)
    for level in range(3):
        torch.testing.assert_close(result.residuals[:, level], left)
        torch.testing.assert_close(result.chosen[:, level], network.codebooks[level][result.codes[:, level]])
        left = left - result.chosen[:, level]
    assert torch.equal(result.codes, network.encode(points))
    torch.testing.assert_close(result.reconstruction, network.decode(result.codes))


def test_no_level_reads_a_later_codebook():
    torch.manual_seed(0)
    network = RQVAENetwork(6, 4, 8, levels=3, codebook_size=5)
    torch.nn.init.normal_(network.codebooks)
    points = torch.randn(50, 6)
    before = network.encode(points)
    with torch.no_grad():
        network.codebooks[2] += torch.randn(5, 4)
    after = network.encode(points)
    assert torch.equal(after[:, :2], before[:, :2])
    assert not torch.equal(after[:, 2], before[:, 2])


def test_the_moving_average_moves_a_code_by_hand():
    network = RQVAENetwork(2, 2, 4, levels=1, codebook_size=2)
    network.start_from(torch.zeros(2), torch.eye(2), torch.tensor(1.0))
    with torch.no_grad():
        network.codebooks[0] = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    fitting = Fitting(network, RQVAESettings(ema=0.75), seed=0)
    # Both points choose code 0. Its count goes from 1 to .75 * 1 + .25 * 2 = 1.25, its sum from (0, 0) to
    # .25 * (4, 0) = (1, 0), so it moves to (0.8, 0). Nobody chose code 1: count and sum shrink alike.
    fitting._track(network(torch.tensor([[1.0, 0.0], [3.0, 0.0]])))
    torch.testing.assert_close(network.codebooks[0].detach(), torch.tensor([[0.8, 0.0], [10.0, 0.0]]))


def test_sinkhorn_shares_out_evenly_by_hand():
    # Four points on a line, three near the first code: an even share gives the third one to the second code.
    points, codebook = torch.tensor([[0.0], [1.0], [4.0], [10.0]]), torch.tensor([[0.0], [10.0]])
    distances = (points - codebook.T).square()
    assert nearest_codes(points, codebook).tolist() == [0, 0, 0, 1]
    assert nearest_codes(points, codebook, sinkhorn_biases(distances)).tolist() == [0, 0, 1, 1]


def test_sinkhorn_of_equal_points_is_finite():
    assert torch.isfinite(sinkhorn_biases(torch.zeros(4, 3))).all()


def test_step_size_rises_then_falls():
    assert one_cycle(0.025) == pytest.approx(0.5)
    assert one_cycle(0.05) == pytest.approx(1.0)
    assert one_cycle(0.525) == pytest.approx(0.5)
    assert one_cycle(1.0) == pytest.approx(0.0)


def test_reconstruction_losses_by_hand():
    target = torch.tensor([[3.0, 4.0]])
    assert reconstruction_loss(torch.tensor([[3.0, 0.0]]), target, "squared").item() == pytest.approx(8.0)
    assert reconstruction_loss(2 * target, target, "cosine").item() == pytest.approx(0.0, abs=1e-6)
    assert reconstruction_loss(torch.tensor([[1.0, 0.0]]), target, "cosine").item() == pytest.approx(0.4)
