import numpy as np
import torch

from h2rec.semantic_ids.residual import nearest_codes, residual_codes, sum_of_codes

COARSE = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
FINE = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0]])


def test_a_point_is_quantized_by_hand():
    # (9, 1): nearest coarse code is (10, 0), which leaves (-1, 1); nearest fine code is (-1, 0).
    # (1, 3): nearest coarse code is (0, 0), which leaves (1, 3); distances 9, 13 and 2, so the third.
    points = torch.tensor([[9.0, 1.0], [1.0, 3.0]])
    assert residual_codes(points, [COARSE, FINE]).tolist() == [[1, 1], [0, 2]]


def test_codes_sum_up_by_hand_and_a_prefix_is_the_sum_of_its_levels():
    codes = torch.tensor([[1, 1], [0, 2]])
    assert sum_of_codes(codes, [COARSE, FINE]).tolist() == [[9.0, 0.0], [0.0, 2.0]]
    assert sum_of_codes(codes[:, :1], [COARSE, FINE]).tolist() == [[10.0, 0.0], [0.0, 0.0]]


def test_the_lower_code_wins_a_tie():
    twins = torch.tensor([[5.0, 5.0], [1.0, 0.0], [1.0, 0.0]])
    assert nearest_codes(torch.tensor([[1.0, 0.0], [1.5, 0.0]]), twins).tolist() == [1, 1]


def test_equals_a_naive_loop():
    stream = np.random.default_rng(1)
    points, codebooks = stream.normal(size=(50, 5)), stream.normal(size=(3, 7, 5))
    expected = []
    for point in points:
        residual, row = point, []
        for codebook in codebooks:
            row.append(min(range(7), key=lambda k: np.sum((residual - codebook[k]) ** 2)))
            residual = residual - codebook[row[-1]]
        expected.append(row)
    assert residual_codes(torch.from_numpy(points), torch.from_numpy(codebooks)).tolist() == expected


def test_a_level_never_reads_a_later_one():
    torch.manual_seed(0)
    points, codebooks, others = torch.randn(200, 6), torch.randn(4, 8, 6), torch.randn(4, 8, 6)
    whole = residual_codes(points, codebooks)
    for depth in range(1, 4):
        changed = torch.cat([codebooks[:depth], others[depth:]])
        again = residual_codes(points, changed)
        assert torch.equal(again[:, :depth], whole[:, :depth])
        assert not torch.equal(again[:, depth:], whole[:, depth:])
        assert torch.equal(residual_codes(points, codebooks[:depth]), whole[:, :depth])
