from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_catalogues import skewed

from h2rec.errors import SemanticIdError
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.semantic_ids.collisions import nearest_free, rank_in_group, resolve
from h2rec.semantic_ids.new_items import encode_new, outlyingness
from h2rec.semantic_ids.quantizers import create
from h2rec.semantic_ids.quantizers.registry import QuantizerSettings
from h2rec.semantic_ids.quantizers.rqkmeans import RQKMeans
from h2rec.semantic_ids.settings import SemanticIdSettings
from h2rec.semantic_ids.tokenize import tokenize


def line() -> RQKMeans:
    """Codes on a line: 0, 10 coarse, then -1, 0, 1; so the tuples are -1, 0, 1, 9, 10, 11."""
    quantizer = RQKMeans(QuantizerSettings(name="rqkmeans"), levels=2, codebook_size=3)
    quantizer.codebooks = torch.tensor([[[0.0], [10.0], [99.0]], [[-1.0], [0.0], [1.0]]])
    quantizer.error_quantiles = tuple(np.linspace(0, 1, 101))
    return quantizer


def codes_of(points: list[float]) -> tuple[SemanticIds, np.ndarray]:
    embeddings = np.array(points, dtype=np.float32)[:, None]
    quantizer = line()
    return SemanticIds(quantizer.encode(embeddings), quantizer.codebook_sizes), embeddings


def test_keep_changes_nothing():
    codes, _ = codes_of([0.0, 0.1, 10.0])
    assert resolve(codes, "keep") is codes


def test_a_suffix_counts_the_items_of_a_tuple_in_order():
    codes, _ = codes_of([0.0, 10.0, 0.1, 0.2])
    found = resolve(codes, "suffix")
    assert found.codes.tolist() == [[0, 1, 0], [1, 1, 0], [0, 1, 1], [0, 1, 2]]
    assert found.codebook_sizes == (3, 3, 3)


def test_reassignment_keeps_the_nearest_item_and_moves_the_others_to_their_nearest_free_tuple():
    # All four are nearest to 0. The second stays; 0.4 goes up to 1, -0.3 down to -1, and 0.45, for which
    # 1, -1 and 0 are taken by then, over to the nearest free one of the next branch, 9.
    codes, embeddings = codes_of([0.4, 0.1, -0.3, 0.45])
    assert codes.codes.tolist() == [[0, 1]] * 4
    found = resolve(codes, "reassign", line(), embeddings)
    assert found.codes.tolist() == [[0, 2], [0, 1], [0, 0], [1, 0]]
    assert found.codebook_sizes == codes.codebook_sizes


def test_reassignment_without_room_says_so():
    quantizer = RQKMeans(QuantizerSettings(name="rqkmeans"), levels=1, codebook_size=2)
    quantizer.codebooks = torch.tensor([[[0.0], [1.0]]])
    embeddings = np.array([[0.0], [0.1], [0.2]], dtype=np.float32)
    with pytest.raises(SemanticIdError, match="3 items do not fit 2 tuples"):
        resolve(SemanticIds(quantizer.encode(embeddings), (2,)), "reassign", quantizer, embeddings)


def test_reassignment_of_codes_from_a_file_says_what_to_use(tmp_path: Path):
    path = tmp_path / "x.index.json"
    path.write_text('{"a": ["<a_1>"], "b": ["<a_1>"]}')
    with pytest.raises(SemanticIdError, match="use keep or suffix"):
        tokenize(None, ["a", "b"], SemanticIdSettings(quantizer=str(path), collisions="reassign"))


@given(st.lists(st.floats(-3, 13, width=32), min_size=1, max_size=5), st.floats(-3, 13, width=32))
def test_the_nearest_free_code_of_the_last_level_is_the_nearest_by_brute_force(
    taken_at: list[float], at: float
):
    quantizer = line()
    taken = set(map(tuple, quantizer.encode(np.array(taken_at, dtype=np.float32)[:, None]).tolist()))
    embedding = np.array([at], dtype=np.float32)
    codes = quantizer.encode(embedding[None])[0]
    found = nearest_free(quantizer, embedding, codes, taken)
    same_branch = [(int(codes[0]), k) for k in range(3) if (int(codes[0]), k) not in taken]
    if same_branch:
        decoded = quantizer.decode(np.array(same_branch, dtype=np.int32))[:, 0]
        distance = abs(quantizer.decode(np.array([found], dtype=np.int32))[0, 0] - embedding[0])
        assert found in same_branch
        assert distance <= np.abs(decoded - embedding[0]).min() + 1e-5
    assert found not in taken


def test_rank_in_group_by_hand():
    assert rank_in_group(np.array([5, 2, 5, 5, 2])).tolist() == [0, 0, 1, 2, 1]


@pytest.mark.parametrize("how", ["suffix", "reassign"])
def test_every_item_of_a_fitted_catalogue_has_its_own_tuple(how: str):
    points = np.repeat(skewed(300), 2, axis=0)
    settings = SemanticIdSettings(quantizer="rqkmeans", levels=2, codebook_size=32, collisions=how)
    found = tokenize(points, [str(i) for i in range(600)], settings).semantic_ids
    assert len(np.unique(found.codes, axis=0)) == 600


def test_outlyingness_grows_with_the_distance_from_the_catalogue():
    # The catalogue's errors are spread evenly over 0..1; 0.5 off a code gives .25, 3 off gives 9.
    found = outlyingness(line(), np.array([[10.0], [10.5], [14.0]], dtype=np.float32))
    assert found.tolist() == pytest.approx([0.0, 0.25, 1.0])


def test_outlyingness_separates_unseen_members_from_strangers():
    points = skewed(1200)
    stream = np.random.default_rng(0)
    rows = stream.permutation(1200)
    quantizer = create(SemanticIdSettings(quantizer="rqkmeans", levels=2, codebook_size=16))
    quantizer.fit(points[rows[:1000]])
    members = outlyingness(quantizer, points[rows[1000:]])
    strangers = outlyingness(quantizer, points[rows[1000:]] + 10)
    assert 0.35 < members.mean() < 0.7
    assert strangers.min() == 1.0


def test_an_exactly_described_catalogue_makes_every_stranger_an_outlier():
    quantizer = line()
    quantizer.error_quantiles = (0.0,) * 101
    found = outlyingness(quantizer, np.array([[10.0], [10.2]], dtype=np.float32))
    assert found.tolist() == [0.0, 1.0]


def test_new_items_fit_beside_the_old_ones():
    quantizer = line()
    existing, embeddings = codes_of([0.0, 10.0, 10.1])
    new = np.array([[0.3], [0.4]], dtype=np.float32)
    assert encode_new(quantizer, new, existing).codes.tolist() == [[0, 1], [0, 1]]
    moved = resolve(existing, "reassign", quantizer, embeddings)
    assert encode_new(quantizer, new, moved, "reassign").codes.tolist() == [[0, 2], [0, 0]]
    suffixed = resolve(existing, "suffix")
    # The table of suffixes has two rows: the first new item gets the free one, the second shares it.
    assert encode_new(quantizer, new, suffixed, "suffix").codes.tolist() == [[0, 1, 1], [0, 1, 1]]


def test_new_items_of_another_catalogue_are_refused():
    existing = SemanticIds.from_mapping({"x": [0, 7]})
    with pytest.raises(SemanticIdError, match=r"\(1, 8\) are not the quantizer's \(3, 3\)"):
        encode_new(line(), np.zeros((1, 1), dtype=np.float32), existing)
