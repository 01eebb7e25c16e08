from dataclasses import replace

import numpy as np
import pytest
import torch
from model_forms import THREE, branches
from torch import nn

from h2rec.models import warm_start
from h2rec.models.build import model_for_weights
from h2rec.models.features import ItemFeatures
from h2rec.models.item_table import IdTable
from h2rec.models.row_sum import RowSum, fitted_rows
from h2rec.models.warm_start import COLD_STD, STARTED_STD, code_vectors, evened, text_vectors
from h2rec.models.weights import weights_of
from h2rec.semantic_ids.codes import SemanticIds

TEXT_STARTS = [
    branches("ids"),
    branches("ids_and_text"),
    branches("ids_and_codes"),
    branches(items_added={"kind": "ids_and_codes", "join": "add"}),
    branches(first={"kind": "ids"}, second={"kind": "ids"}),
    THREE,
    {"name": "llm_esr"},
]
CODE_TABLES = {
    "codes": lambda branch: branch.table,
    "code_sum": lambda branch: branch.table.codes,
    "ids_and_codes": lambda branch: branch.table.codes.codes,
}


def test_code_vectors_are_means_of_what_coarser_levels_left():
    vectors = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 10.0]], np.float32)
    codes = np.array([[0, 0], [0, 1], [1, 1]], np.int32)
    tables, residual = code_vectors(vectors, codes, (2, 3))
    assert tables[0].tolist() == [[2.0, 0.0], [0.0, 10.0]]
    # Level 2 sees -1 (item 0), +1 and 0 (items 1 and 2); its third code has no item.
    assert tables[1].tolist() == [[-1.0, 0.0], [0.5, 0.0], [0.0, 0.0]]
    rebuilt = tables[0][codes[:, 0]] + tables[1][codes[:, 1]] + residual
    assert rebuilt == pytest.approx(vectors)


def test_text_vectors_keep_the_geometry_of_the_leading_components():
    random = np.random.default_rng(0)
    flat = (random.normal(size=(100, 3)) @ random.normal(size=(3, 12))).astype(np.float32)
    vectors = text_vectors(flat, 3)
    assert vectors.std() == pytest.approx(0.1)
    centred = flat - flat.mean(0)
    gram, expected = vectors @ vectors.T, centred @ centred.T
    assert gram / np.abs(gram).max() == pytest.approx(expected / np.abs(expected).max(), abs=1e-4)


def test_text_of_new_items_is_projected_as_if_it_had_been_among_the_others():
    text = np.random.default_rng(0).normal(size=(30, 12)).astype(np.float32)
    assert text_vectors(text, 4, new=text[:3]) == pytest.approx(text_vectors(text, 4)[:3], abs=1e-6)
    # It has no say in the components.
    far = np.concatenate([text[:1], 100 * text[1:2]])
    assert text_vectors(text, 4, new=far)[0] == pytest.approx(text_vectors(text, 4)[0], abs=1e-6)


@pytest.mark.parametrize(("items", "of_text", "told"), [(100, 8, 8), (5, 32, 5), (2, 8, 2), (1, 8, 0)])
def test_dimensions_that_the_text_does_not_have_start_at_zero(items, of_text, told):
    text = np.random.default_rng(0).normal(size=(items, of_text)).astype(np.float32)
    vectors = text_vectors(text, 16)
    assert vectors.shape == (items, 16)
    assert not vectors[:, told:].any()
    if told:
        assert vectors.std() == pytest.approx(0.1)
        assert vectors[:, :told] == pytest.approx(text_vectors(text, told) * (16 / told) ** 0.5, rel=1e-5)
    assert text_vectors(text, 16, new=text[:1]) == pytest.approx(vectors[:1], abs=1e-6)


def test_items_of_one_text_start_at_nothing_and_not_at_noise():
    alike = np.full((9, 8), 0.3, dtype=np.float32)
    assert np.abs(text_vectors(alike, 4)).max() < 1e-3


def test_a_start_has_the_first_encoder_and_the_others_at_equal_length(build, features):
    random = np.random.default_rng(0)
    first, others = (
        random.normal(size=(features.item_count, columns)).astype(np.float32) for columns in (4, 6)
    )
    first[0] = others[1] = 0  # not read by the one, not by the other
    half = np.concatenate([first, others / 2], axis=1)
    lengths = [np.linalg.norm(part, axis=1, keepdims=True).clip(1e-9) for part in (first, others)]
    equal = np.concatenate([first / lengths[0], others / lengths[1]], axis=1)
    equal /= np.linalg.norm(equal, axis=1, keepdims=True)
    assert evened(half, 4) == pytest.approx(equal, abs=1e-6)
    assert evened(half, None) is half
    started = id_tables(build(replace(features, text=half, leading=4)))[0][1:-1].numpy()
    assert started == pytest.approx(text_vectors(equal, 8), abs=1e-5)


def id_tables(model):
    return [module.vectors.weight.detach() for module in model.modules() if isinstance(module, IdTable)]


@pytest.mark.parametrize("form", TEXT_STARTS, ids=str)
def test_every_table_of_hash_ids_starts_from_the_text_and_padding_stays_zero(build, features, form):
    expected = torch.from_numpy(text_vectors(features.text, 8))
    tables = id_tables(build(**form))
    assert len(tables) == (2 if "second" in str(form) else 1)
    for table in tables:
        assert torch.equal(table[1:-1], expected)
        assert not table[0].any()


@pytest.mark.parametrize("kind", CODE_TABLES)
def test_codes_start_level_by_level_so_that_items_add_up_to_their_text(build, features, kind):
    vectors = text_vectors(features.text, 8)
    tables, left = code_vectors(vectors, features.semantic_ids.codes, (6, 6, 6))
    codes = CODE_TABLES[kind](build(**branches(kind)).branches[kind])
    for level, table in zip(codes.by_level(codes.vectors), tables, strict=True):
        assert torch.equal(level[:-1].detach(), torch.from_numpy(table))
    with torch.no_grad():
        sums = codes.vectors[codes.item_rows[1:-1]].sum(1).numpy()
    assert sums == pytest.approx(vectors - left, abs=1e-5)


@pytest.mark.parametrize("kind", ["hashed_prefixes", "code_pieces", "prefixes"])
def test_rows_start_where_their_sums_come_near_the_text(build, features, kind):
    model = build(**branches(kind))
    vectors = text_vectors(features.text, 8)
    with torch.no_grad():
        table = model.branches[kind].table
        sums = (table if isinstance(table, RowSum) else table.nodes)(torch.arange(1, 41)).numpy()
    # Prefixes tell nearly all items apart; pieces, and prefixes that items share, are fewer and explain a part.
    explained = 1 - ((sums - vectors) ** 2).sum() / (vectors**2).sum()
    assert explained > (0.9 if kind == "hashed_prefixes" else 0.3)


def test_prefixes_and_leaf_start_as_the_text(build, features):
    everything_seen = replace(features, train_counts=np.ones(41, np.int64))
    table = build(everything_seen, **branches("prefixes")).branches["prefixes"].table
    with torch.no_grad():
        whole = table(torch.arange(1, 41))
    torch.testing.assert_close(whole, torch.from_numpy(text_vectors(features.text, 8)), rtol=1e-5, atol=1e-6)


def test_concatenation_starts_as_the_sum(build):
    added, joined = (
        build(**branches(own={"kind": "ids_and_codes", "join": join})).branches["own"].table
        for join in ("add", "concat")
    )
    items = torch.arange(1, 41)
    with torch.no_grad():
        torch.testing.assert_close(added(items), joined(items))


def test_fitted_rows_are_the_least_squares_by_hand():
    """Rows 1 and 2 are shared by nobody but together, row 3 by all: a solvable system comes back."""
    rows = np.array([[1, 3], [2, 3], [3, 0]])
    vectors = np.array([[1.0, 4.0], [3.0, 2.0], [1.0, 1.0]], np.float32)
    found = fitted_rows(np.tile(vectors, (400, 1)), np.tile(rows, (400, 1)), 4)
    assert found == pytest.approx(np.array([[0, 3], [2, 1], [1, 1], [0, 0]]), abs=0.01)


@pytest.mark.parametrize("form", [THREE, branches("ids_and_codes"), branches("hashed_prefixes")], ids=str)
def test_a_cold_start_ignores_the_text(build, features, form):
    with_text, without = (
        build(known, warm_start=False, **form) for known in (features, replace(features, text=None))
    )
    for left, right in zip(with_text.parameters(), without.parameters(), strict=True):
        assert torch.equal(left, right)


# -- items without text ------------------------------------------------------------------------------


@pytest.fixture
def half_described(features):
    return replace(features, has_text=np.arange(features.item_count) % 3 > 0)


@pytest.mark.parametrize("form", TEXT_STARTS, ids=str)
def test_items_without_text_start_cold_and_have_no_say_in_where_the_others_start(build, half_described, form):
    text, has_text = half_described.text, half_described.has_text
    assert 8 < has_text.sum() < len(has_text)
    expected = text_vectors(text[has_text], 8)
    spoiled = replace(half_described, text=np.where(has_text[:, None], text, 1e3).astype(np.float32))
    model = build(half_described, **form)
    for table in id_tables(model):
        rows = table[1:-1].numpy()
        assert (rows[has_text] == expected).all()
        cold = rows[~has_text]
        assert len(np.unique(cold, axis=0)) == len(cold)
        assert cold.std() == pytest.approx(COLD_STD, rel=0.3)
    other = build(spoiled, **form)
    for (key, left), right in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(left, right), key


@pytest.mark.parametrize("kind", CODE_TABLES)
def test_items_without_text_have_no_say_in_their_codes(build, half_described, kind):
    has_text, ids = half_described.has_text, half_described.semantic_ids
    expected = text_vectors(half_described.text[has_text], 8)
    tables, _ = code_vectors(expected, ids.codes[has_text], ids.codebook_sizes)
    codes = CODE_TABLES[kind](build(half_described, **branches(kind)).branches[kind])
    for level, table in zip(codes.by_level(codes.vectors), tables, strict=True):
        assert torch.equal(level[:-1].detach(), torch.from_numpy(table))


def test_prefixes_and_leaf_of_an_item_without_text_start_where_the_hash_ids_do(build, half_described):
    known = replace(half_described, train_counts=np.ones(41, np.int64))
    model = build(known, **branches("prefixes", "ids"))
    items = torch.arange(1, 41)
    with torch.no_grad():
        one, other = (model.branches[name].table(items) for name in ("prefixes", "ids"))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_too_few_texts_for_a_warm_start_are_told(build, features, caplog):
    few = replace(features, has_text=np.arange(features.item_count) < 7)
    model = build(few, **THREE)
    assert "7 items have a text, too few for a warm start" in caplog.text
    cold = build(few, warm_start=False, **THREE)
    for left, right in zip(model.parameters(), cold.parameters(), strict=True):
        assert torch.equal(left, right)


def test_without_text_items_of_like_codes_start_near_each_other(build):
    """Where one level differs, it adds half of what the one before would."""
    codes = np.stack([np.arange(400) // 50, np.arange(400) // 10 % 5, np.arange(400) // 2 % 5], axis=1)
    known = ItemFeatures(400, SemanticIds(codes.astype(np.int32), (8, 5, 5)))

    def started(seed=0):
        model = build(known, seed=seed, dim=64, **branches("ids"))
        return model.branches["ids"].table.vectors.weight[1:-1].detach()

    rows = started()
    assert torch.equal(rows, started())
    assert not torch.equal(rows, started(seed=1))
    assert float(rows.std()) == pytest.approx(STARTED_STD, rel=1e-3)
    twins, sisters, cousins, strangers = (
        (rows - rows.roll(steps, 0)).square().sum(1)[of].mean().item()
        for steps, of in (
            (-1, slice(0, None, 2)),
            (-2, slice(0, 8)),
            (-10, slice(0, 40)),
            (-50, slice(0, 350)),
        )
    )
    assert twins == 0
    assert strangers / cousins == pytest.approx(2, rel=0.35)
    assert cousins / sisters == pytest.approx(2, rel=0.35)


def test_without_text_codes_and_hash_ids_start_as_one(build, features):
    model = build(replace(features, text=None), **THREE)
    ids = model.branches["ids"].table.vectors.weight[1:-1].detach().numpy()
    tables, _ = code_vectors(ids, features.semantic_ids.codes, features.semantic_ids.codebook_sizes)
    codes = model.branches["codes"].table
    for level, table in zip(codes.by_level(codes.vectors), tables, strict=True):
        torch.testing.assert_close(level[:-1].detach(), torch.from_numpy(table))


def test_stored_weights_are_not_started_anew(build, features, monkeypatch):
    made = build(**branches("ids"))
    stored = weights_of(made)
    monkeypatch.setattr(warm_start, "vectors_of_codes", None)
    loaded = model_for_weights(made.settings, features.item_count, features.semantic_ids, stored)
    assert torch.equal(
        loaded.branches["ids"].table.vectors.weight, stored["branches.ids.table.vectors.weight"]
    )


def test_a_warm_start_without_text_or_codes_is_a_cold_one(build, features):
    bare = build(ItemFeatures(features.item_count), **branches("ids"))
    cold = build(warm_start=False, **branches("ids"))
    tables = [module for module in bare.modules() if isinstance(module, nn.Embedding)]
    assert tables
    for left, right in zip(bare.parameters(), cold.parameters(), strict=True):
        assert torch.equal(left, right)
