"""What is special in each baseline, by hand; what holds for all models is in test_properties.py."""

import dataclasses
import sys

import numpy as np
import pytest
import torch
from baseline_cases import BASELINES, ON_OTHER_BACKBONES

from h2rec.data.histories import Histories
from h2rec.errors import ConfigError, MissingExtraError
from h2rec.models.baselines import spm_sid
from h2rec.models.baselines.pg_sid import prefix_rows
from h2rec.models.baselines.pop import latest_counts
from h2rec.models.baselines.settings import SubPieceSettings
from h2rec.models.baselines.spm_sid import code_words, learned_pieces, scaled_to
from h2rec.models.build import BUILDERS, ItemFeatures, build_model, model_for_weights
from h2rec.models.row_sum import fitted_rows
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.settings import WITHOUT_CODES, ModelSettings
from h2rec.models.warm_start import code_vectors, text_vectors
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.training.checkpoint import load_weights, weights_of

NEEDS_CODES = ["sid_sum", "pg_sid", "spm_sid", "hid_sid_add", "hid_sid_concat"]
NEEDS_TEXT = ["sasrec_text", "llm_esr"]


def case_name(values):
    return "-".join(str(value) for value in values.values())


def code_sum(codes, item):
    rows = codes.item_rows[item]
    return codes.vectors[rows].sum(0)


def row_sum(table, item):
    return sum(table.vectors.weight[row] for row in table.rows[item].tolist() if row)


BY_HAND = {
    "sasrec_text": lambda t, i: t.hid.weight[i] + t.project.weight @ t.text[i] + t.project.bias,
    "sid_sum": lambda t, i: code_sum(t.codes, i),
    "pg_sid": row_sum,
    "spm_sid": row_sum,
    "hid_sid_add": lambda t, i: t.hid.weight[i] + code_sum(t.sid.codes, i),
    "hid_sid_concat": lambda t, i: (
        t.merge.weight[:, :8] @ t.hid.weight[i] + t.merge.weight[:, 8:] @ code_sum(t.sid.codes, i)
    ),
}


@pytest.mark.parametrize("kind", ["inner", "cosine"])
@pytest.mark.parametrize("values", [v for v in BASELINES if v["name"] in BY_HAND], ids=case_name)
def test_item_vectors_enter_and_score_as_the_baseline_defines_them(make_model, values, kind):
    model = make_model(**values, score={"kind": kind, "temperature": 0.1})
    history = Histories.from_lists([[3, 7, 9]])
    with torch.no_grad():
        vectors = {item: BY_HAND[values["name"]](model.table, item) for item in (3, 7, 9, 17, 40)}
        entry = torch.stack([vectors[item] for item in (3, 7, 9)])[None]
        state = model.encoder(entry, torch.tensor([3]))[0, -1]
        scores = CatalogueScorer(model).score(history, np.array([0]))[0]
        for item in (17, 40):
            expected = state @ vectors[item]
            if kind == "cosine":
                expected = expected / (state.norm() * vectors[item].norm() * 0.1)
            assert scores[item].item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("values", BASELINES + ON_OTHER_BACKBONES, ids=case_name)
def test_only_the_text_and_the_rows_are_frozen(make_model, values):
    model = make_model(**values).train()
    items = torch.tensor([[3, 7, 9, 4]])
    vectors = model(items, torch.tensor([4]), items > 0).vectors
    catalogue = model.item_vectors(torch.arange(1, 41))
    sum((u @ v.T).square().sum() for u, v in zip(vectors, catalogue, strict=True)).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(not buffer.requires_grad for buffer in model.buffers())


@pytest.mark.parametrize("name", NEEDS_CODES)
def test_without_codes_it_is_a_clear_error(name):
    with pytest.raises(ConfigError, match=rf"model\.name: {name} needs semantic IDs"):
        build_model(ModelSettings(name=name, dim=8), ItemFeatures(10), seed=0)


@pytest.mark.parametrize("name", BUILDERS)
def test_who_reads_no_codes_is_the_same_without_them(name, features):
    assert ModelSettings(name=name).reads_codes == (name in {*NEEDS_CODES, "h2rec"})
    if name in WITHOUT_CODES:
        settings = ModelSettings(name=name, dim=8)
        one, other = (
            weights_of(build_model(settings, found, seed=0))
            for found in (features, dataclasses.replace(features, semantic_ids=None))
        )
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", NEEDS_TEXT)
def test_without_text_it_is_a_clear_error(name):
    with pytest.raises(ConfigError, match=rf"model\.name: {name} needs the items' text"):
        build_model(ModelSettings(name=name, dim=8), ItemFeatures(10), seed=0)


def test_every_name_of_the_settings_reference_is_a_model_and_the_other_way_round():
    described = ModelSettings.model_fields["name"].description
    assert {word.strip(",.:\n ") for word in described.split()} - {"or", "a", "baseline"} == set(BUILDERS)


@pytest.mark.parametrize(
    "values", [{"name": "pop"}, *BASELINES, {"name": "sasrec"}, {"name": "h2rec"}], ids=case_name
)
def test_weights_alone_bring_the_model_back(features, values, monkeypatch):
    """A bundle holds settings, codes and weights: no text, no histories, no sentencepiece."""
    settings = ModelSettings.parse({"dim": 8, "max_length": 12, **values})
    model = build_model(settings, features, seed=5).eval()
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    weights = weights_of(model)
    again = model_for_weights(settings, features.item_count, features.semantic_ids, weights)
    load_weights(again, weights)
    history = Histories.from_lists([[3, 7, 9]])
    one, other = (CatalogueScorer(m).score(history, np.array([0])) for m in (model, again))
    assert torch.equal(one, other)
    assert one[0, 1:].unique().numel() >= 3


# -- warm starts -------------------------------------------------------------------------------------


def test_every_hash_table_starts_from_the_text(features):
    expected = torch.from_numpy(text_vectors(features.text, 8, 0.1))
    for name in ("sasrec_text", "llm_esr", "hid_sid_add", "hid_sid_concat", "two_hid"):
        model = build_model(ModelSettings(name=name, dim=8), features, seed=0)
        tables = [module.hid for module in model.modules() if hasattr(module, "hid")]
        assert len(tables) == (2 if name == "two_hid" else 1)
        assert all(torch.equal(table.weight[1:-1].detach(), expected) for table in tables)


def test_codes_start_from_the_text_in_the_sum_and_in_the_hybrids(features):
    vectors = text_vectors(features.text, 8, 0.1)
    tables, left = code_vectors(vectors, features.semantic_ids.codes, (6, 6, 6))
    for name in ("sid_sum", "hid_sid_add"):
        model = build_model(ModelSettings(name=name, dim=8), features, seed=0)
        codes = (model.table if name == "sid_sum" else model.table.sid).codes
        assert torch.equal(codes.by_level(codes.vectors)[0][:-1].detach(), torch.from_numpy(tables[0]))
    model = build_model(ModelSettings(name="sid_sum", dim=8), features, seed=0)
    with torch.no_grad():
        fused = model.table(torch.arange(1, 41)).numpy()
    assert fused == pytest.approx(vectors - left, abs=1e-5)


def test_concatenation_starts_as_the_sum(features):
    added, joined = (
        build_model(ModelSettings(name=f"hid_sid_{how}", dim=8), features, seed=0)
        for how in ("add", "concat")
    )
    items = torch.arange(1, 41)
    with torch.no_grad():
        torch.testing.assert_close(added.table(items), joined.table(items))


@pytest.mark.parametrize("name", ["pg_sid", "spm_sid"])
def test_rows_start_where_their_sums_come_near_the_text(features, name):
    settings = ModelSettings.parse({"name": name, "dim": 8, "spm_sid": {"vocabulary": 60}})
    model = build_model(settings, features, seed=0)
    vectors = text_vectors(features.text, 8, 0.1)
    with torch.no_grad():
        sums = model.table(torch.arange(1, 41)).numpy()
    # Prefixes tell nearly all items apart; pieces are fewer, and explain a part.
    explained = 1 - ((sums - vectors) ** 2).sum() / (vectors**2).sum()
    assert explained > (0.9 if name == "pg_sid" else 0.3)


def test_fitted_rows_are_the_least_squares_by_hand():
    """Rows 1 and 2 are shared by nobody but together, row 3 by all: a solvable system comes back."""
    rows = np.array([[1, 3], [2, 3], [3, 0]])
    vectors = np.array([[1.0, 4.0], [3.0, 2.0], [1.0, 1.0]], np.float32)
    found = fitted_rows(np.tile(vectors, (400, 1)), np.tile(rows, (400, 1)), 4)
    assert found == pytest.approx(np.array([[0, 3], [2, 1], [1, 1], [0, 0]]), abs=0.01)


# -- PG-SID ------------------------------------------------------------------------------------------


def test_prefixes_are_hashed_as_the_formula_says():
    codes = np.array([[5, 0, 127], [5, 0, 126], [0, 5, 127]], np.int32)
    rows = prefix_rows(codes, None, 1000)
    for item, row in zip(codes.tolist(), rows.tolist(), strict=True):
        state = 0
        for code, found in zip(item, row, strict=True):
            state = (state * 1_000_003 + code + 1) % (2**31 - 1)
            assert found == state % 1000 + 1
    assert rows[0, 0] == (5 + 1) % 1000 + 1 == 7
    assert rows[0, :2].tolist() == rows[1, :2].tolist()
    assert rows[0, 2] != rows[1, 2]
    assert rows[0, 1] != rows[2, 1]


def test_the_depth_bounds_the_prefixes():
    codes = np.array([[5, 0, 127], [1, 2, 3]], np.int32)
    assert np.array_equal(prefix_rows(codes, 2, 1000), prefix_rows(codes, None, 1000)[:, :2])


def test_distinct_prefixes_collide_as_rarely_as_chance_allows():
    """Tables of 2^n rows under codebooks of 2^m codes are where a naive polynomial forgets the coarse codes."""
    codes = np.stack(np.meshgrid(*[np.arange(16)] * 4, indexing="ij"), -1).reshape(-1, 4).astype(np.int32)
    rows = prefix_rows(codes, None, 2**20)
    prefixes = 16 + 16**2 + 16**3 + 16**4
    expected = 2**20 * (1 - np.exp(-prefixes / 2**20))
    assert len(np.unique(rows)) > 0.99 * expected


# -- SPM-SID -----------------------------------------------------------------------------------------


def some_codes(items=300):
    random = np.random.default_rng(3)
    return SemanticIds(random.integers(0, 4, (items, 4)).astype(np.int32), (4, 4, 4, 4))


def test_many_interactions_are_scaled_down_and_no_item_is_left_without_pieces(monkeypatch):
    counts = np.array([900_000, 90_000, 1, 10_000])
    assert scaled_to(counts, 10_000_000) is counts
    scaled = scaled_to(counts, 1000)
    assert scaled.tolist() == [899, 89, 1, 9]
    ids = SemanticIds(np.arange(240, dtype=np.int32).reshape(60, 4) % 7, (7, 7, 7, 7))
    settings = ModelSettings.parse({"name": "spm_sid", "spm_sid": {"vocabulary": 60}}).spm_sid
    monkeypatch.setattr(spm_sid, "MOST_WORDS", 100)
    seen = []
    monkeypatch.setattr(
        spm_sid,
        "scaled_to",
        lambda counts, most: seen.append((counts.sum(), most)) or scaled_to(counts, most),
    )
    train_counts = np.append(0, np.full(60, 1000))
    rows, pieces = learned_pieces(ids, train_counts, settings)
    assert seen == [(60_000, 100)]
    for word, row in zip(code_words(ids), rows, strict=True):
        assert "".join(pieces[piece - 1] for piece in row if piece) == word


def test_the_pieces_of_an_item_spell_its_codes():
    ids = some_codes()
    settings = SubPieceSettings(vocabulary=80)
    rows, pieces = learned_pieces(ids, None, settings)
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


def test_popular_items_become_pieces_of_their_own():
    ids = some_codes()
    counts = np.ones(301, np.int64)
    counts[[10, 20, 30]] = 2000
    rows, _ = learned_pieces(ids, counts, SubPieceSettings(vocabulary=60))
    assert [(rows[item - 1] > 0).sum() for item in (10, 20, 30)] == [1, 1, 1]
    plain, _ = learned_pieces(ids, counts, SubPieceSettings(vocabulary=60, weighting="items"))
    assert sum((plain[item - 1] > 0).sum() for item in (10, 20, 30)) > 3


def test_the_vocabulary_follows_the_catalogue_unless_it_is_set():
    _, pieces = learned_pieces(some_codes(300), None, SubPieceSettings())
    assert len(pieces) == 150


def test_learning_pieces_twice_gives_the_same():
    first, second = (learned_pieces(some_codes(), None, SubPieceSettings(vocabulary=80)) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert first[1] == second[1]


def test_a_vocabulary_that_cannot_hold_the_codes_is_an_error():
    with pytest.raises(ConfigError, match=r"model\.spm_sid\.vocabulary: 16 pieces can't hold the 16 codes"):
        learned_pieces(some_codes(), None, SubPieceSettings(vocabulary=16))


def test_more_codes_than_letters_is_an_error():
    with pytest.raises(ConfigError, match="at most 65534 codes"):
        code_words(SemanticIds(np.zeros((2, 1), np.int32), (70_000,)))


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(MissingExtraError, match=r"h2rec\[spm\]"):
        learned_pieces(some_codes(), None, SubPieceSettings())


# -- Pop ---------------------------------------------------------------------------------------------


def test_popularity_counts_training_interactions_or_the_latest_share_of_each_history():
    train = Histories.from_lists([[1, 2, 3, 3], [3], [], [2, 1, 1, 4, 2]])
    assert latest_counts(train, 5, None).tolist() == [0, 3, 3, 3, 1, 0]
    # Half of 4, 1, 0 and 5: the last 2 (3, 3), 1 (3), 0 and 3 (1, 4, 2).
    assert latest_counts(train, 5, 0.5).tolist() == [0, 1, 1, 3, 1, 0]
    assert latest_counts(train, 5, 0.01).tolist() == [0, 0, 1, 2, 0, 0]


def test_pop_ranks_by_popularity_for_everyone(features):
    train = Histories.from_lists([[1, 2, 3, 3], [3, 2]])
    model = build_model(ModelSettings(name="pop"), dataclasses.replace(features, train=train), seed=0)
    scores = CatalogueScorer(model).score(Histories.from_lists([[5], [], [3, 3]]), np.arange(3))
    assert scores[0, :5].tolist() == [0, 1, 2, 3, 0]
    assert torch.equal(scores[0], scores[1])
    assert torch.equal(scores[0], scores[2])


# -- settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pop": {"window": 1.5}}, r"pop\.window"),
        ({"pg_sid": {"row": 5}}, r"did you mean 'pg_sid\.rows'"),
        ({"name": "llm_esr", "llm_esr": {"cross_heads": 7}}, r"not divisible by llm_esr\.cross_heads \(7\)"),
        ({"llm_esr": {"similar_users": 0}}, r"llm_esr\.similar_users"),
    ],
)
def test_bad_settings_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        ModelSettings.parse(values)
