"""What is special in the branches that H2Rec is compared with, by hand."""

import dataclasses
import sys

import numpy as np
import pytest
import torch
from model_forms import FORMS, KINDS, branches, name_of

from h2rec.data.histories import Histories
from h2rec.errors import ConfigError, MissingExtraError
from h2rec.models.baselines import code_pieces
from h2rec.models.baselines.code_pieces import code_words, learned_pieces, scaled_to
from h2rec.models.baselines.hashed_prefixes import prefix_rows
from h2rec.models.branches import BRANCHES
from h2rec.models.build import model_for_weights
from h2rec.models.features import ItemFeatures
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.weights import weights_of
from h2rec.semantic_ids.codes import SemanticIds

NEEDS_CODES = {
    kind
    for kind in KINDS
    if kind not in ("ids", "ids_and_text", "popularity", "transitions", "similar_text", "similar_vectors")
}


def code_sum(codes, item):
    return codes.vectors[codes.item_rows[item]].sum(0)


def row_sum(table, item):
    return sum(table.vectors.weight[row] for row in table.rows[item].tolist() if row)


def added(table, item):
    return table.ids.vectors.weight[item] + code_sum(table.codes.codes, item)


def beside(table, item):
    own, codes = table.merge.weight.split(8, dim=1)
    return own @ table.ids.vectors.weight[item] + codes @ code_sum(table.codes.codes, item)


BY_HAND = [
    ("ids_and_text", {}, lambda t, i: (
        t.ids.vectors.weight[i] + t.project.weight @ t.text[i] + t.project.bias
    )),
    ("code_sum", {}, lambda t, i: code_sum(t.codes, i)),
    ("hashed_prefixes", {}, row_sum),
    ("code_pieces", {}, row_sum),
    ("ids_and_codes", {"join": "add"}, added),
    ("ids_and_codes", {"join": "concat"}, beside),
]  # fmt: skip


@pytest.mark.parametrize("temperature", [None, 0.1])
@pytest.mark.parametrize(("kind", "values", "by_hand"), BY_HAND)
def test_item_vectors_enter_and_score_as_the_baseline_defines_them(
    make_model, kind, values, by_hand, temperature
):
    model = make_model(temperature=temperature, branches={"own": {"kind": kind, **values}})
    branch = model.branches["own"]
    with torch.no_grad():
        vectors = {item: by_hand(branch.table, item) for item in (3, 7, 9, 17, 40)}
        entry = torch.stack([vectors[item] for item in (3, 7, 9)])[None]
        state = branch.encoder(entry, torch.tensor([3]))[0, -1]
        scores = CatalogueScorer(model).score(Histories.from_lists([[3, 7, 9]]), np.array([0]))[0]
        for item in (17, 40):
            expected = state @ vectors[item]
            if temperature:
                expected = expected / (state.norm() * vectors[item].norm() * 0.1)
            assert scores[item].item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_without_codes_it_is_a_clear_error(build, kind):
    assert BRANCHES.get(kind).reads_codes == (kind in NEEDS_CODES)
    if kind in NEEDS_CODES:
        with pytest.raises(ConfigError, match=r"a branch of .* needs semantic IDs"):
            build(ItemFeatures(10), **branches(kind))


@pytest.mark.parametrize("form", [branches("ids_and_text"), {"name": "llm_esr"}], ids=name_of)
def test_without_text_it_is_a_clear_error(build, form):
    with pytest.raises(ConfigError, match="needs the items' text"):
        build(ItemFeatures(10), **form)


@pytest.mark.parametrize("form", FORMS, ids=name_of)
def test_weights_alone_bring_the_model_back(features, build, form, monkeypatch):
    """A bundle holds settings, codes and weights: no text, no histories, no sentencepiece."""
    model = build(**form).eval()
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    weights = weights_of(model)
    again = model_for_weights(model.settings, features.item_count, features.semantic_ids, weights)
    one, other = (CatalogueScorer(m).score(features.train, np.array([0])) for m in (model, again))
    assert torch.equal(one, other)
    assert one[0, 1:].unique().numel() >= 3


def test_the_text_of_a_branch_is_never_trained(make_model, features):
    model = make_model(**branches("ids_and_text"))
    text = model.branches["ids_and_text"].table.text
    assert not text.requires_grad
    assert torch.equal(text[1:-1], torch.from_numpy(features.text))
    assert not text[[0, -1]].any()


# -- hashed prefixes ---------------------------------------------------------------------------------


def test_prefixes_are_hashed_as_the_formula_says():
    codes = np.array([[5, 0, 127], [5, 0, 126], [0, 5, 127]], np.int32)
    rows = prefix_rows(codes, 1000)
    for item, row in zip(codes.tolist(), rows.tolist(), strict=True):
        state = 0
        for code, found in zip(item, row, strict=True):
            state = (state * 1_000_003 + code + 1) % (2**31 - 1)
            assert found == state % 1000 + 1
    assert rows[0, 0] == (5 + 1) % 1000 + 1 == 7
    assert rows[0, :2].tolist() == rows[1, :2].tolist()
    assert rows[0, 2] != rows[1, 2]
    assert rows[0, 1] != rows[2, 1]


def test_distinct_prefixes_collide_as_rarely_as_chance_allows():
    """Tables of 2^n rows under codebooks of 2^m codes are where a naive polynomial forgets the coarse codes."""
    codes = np.stack(np.meshgrid(*[np.arange(16)] * 4, indexing="ij"), -1).reshape(-1, 4).astype(np.int32)
    rows = prefix_rows(codes, 2**20)
    prefixes = 16 + 16**2 + 16**3 + 16**4
    expected = 2**20 * (1 - np.exp(-prefixes / 2**20))
    assert len(np.unique(rows)) > 0.99 * expected


# -- code pieces -------------------------------------------------------------------------------------


def some_codes(items=300):
    random = np.random.default_rng(3)
    return SemanticIds(random.integers(0, 4, (items, 4)).astype(np.int32), (4, 4, 4, 4))


def test_many_interactions_are_scaled_down_and_no_item_is_left_without_pieces(monkeypatch):
    counts = np.array([900_000, 90_000, 1, 10_000])
    assert scaled_to(counts, 10_000_000) is counts
    scaled = scaled_to(counts, 1000)
    assert scaled.tolist() == [899, 89, 1, 9]
    ids = SemanticIds(np.arange(240, dtype=np.int32).reshape(60, 4) % 7, (7, 7, 7, 7))
    monkeypatch.setattr(code_pieces, "MOST_WORDS", 100)
    seen = []
    monkeypatch.setattr(
        code_pieces,
        "scaled_to",
        lambda counts, most: seen.append((counts.sum(), most)) or scaled_to(counts, most),
    )
    train_counts = np.append(0, np.full(60, 1000))
    rows, pieces = learned_pieces(ids, train_counts, 60)
    assert seen == [(60_000, 100)]
    for word, row in zip(code_words(ids), rows, strict=True):
        assert "".join(pieces[piece - 1] for piece in row if piece) == word


def test_the_pieces_of_an_item_spell_its_codes():
    ids = some_codes()
    rows, pieces = learned_pieces(ids, None, 80)
    assert rows.shape[0] == len(ids)
    assert len(pieces) == 80
    for word, row in zip(code_words(ids), rows.tolist(), strict=True):
        assert "".join(pieces[piece - 1] for piece in row if piece) == word
    # Longer pieces are learned, and used.
    assert (rows > 0).sum() < ids.codes.size


def test_letters_tell_levels_apart():
    ids = SemanticIds(np.array([[1, 1], [0, 1]], np.int32), (2, 3))
    words = [[ord(letter) - 0xF0000 for letter in word] for word in code_words(ids)]
    assert words == [[1, 3], [0, 3]]


def test_popular_items_become_pieces_of_their_own(features):
    ids = some_codes()
    counts = np.ones(301, np.int64)
    counts[[10, 20, 30]] = 2000
    rows, _ = learned_pieces(ids, counts, 60)
    assert [(rows[item - 1] > 0).sum() for item in (10, 20, 30)] == [1, 1, 1]
    plain, _ = learned_pieces(ids, None, 60)
    assert sum((plain[item - 1] > 0).sum() for item in (10, 20, 30)) > 3


def test_the_vocabulary_follows_the_catalogue(build):
    _, pieces = learned_pieces(some_codes(300), None)
    assert len(pieces) == 150
    table = build(**branches("code_pieces")).branches["code_pieces"].table
    assert table.vectors.num_embeddings == 2 * 18 + 2


def test_learning_pieces_twice_gives_the_same():
    first, second = (learned_pieces(some_codes(), None, 80) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert first[1] == second[1]


def test_more_codes_than_letters_is_an_error():
    with pytest.raises(ConfigError, match="at most 65534 codes"):
        code_words(SemanticIds(np.zeros((2, 1), np.int32), (70_000,)))


def test_without_the_library_the_extra_is_named(build, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(MissingExtraError, match=r"h2rec\[spm\]"):
        build(**branches("code_pieces"))


def test_items_are_cut_by_the_training_counts(build, features):
    counts = np.ones(41, np.int64)
    form = branches(own={"kind": "code_pieces"})

    def pieces():
        model = build(dataclasses.replace(features, train_counts=counts), **form)
        return int((model.branches["own"].table.rows[7] > 0).sum())

    assert pieces() > 1
    counts[7] = 5000
    assert pieces() == 1
