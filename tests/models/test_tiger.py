"""TIGER: contracts, what is decoded, and that a beam never leaves the tree."""

import numpy as np
import pytest
import torch

from h2rec.batching.sequences import Batch
from h2rec.data.histories import Histories
from h2rec.models.backbones.precision import set_precision
from h2rec.models.baselines import tiger
from h2rec.models.baselines.t5 import buckets
from h2rec.models.baselines.tiger import NextTokens
from h2rec.models.build import grown_model
from h2rec.models.features import ItemFeatures
from h2rec.models.scorer import CatalogueScorer, counted
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.testing import check_model
from h2rec.testing.catalogue import new_items, parsed, random_model, small_catalogue

RECENT = torch.tensor([[4, 9, 7, 3], [1, 0, 0, 0], [2, 8, 8, 0]])


def model(features=None, **settings):
    features = small_catalogue() if features is None else features
    return random_model(parsed({"name": "tiger"} | settings), features)


def batch(targets):
    lengths = (RECENT > 0).sum(1)
    items = torch.stack(
        [torch.cat([row[:n].flip(0), row[n:]]) for row, n in zip(RECENT, lengths, strict=True)]
    )
    aims = torch.zeros_like(items)
    aims[torch.arange(3), lengths - 1] = targets
    return Batch(items, lengths, aims)


def test_contract():
    check_model("tiger")


@torch.no_grad()
def test_a_wide_beam_scores_as_teacher_forcing_does():
    """Step by step and with what is kept of each path, or all codes of every item at once."""
    made = model()
    tree, tokens = made.tree, made.tokens
    found = made.beams(RECENT, 24)
    assert found.items.view(3, 24).tolist() == [list(range(1, 25))] * 3
    histories = batch(torch.ones(3, dtype=torch.int64))
    memory = made.memory(made.encode(histories.items), histories.lengths[:, None])
    expected = torch.zeros(3, 24)
    rows, places = torch.arange(3).repeat_interleave(24), torch.arange(24).repeat(3)
    codes = tokens.rows(torch.arange(1, 25)).repeat(3, 1)
    entry = torch.cat([made.begin.expand(72, 1, -1), tokens.vectors[codes[:, :-1]]], dim=1)
    states, _ = made.decoder(entry, memory, (rows, places, 24))
    path = tree.path(torch.arange(1, 25))
    for level in range(tokens.levels):
        logits = made.level_logits(states[:, level], level).view(3, 24, -1)
        for item in range(24):
            node = int(path[item, level])
            siblings = tree.value[int(tree.offsets[node]) : int(tree.offsets[node + 1])]
            own = siblings.tolist().index(int(tree.value[path[item, level + 1]]))
            expected[:, item] += logits[:, item, siblings].log_softmax(-1)[:, own]
    likes = tree.offsets.diff()[path[:, -2]]
    torch.testing.assert_close(found.log_probs.view(3, 24), expected - likes.log())


def test_it_trains_in_bfloat16_where_asked_and_is_read_in_float32():
    made = model(dropout=0.0).train()

    def loss():
        of = batch(torch.tensor([4, 12, 21]))
        return NextTokens(made)(
            of, made(of.items, of.lengths, of.targets > 0), np.random.default_rng(0)
        ).value

    with torch.no_grad():
        exact, scores = loss(), made.eval().beams(RECENT, 24).log_probs
        assert set_precision(made, "bfloat16", torch.device("cpu"))
        assert torch.equal(made.beams(RECENT, 24).log_probs, scores)
    read = []
    made.encoder.inner[0][1].register_forward_hook(lambda *call: read.append(call[2].dtype))
    made.decoder.inner[0][1].register_forward_hook(lambda *call: read.append(call[2].dtype))
    rough = made.train() and loss()
    assert read == [torch.bfloat16] * 2
    memory = made.memory(made.encode(RECENT), (RECENT > 0).sum(1)[:, None])
    assert {part.dtype for pair in memory.told for part in pair} == {torch.bfloat16}
    assert rough.dtype == torch.float32
    assert rough != exact
    torch.testing.assert_close(rough, exact, rtol=0.02, atol=0.02)
    rough.backward()
    assert {p.grad.dtype for p in made.parameters() if p.grad is not None} == {torch.float32}


def test_every_target_sees_the_items_up_to_its_place():
    """One pass over a history has the losses of all its beginnings."""
    made = model(dropout=0.0).train()
    items = torch.tensor([[3, 7, 9, 4]])
    loss = NextTokens(made)

    def value(items, targets):
        whole = Batch(items, torch.tensor([items.shape[1]]), targets)
        return loss(whole, made(items, whole.lengths, targets > 0), np.random.default_rng(0)).value

    together = value(items, torch.tensor([[7, 9, 0, 8]]))
    ends = [value(items[:, :n], torch.tensor([[0] * (n - 1) + [t]])) for n, t in ((1, 7), (2, 9), (4, 8))]
    torch.testing.assert_close(together, torch.stack(ends).mean())


@torch.no_grad()
def test_a_narrow_beam_keeps_existing_items_with_their_scores():
    made = model()
    wide, narrow = made.beams(RECENT, 24), made.beams(RECENT, 4)
    assert narrow.survivors[-1].tolist() == [4, 4, 4]
    assert (narrow.items >= 1).all()
    expected = wide.log_probs.view(3, 24)[narrow.rows, narrow.items - 1]
    torch.testing.assert_close(narrow.log_probs, expected)


@torch.no_grad()
def test_items_that_share_all_codes_share_the_probability():
    codes = np.array([[0, 1], [0, 1], [1, 0], [0, 1]], np.int32)
    found = model(ItemFeatures(4, SemanticIds(codes, (2, 2)))).beams(torch.tensor([[3, 1]]), 10)
    assert found.log_probs[[0, 1, 3]].unique().numel() == 1
    assert found.log_probs.exp().sum() == pytest.approx(1)


@torch.no_grad()
def test_users_are_searched_in_parts(monkeypatch):
    made = model()
    whole = made.beams(RECENT, 5)
    monkeypatch.setattr(tiger, "USERS_AT_ONCE", 2)
    parts = made.beams(RECENT, 5)
    assert parts.rows.tolist() == whole.rows.tolist()
    assert parts.items.tolist() == whole.items.tolist()


@pytest.mark.parametrize("values", [{"name": "tiger"}, {"branches": {"own": {"kind": "generative"}}}])
@pytest.mark.parametrize("lists", [[[], [3]], [[]]])
def test_an_empty_history_is_scored(values, lists):
    made = random_model(parsed(values), small_catalogue())
    found = counted(made, Histories.from_lists(lists))
    scores = next(iter(found.values())).add_to(torch.zeros(len(lists), 25))
    assert scores.isfinite().all()
    assert (scores[:, 1:] > 0).any(1).all()


@torch.no_grad()
def test_new_items_can_be_decoded_at_once():
    features = small_catalogue()
    made = model(features)
    ids, new = new_items(features)
    grown = grown_model(made, parsed({"name": "tiger"}), ids, new).eval()
    found = grown.beams(RECENT, len(ids))
    assert found.items.view(3, -1).tolist() == [list(range(1, len(ids) + 1))] * 3
    assert found.log_probs.exp().view(3, -1).sum(1).tolist() == pytest.approx([1.0] * 3, abs=1e-4)


def test_scores_have_no_vectors():
    made = model()
    scorer = CatalogueScorer(made)
    assert scorer.item_matrix.shape == (25, 0)


def test_distances_have_the_buckets_of_t5():
    away = torch.tensor([-200, -128, -20, -16, -15, -1, 0, 1, 7, 8, 200])
    assert buckets(away, causal=True).tolist() == [31, 31, 17, 16, 15, 1, 0, 0, 0, 0, 0]
    assert buckets(away, causal=False).tolist() == [15, 15, 10, 10, 9, 1, 0, 17, 23, 24, 31]
