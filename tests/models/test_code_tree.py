"""The tree of existing codes: exact probabilities, and a beam that finds the same items."""

import numpy as np
import pytest
import torch

from h2rec.models.code_table import CodeTable
from h2rec.models.code_tree import CodeTree, log_shares
from h2rec.models.item_table import IdTable
from h2rec.models.path_decoder import PathDecoder
from h2rec.models.score import Score
from h2rec.semantic_ids.codes import SemanticIds

SIZES = (3, 4, 2)
CODES = np.array(
    [[2, 1, 0], [0, 3, 1], [2, 1, 1], [0, 3, 1], [1, 0, 0], [2, 0, 0], [0, 3, 1], [2, 1, 0]], np.int32
)
"""Three items of one tuple, two of another, and a first code that one item has alone."""
DIM = 8


def decoder(codes=CODES, sizes=SIZES, *, temperature=0.3, seed=0):
    torch.manual_seed(seed)
    ids = SemanticIds(codes, sizes)
    table, items = CodeTable(ids.padded(), sizes, DIM), IdTable(len(codes), DIM)
    made = PathDecoder(CodeTree(codes), table, items, DIM, Score(temperature))
    with torch.no_grad():
        for weights in [*made.parameters(), *table.parameters(), *items.parameters()]:
            weights.normal_()
    return made.eval()


def many(count=200, sizes=(6, 6, 6), seed=3):
    random = np.random.default_rng(seed)
    return np.stack([random.integers(size, size=count) for size in sizes], axis=1).astype(np.int32)


def states(count=5):
    return torch.randn(count, DIM, generator=torch.Generator().manual_seed(7))


def test_the_tree_has_the_paths_that_exist_and_no_others():
    tree = CodeTree(CODES)
    assert [stop - start for start, stop in zip(tree.starts, tree.starts[1:], strict=False)] == [
        1,
        3,
        4,
        5,
        8,
    ]
    paths = tree.path(torch.arange(1, 9))
    assert tree.value[paths[:, 1:-1]].tolist() == CODES.tolist()
    assert tree.value[paths[:, -1]].tolist() == list(range(1, 9))
    for node in range(len(tree.offsets) - 1):
        children = range(int(tree.offsets[node]), int(tree.offsets[node + 1]))
        assert [int(tree.parent[child]) for child in children] == [node] * len(children)
    # First codes; second ones of 2; third ones of 2, 1; items of 0, 3, 1 and of 2, 1, 0.
    assert [len(tree.choices), *tree.choice_starts] == [3 + 2 + 2 + 5, 0, 0, 3, 5, 7, 12]


def test_probabilities_of_all_items_are_those_of_their_paths():
    made, users = decoder(), states()
    nodes, sides, tree = made.nodes(), made.users(users), made.tree
    found = made.log_probs(users)
    torch.testing.assert_close(found.exp().sum(1), torch.ones(5))
    assert found[:, 0].tolist() == [-torch.inf] * 5
    for item in range(1, 9):
        total = torch.zeros(5)
        for depth, node in enumerate(tree.path(torch.tensor([item]))[0, 1:].tolist()):
            above = int(tree.parent[node])
            rows = tree.rows[int(tree.offsets[above]) : int(tree.offsets[above + 1])]
            if len(rows) > 1:
                logits = sides[depth] @ nodes.vectors[rows].T + nodes.biases[rows]
                total += logits.log_softmax(1)[:, rows.tolist().index(int(tree.rows[node]))]
        torch.testing.assert_close(found[:, item], total)


@pytest.mark.parametrize("temperature", [0.3, None])
def test_the_loss_is_the_probability_that_ranks(temperature):
    made, users = decoder(temperature=temperature), states(8)
    targets = torch.tensor([4, 1, 2, 3, 5, 6, 7, 8])
    loss, by_depth = made.loss(users, targets)
    expected = -made.log_probs(users)[torch.arange(8), targets].mean()
    torch.testing.assert_close(loss, expected)
    assert len(by_depth) == 4


@pytest.mark.parametrize("codes", [CODES, many()], ids=["few", "many"])
def test_a_wide_beam_finds_what_exhaustive_scoring_finds(codes):
    made, users = decoder(codes, tuple(int(c) + 1 for c in codes.max(axis=0))), states()
    found = made.beam(users, len(codes))
    exact = made.log_probs(users)[:, 1:]
    assert found.rows.tolist() == np.repeat(np.arange(5), len(codes)).tolist()
    assert found.items.view(5, -1).tolist() == [list(range(1, len(codes) + 1))] * 5
    torch.testing.assert_close(found.log_probs.view(5, -1), exact)
    assert torch.equal(found.survivors, found.expanded)
    assert found.survivors[-1].tolist() == [len(codes)] * 5


def test_a_narrow_beam_keeps_the_best_paths_of_each_user_and_counts_them():
    codes, width = many(), 7
    made, users = decoder(codes, (6, 6, 6)), states()
    found, exact = made.beam(users, width), made.log_probs(users)
    assert found.survivors.tolist() == [[6] * 5] + [[width] * 5] * 3
    assert (found.expanded[1:] > width).any()
    torch.testing.assert_close(found.log_probs, exact[found.rows, found.items])
    for row, side in enumerate(users.split(1)):
        alone = made.beam(side, width)
        assert alone.items.tolist() == found.items[found.rows == row].tolist()
    # A better item behind a worse prefix is lost.
    soft = decoder(codes, (6, 6, 6), temperature=5.0)
    narrow, exact = soft.beam(states(50), 1), soft.log_probs(states(50))
    assert narrow.items.tolist() != exact.argmax(1).tolist()
    assert (narrow.log_probs <= exact.max(1).values + 1e-5).all()


def test_users_of_a_large_batch_are_searched_in_parts(monkeypatch):
    codes = many()
    made, users = decoder(codes, (6, 6, 6)), states(9)
    whole = made.beam(users, 10)
    monkeypatch.setattr("h2rec.models.path_decoder.PAIRS_AT_ONCE", 2 * DIM * 6 * 10)
    parts = made.beam(users, 10)
    assert parts.rows.tolist() == whole.rows.tolist()
    assert parts.items.tolist() == whole.items.tolist()
    assert parts.survivors.tolist() == whole.survivors.tolist()


def test_equal_paths_at_the_edge_survive_in_the_order_of_codes():
    made = decoder()
    users = torch.zeros(2, DIM)  # a user of whom nothing is known: what is left are the biases
    with torch.no_grad():
        made.path[-1].weight.zero_()
        made.path[-1].bias.zero_()
    torch.testing.assert_close(made.log_probs(users)[:, 1:].exp(), torch.full((2, 8), 1 / 8))
    # At the end five equal items are left, three of 0, 3, 1 and two of 2, 1, 0: the first two survive.
    found = made.beam(users, 2)
    assert found.items.view(2, 2).tolist() == [[2, 4]] * 2
    torch.testing.assert_close(found.log_probs.exp().view(2, 2), torch.full((2, 2), 1 / 8))
    assert found.expanded.tolist() == [[3, 3], [3, 3], [3, 3], [5, 5]]


def test_items_of_one_tuple_that_are_the_same_in_all_are_equal():
    made = decoder()
    with torch.no_grad():
        made._tables[1].vectors.weight[4] = made._tables[1].vectors.weight[2]
    scores = made.log_probs(states())
    assert torch.equal(scores[:, 4], scores[:, 2])
    assert (scores[:, 7] != scores[:, 2]).all()


def test_a_catalogue_of_one_item_is_sure():
    made = decoder(CODES[:1])
    assert made.log_probs(states())[:, 1].tolist() == [0.0] * 5
    assert made.beam(states(), 3).items.tolist() == [1] * 5
    loss, _ = made.loss(states(), torch.ones(5, dtype=torch.int64))
    assert float(loss.detach()) == 0


def test_nodes_are_computed_anew_when_weights_may_have_changed():
    made = decoder()
    before = made.nodes()
    assert made.nodes() is before
    made.train()
    with torch.no_grad():
        made.depth.add_(1)
    assert not torch.equal(made.eval().nodes().vectors, before.vectors)


def test_log_shares_hold_for_large_logits():
    logits = torch.tensor([[500.0], [0.0], [-300.0], [-301.0]], requires_grad=True)
    shares = log_shares(logits, torch.tensor([4, 4, 9, 9]))
    torch.testing.assert_close(
        shares.squeeze(1), torch.tensor([0.0, -500.0, -0.3133, -1.3133]), rtol=1e-3, atol=1e-4
    )
    shares[1].backward()
    assert logits.grad.squeeze(1).tolist() == [-1.0, 1.0, 0.0, 0.0]


def test_means_are_over_all_items_below():
    tree, vectors = CodeTree(CODES), torch.randn(9, DIM)
    means = torch.cat(tree.means(vectors[tree.items]))
    paths = tree.path(torch.arange(1, 9))
    for node in range(len(means)):
        below = (paths == node).any(1).nonzero().squeeze(1) + 1
        assert int(tree.below[node]) == len(below)
        torch.testing.assert_close(means[node], vectors[below].mean(0))


def test_the_steps_of_a_path_add_up_to_its_item():
    made, users = decoder(), states()
    items = torch.tensor([4, 8, 5])
    steps = made.path_log_probs(users, items)
    assert steps.shape == (5, 3, 4)
    torch.testing.assert_close(steps.sum(-1), made.log_probs(users)[:, items])
    assert (steps[:, 2, 1:] == 0).all()  # its first code leaves one item
