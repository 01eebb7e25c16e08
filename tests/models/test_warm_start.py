from dataclasses import replace

import numpy as np
import pytest
import torch

from h2rec.errors import ConfigError
from h2rec.models.build import ItemFeatures, build_model
from h2rec.models.hid import COLD_STD
from h2rec.models.settings import ModelSettings
from h2rec.models.warm_start import code_vectors, text_vectors


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
    vectors = text_vectors(flat, 3, std=0.1)
    assert vectors.std() == pytest.approx(0.1)
    centred = flat - flat.mean(0)
    gram, expected = vectors @ vectors.T, centred @ centred.T
    assert gram / np.abs(gram).max() == pytest.approx(expected / np.abs(expected).max(), abs=1e-4)


@pytest.mark.parametrize(("items", "of_text", "told"), [(100, 8, 8), (5, 32, 5), (2, 8, 2), (1, 8, 0)])
def test_dimensions_that_the_text_does_not_have_start_at_zero(items, of_text, told):
    text = np.random.default_rng(0).normal(size=(items, of_text)).astype(np.float32)
    vectors = text_vectors(text, 16, 0.1)
    assert vectors.shape == (items, 16)
    assert not vectors[:, told:].any()
    if told:
        assert vectors.std() == pytest.approx(0.1)
        assert vectors[:, :told] == pytest.approx(
            text_vectors(text, told, 0.1) * (16 / told) ** 0.5, rel=1e-5
        )
    assert text_vectors(text, 16, 0.1, new=text[:1]) == pytest.approx(vectors[:1], abs=1e-6)


def test_items_of_one_text_start_at_nothing_and_not_at_noise():
    alike = np.full((9, 8), 0.3, dtype=np.float32)
    assert np.abs(text_vectors(alike, 4, 0.1)).max() < 1e-3


def test_the_tables_start_from_the_text_and_padding_stays_zero(features):
    model = build_model(ModelSettings(name="h2rec", dim=8), features, seed=0)
    expected = text_vectors(features.text, 8, 0.1)
    assert torch.equal(model.hid.weight[1:-1].detach(), torch.from_numpy(expected))
    assert not model.hid.weight[0].any()
    tables, _ = code_vectors(expected, features.semantic_ids.codes, (6, 6, 6))
    for level, table in zip(model.codes.by_level(model.codes.vectors), tables, strict=True):
        assert torch.equal(level[:-1].detach(), torch.from_numpy(table))


def test_a_cold_start_ignores_the_text(features):
    cold = {"hid": False, "codes": False}
    with_text = build_model(ModelSettings(name="h2rec", dim=8, warm_start=cold), features, seed=0)
    without = ItemFeatures(features.item_count, features.semantic_ids)
    bare = build_model(ModelSettings(name="h2rec", dim=8), without, seed=0)
    for left, right in zip(with_text.parameters(), bare.parameters(), strict=True):
        assert torch.equal(left, right)


@pytest.fixture
def half_described(features):
    has_text = np.arange(features.item_count) % 3 > 0
    return replace(features, has_text=has_text)


def test_items_without_text_start_cold_and_have_no_say_in_where_the_others_start(half_described):
    text, has_text = half_described.text, half_described.has_text
    assert 8 < has_text.sum() < len(has_text)
    expected = text_vectors(text[has_text], 8, 0.1)
    spoiled = replace(half_described, text=np.where(has_text[:, None], text, 1e3).astype(np.float32))
    for name in ("sasrec", "two_hid", "h2rec", "llm_esr"):
        model = build_model(ModelSettings(name=name, dim=8), half_described, seed=0)
        tables = [m.hid.weight.detach()[1:-1].numpy() for m in model.modules() if hasattr(m, "hid")]
        assert tables
        for rows in tables:
            assert (rows[has_text] == expected).all()
            cold = rows[~has_text]
            assert len(np.unique(cold, axis=0)) == len(cold)
            assert cold.std() == pytest.approx(COLD_STD, rel=0.3)
        other = build_model(ModelSettings(name=name, dim=8), spoiled, seed=0)
        for (key, left), right in zip(model.named_parameters(), other.parameters(), strict=True):
            assert torch.equal(left, right), key
    ids = half_described.semantic_ids
    codes, _ = code_vectors(expected, ids.codes[has_text], ids.codebook_sizes)
    model = build_model(ModelSettings(name="h2rec", dim=8), half_described, seed=0)
    for level, table in zip(model.codes.by_level(model.codes.vectors), codes, strict=True):
        assert torch.equal(level[:-1].detach(), torch.from_numpy(table))


@pytest.mark.parametrize("codes", ["levels", "prefixes"])
def test_a_hybrid_branch_starts_where_the_hash_ids_do_with_text_and_without(half_described, codes):
    residual = {"enabled": True, "branch": "own", "codes": codes}
    model = build_model(ModelSettings(dim=8, residual=residual), half_described, seed=0)
    items = torch.arange(1, half_described.item_count + 1)
    own = model.residual.table(items)
    with torch.no_grad():
        if codes == "prefixes":
            shared = model.nodes(items)
        else:
            levels, ids = (
                model.codes.by_level(model.codes.vectors),
                torch.from_numpy(half_described.semantic_ids.codes),
            )
            parts = [table[ids[:, level].long()] for level, table in enumerate(levels)]
            shared = torch.stack(parts).mean(0)
    whole = (
        (shared + own)
        if codes == "prefixes"
        else (shared + own) * len(half_described.semantic_ids.codebook_sizes)
    )
    torch.testing.assert_close(whole, model.hid(items), atol=1e-5, rtol=1e-4)


def test_too_few_texts_for_a_warm_start_are_told(features, caplog):
    has_text = np.arange(features.item_count) < 7
    model = build_model(ModelSettings(name="sasrec", dim=8), replace(features, has_text=has_text), seed=0)
    assert "7 items have a text, too few for a warm start" in caplog.text
    cold = build_model(ModelSettings(name="sasrec", dim=8, warm_start={"hid": False}), features, seed=0)
    assert torch.equal(model.hid.weight, cold.hid.weight)


def test_h2rec_without_codes_is_an_error():
    with pytest.raises(ConfigError, match="needs semantic IDs"):
        build_model(ModelSettings(), ItemFeatures(10), seed=0)


def test_an_unknown_model_is_an_error():
    with pytest.raises(ConfigError, match="unknown model 'sasrek'"):
        build_model(ModelSettings(name="sasrek"), ItemFeatures(10), seed=0)
