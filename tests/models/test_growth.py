"""New items behind a trained model's own."""

import dataclasses

import numpy as np
import pytest
import torch
from model_forms import KINDS, THREE, branches

from h2rec.errors import ConfigError
from h2rec.models.branches import BRANCHES
from h2rec.models.build import grown_model
from h2rec.models.features import NewItems
from h2rec.models.item_table import IdTable
from h2rec.models.neighbours import Neighbours, nearest_in_text
from h2rec.semantic_ids.codes import SemanticIds

GROWING = [
    *(branches(kind) for kind in KINDS if BRANCHES.get(kind).refuses_new_items is None),
    branches(own={"kind": "ids_and_codes", "join": "add"}),
    {**THREE, "backbone": "bert4rec"},
    {"name": "llm_esr"},
]
FRESH = np.array([[9, 9, 9], [0, 0, 0], [0, 0, 9], [0, 9, 9]], np.int32)
"""Codes of new items; 9 is a code that no item has."""


@pytest.fixture
def wide(features):
    """The catalogue with codebooks that have room; item 1 has the codes 0 0 0, and some begin alike."""
    codes = features.semantic_ids.codes.copy()
    codes[0], codes[5], codes[9] = (0, 0, 0), (0, 0, 1), (0, 4, 4)
    return dataclasses.replace(features, semantic_ids=SemanticIds(codes, (10, 10, 10)))


def grown(model, wide, fresh=FRESH, text=True):
    codes = wide.semantic_ids.codes
    ids = SemanticIds(np.concatenate([codes, fresh]), (10, 10, 10))
    made = np.random.default_rng(5).normal(size=(len(fresh), 20)).astype(np.float32)
    new = NewItems(nearest_in_text(wide.text, made), made if text else None)
    return grown_model(model, model.settings, ids, new), new


def random_weights(model):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return model.eval()


@pytest.mark.parametrize("form", GROWING, ids=str)
def test_old_items_and_users_keep_their_vectors_to_the_bit(build, wide, form):
    model = random_weights(build(wide, **form))
    larger, _ = grown(model, wide)
    assert larger.item_count == 44
    items, history = torch.arange(1, 41), torch.tensor([[3, 7, 9]])
    with torch.no_grad():
        for old, new in zip(model.item_vectors(items), larger.item_vectors(items), strict=True):
            assert torch.equal(old, new)
        states = [m(history, torch.tensor([3]), history > 0).vectors for m in (model, larger)]
        masked = torch.tensor([[3, model.item_count + 1]]), torch.tensor([[3, larger.item_count + 1]])
        if model.mask_item is not None:
            states[0] += model(masked[0], torch.tensor([2]), masked[0] > 0).vectors
            states[1] += larger(masked[1], torch.tensor([2]), masked[1] > 0).vectors
    for old, new in zip(*states, strict=True):
        assert torch.equal(old, new)


@pytest.mark.parametrize(
    "form", [THREE, branches("ids_and_text"), branches("ids_and_codes"), {"name": "llm_esr"}], ids=str
)
def test_a_new_hash_id_is_the_mean_of_those_of_its_neighbours(build, wide, form):
    model = random_weights(build(wide, **form))
    larger, new = grown(model, wide)
    old, now = (
        next(part for part in m.modules() if isinstance(part, IdTable)).vectors.weight
        for m in (model, larger)
    )
    for place, (items, shares) in enumerate(zip(new.neighbours.items, new.neighbours.shares, strict=True)):
        lent = sum(share * old[item + 1] for item, share in zip(items, shares.tolist(), strict=True))
        torch.testing.assert_close(now[41 + place], lent)
    assert torch.equal(now[-1], old[-1])  # the masked item stays the last
    assert torch.equal(now[:41], old[:41])


def test_a_new_item_shares_the_prefixes_that_others_have_and_adds_none(build, wide):
    model = random_weights(build(wide, **branches("prefixes")))
    larger, _ = grown(model, wide)
    old, now = (m.branches["prefixes"].table for m in (model, larger))
    count = len(old.nodes.vectors.weight)
    assert torch.equal(now.nodes.vectors.weight[: count - 1], old.nodes.vectors.weight[:-1])
    assert torch.equal(now.nodes.vectors.weight[-1], old.nodes.vectors.weight[-1])
    assert not now.nodes.vectors.weight[count - 1 : -1].any()
    assert len(now.nodes.vectors.weight) > count
    of_item = {item: old.nodes.vectors.weight[old.nodes.rows[item]] for item in (1, 6)}
    with torch.no_grad():
        found = now(torch.arange(41, 45))
    # None, both of item 1 (which 6 has, too), the same, and the first alone; and none of them has a leaf.
    expected = torch.stack([torch.zeros(8), of_item[1].sum(0), of_item[6].sum(0), of_item[1][0]])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("kind", "places"), [("codes", 1), ("code_sum", 1), ("hashed_prefixes", 1)])
def test_an_item_of_the_same_codes_is_where_codes_are_all_that_counts(build, wide, kind, places):
    larger, _ = grown(random_weights(build(wide, **branches(kind))), wide)
    with torch.no_grad():
        (vectors,) = larger.item_vectors(torch.arange(1, 45))
    assert torch.equal(vectors[0], vectors[41])
    assert not torch.equal(vectors[0], vectors[42])


@pytest.mark.parametrize("form", [branches("ids_and_text"), {"name": "llm_esr"}], ids=str)
def test_a_model_that_keeps_the_text_keeps_that_of_new_items(build, wide, form):
    model = random_weights(build(wide, **form))
    larger, new = grown(model, wide)
    buffers = dict(larger.named_buffers())
    (text,) = [buffer for name, buffer in buffers.items() if name.rpartition(".")[2] == "text"]
    assert torch.equal(text[41:45], torch.from_numpy(new.text))
    assert torch.equal(text[1:41], torch.from_numpy(wide.text))
    assert not text[-1].any()
    with pytest.raises(ConfigError, match="needs the items' text"):
        grown(model, wide, text=False)


def test_pieces_learned_on_the_catalogue_are_not_made_up_for_new_items(build, features):
    model = build(features, **branches("popularity", "code_pieces", "ids"))
    assert "pieces of codes were learned on the catalogue" in model.refuses_new_items
    for form in (THREE, {"name": "llm_esr"}):
        assert build(features, **form).refuses_new_items is None


def test_a_grown_model_grows_again_and_the_same_items_give_the_same_model(build, wide):
    model = random_weights(build(wide, **THREE))
    larger, _ = grown(model, wide)
    again, _ = grown(model, wide)
    for one, other in zip(larger.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    codes = np.concatenate([wide.semantic_ids.codes, FRESH])
    more = dataclasses.replace(wide, semantic_ids=SemanticIds(codes, (10, 10, 10)))
    largest, _ = grown(larger, more, FRESH[:1])
    with torch.no_grad():
        pairs = zip(*(m.item_vectors(torch.arange(1, 45)) for m in (larger, largest)), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)


def test_rows_of_new_items_come_behind_those_of_old_ones_and_before_the_masked_item():
    table = torch.tensor([[0.0], [1.0], [3.0], [9.0]])
    new = NewItems(
        Neighbours(np.array([[0, 1], [1, 0]]), np.array([[0.5, 0.5], [0.75, 0.25]], np.float32), 2)
    )
    assert len(new) == 2
    assert new.learned_rows(table).flatten().tolist() == [0, 1, 3, 2, 2.5, 9]
    assert new.unseen_rows(table).flatten().tolist() == [0, 1, 3, 0, 0, 9]
