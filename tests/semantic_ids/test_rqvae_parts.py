import pytest
import torch

from h2rec.semantic_ids.quantizers.rqvae_fitting import one_cycle
from h2rec.semantic_ids.quantizers.rqvae_network import RQVAENetwork


def test_the_gradient_passes_straight_through_to_encoder_and_codes():
    # A bare sum gives the decoder's output a gradient of one: the chosen code has it, and so has the encoder.
    network = RQVAENetwork(2, 2, levels=1, codebook_size=2)
    network.start_from(torch.zeros(2), torch.eye(2), torch.tensor(1.0))
    with torch.no_grad():
        network.codebooks[0] = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    network(torch.tensor([[9.0, 1.0]])).reconstruction.sum().backward()
    assert network.codebooks.grad.tolist() == [[[0.0, 0.0], [1.0, 1.0]]]
    assert network.encoder.linear.bias.grad.tolist() == [1.0, 1.0]


def test_a_pass_gives_each_level_what_the_one_before_left():
    torch.manual_seed(0)
    network = RQVAENetwork(6, 4, levels=3, codebook_size=5)
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
    network = RQVAENetwork(6, 4, levels=3, codebook_size=5)
    torch.nn.init.normal_(network.codebooks)
    points = torch.randn(50, 6)
    before = network.encode(points)
    with torch.no_grad():
        network.codebooks[2] += torch.randn(5, 4)
    after = network.encode(points)
    assert torch.equal(after[:, :2], before[:, :2])
    assert not torch.equal(after[:, 2], before[:, 2])


def test_step_size_rises_then_falls():
    assert one_cycle(0.025) == pytest.approx(0.5)
    assert one_cycle(0.05) == pytest.approx(1.0)
    assert one_cycle(0.525) == pytest.approx(0.5)
    assert one_cycle(1.0) == pytest.approx(0.0)
