import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_catalogues import CODES, LEVELS, hierarchy
from rich.console import Console

from browser import opened
from h2rec.errors import SemanticIdError
from h2rec.semantic_ids.audit import audit
from h2rec.semantic_ids.audit.branches import code_tree
from h2rec.semantic_ids.audit.levels import error_by_depth, level_use
from h2rec.semantic_ids.audit.neighbours import check_neighbours
from h2rec.semantic_ids.audit.picture import write_html
from h2rec.semantic_ids.audit.shared import count_collisions
from h2rec.semantic_ids.audit.tables import audit_tables
from h2rec.semantic_ids.audit.treemap import Rectangle, squarify
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.semantic_ids.embeddings import variance
from h2rec.semantic_ids.quantizers import create
from h2rec.semantic_ids.settings import SemanticIdSettings


def ids(rows: list[list[int]], sizes: tuple[int, ...]) -> SemanticIds:
    return SemanticIds(np.array(rows, dtype=np.int32), sizes)


def test_use_of_a_level_by_hand():
    # Shares 1/2, 1/4, 0, 1/4: entropy .5 + .5 + .5 = 1.5 bits, perplexity 2 ** 1.5.
    first, second = level_use(ids([[0, 0], [0, 1], [1, 0], [3, 0]], (4, 2)))
    assert (first.used, first.utilisation, first.entropy) == (3, 0.75, 1.5)
    assert first.perplexity == pytest.approx(2.8284271)
    assert first.loads == (2, 1, 0, 1)
    assert first.fullest[0] == (0, 2)
    assert (first.prefixes, second.prefixes) == (3, 4)


def test_collisions_are_told_apart_by_their_cause():
    codes = ids([[0], [0], [1], [1], [2], [2], [3]], (4,))
    texts = ["Coffee, Tea", "coffee,  tea", "Bank", "Zoo", "red tea", "tea red", "alone"]
    found = count_collisions(codes, texts=texts, item_ids=list("abcdefg"))
    assert (found.items, found.distinct_tuples, found.colliding) == (7, 4, 6)
    assert (found.unavoidable, found.avoidable, found.same_words) == (2, 4, 2)
    assert found.rate == pytest.approx(6 / 7)
    assert [group.distinct for group in found.largest] == [2, 2, 1]
    assert found.largest[0].item_ids == ("c", "d")
    assert found.largest[0].titles == ("Bank", "Zoo")


def test_equal_embeddings_are_no_collision_that_the_quantizer_made():
    codes = ids([[0], [0], [0], [1], [1]], (2,))
    embeddings = np.array([[1, 0], [1, 1e-5], [0, 1], [1, 1], [1, 1]], dtype=np.float32)
    found = count_collisions(codes, embeddings)
    assert (found.colliding, found.unavoidable, found.avoidable) == (5, 2, 3)
    assert found.largest[0].distinct == 2


def test_a_tuple_of_many_items_is_looked_at_without_all_its_pairs(monkeypatch):
    rows = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    codes = ids([[0]] * 900, (1,))
    embeddings = np.concatenate([rows, rows, rows + 1e-6])
    assert count_collisions(codes, embeddings).largest[0].distinct == 300
    texts = [f"{row % 450}" for row in range(900)]
    assert count_collisions(codes, texts=texts).largest[0].distinct == 450
    # Beyond a size only what is the same to the letter counts as the same.
    monkeypatch.setattr("h2rec.semantic_ids.audit.shared.COMPARED_CONTENTS", 100)
    assert count_collisions(codes, embeddings).largest[0].distinct == 600


def test_without_texts_and_embeddings_the_cause_is_not_known():
    found = count_collisions(ids([[0], [0]], (1,)))
    assert (found.colliding, found.unavoidable, found.avoidable) == (2, None, None)


def test_error_by_depth_equals_a_naive_computation():
    points = hierarchy(copies=2)
    quantizer = create(SemanticIdSettings(quantizer="rqkmeans", levels=LEVELS, codebook_size=CODES)).fit(
        points
    )
    codes = SemanticIds(quantizer.encode(points), quantizer.codebook_sizes)
    for depth, found in enumerate(error_by_depth(codes, points, quantizer), start=1):
        prefixes = [tuple(row[:depth]) for row in codes.codes.tolist()]
        within = 0.0
        for prefix in set(prefixes):
            inside = points[[p == prefix for p in prefixes]].astype(np.float64)
            within += np.square(inside - inside.mean(axis=0)).sum()
        total = len(points) * variance(points)
        assert found.spread == pytest.approx(within / total, abs=1e-7)
        error = np.square(points - quantizer.decode(codes.codes[:, :depth])).sum()
        assert found.reconstruction == pytest.approx(error / total, rel=1e-4, abs=1e-7)


def test_variance_equals_numpy():
    points = hierarchy()
    assert variance(points) == pytest.approx(points.astype(np.float64).var(axis=0).sum(), rel=1e-6)


def test_neighbours_that_share_codes_are_closer_and_random_codes_are_not():
    points = hierarchy()
    quantizer = create(SemanticIdSettings(quantizer="rqkmeans", levels=LEVELS, codebook_size=CODES)).fit(
        points
    )
    real = check_neighbours(SemanticIds(quantizer.encode(points), quantizer.codebook_sizes), points)
    assert [check.depth for check in real] == [0, 1, 2, 3]
    assert real[0].similarity < 0.4
    assert real[1].similarity > 0.9
    assert real[1].closer_than_random > 0.85
    similarities = [check.similarity for check in real]
    assert similarities == sorted(similarities)
    made_up = np.random.default_rng(0).integers(4, size=(len(points), 2)).astype(np.int32)
    for check in check_neighbours(SemanticIds(made_up, (4, 4)), points)[1:]:
        assert check.closer_than_random == pytest.approx(0.5, abs=0.03)


def test_no_item_is_its_own_neighbour():
    # Two orthogonal items in each branch: a pair of different ones has cosine 0, an item with itself 1.
    codes = ids([[row // 2] for row in range(40)], (20,))
    found = check_neighbours(codes, np.eye(40, dtype=np.float32))
    assert [check.similarity for check in found] == [0.0, 0.0]


def test_depths_at_which_every_item_is_alone_are_left_out():
    codes = ids([[0, 0], [0, 1], [1, 0], [1, 1]], (2, 2))
    found = check_neighbours(codes, np.eye(4, dtype=np.float32))
    assert [check.depth for check in found] == [0, 1]


def test_branches_are_labelled_with_the_words_typical_of_them():
    texts = ["red tea house", "green tea house", "tea red", "pizza house", "pizza oven", "oven pizza house"]
    tree, themes = code_tree(ids([[0, 0], [0, 1], [0, 0], [1, 0], [1, 1], [1, 1]], (2, 2)), texts)
    assert [branch.words[0] for branch in tree] == ["tea", "pizza"]
    assert [branch.size for branch in tree] == ["3 items", "3 items"]
    below = {child.codes: child.words for branch in tree for child in branch.children}
    assert below[0, 0][0] == "red"
    assert below[1, 1][0] == "oven"
    assert sum(theme.items for theme in themes) == 6


def test_texts_without_words_make_a_tree_without_labels():
    tree, _ = code_tree(ids([[0], [1]], (2,)), ["", ""])
    assert [(branch.words, branch.size) for branch in tree] == [((), "1 item")] * 2


@given(st.lists(st.floats(0.1, 1000), min_size=1, max_size=60))
def test_a_treemap_fills_its_frame_with_the_given_areas(weights: list[float]):
    frame = Rectangle(5, 7, 300, 200)
    placed = squarify(sorted(weights, reverse=True), frame)
    for weight, tile in zip(sorted(weights, reverse=True), placed, strict=True):
        assert tile.width * tile.height == pytest.approx(60_000 * weight / sum(weights), rel=1e-6)
        assert tile.x >= frame.x - 1e-6
        assert tile.y >= frame.y - 1e-6
        assert tile.x + tile.width <= frame.x + frame.width + 1e-6
        assert tile.y + tile.height <= frame.y + frame.height + 1e-6


def test_a_whole_audit_is_plain_json_tables_and_one_safe_page(tmp_path: Path):
    points = hierarchy()
    quantizer = create(SemanticIdSettings(quantizer="rqkmeans", levels=LEVELS, codebook_size=CODES)).fit(
        points
    )
    codes = SemanticIds(quantizer.encode(points), quantizer.codebook_sizes)
    kinds = ["coffee roaster", "car repair", "hair salon", "pizza oven"]
    texts = [f"{kinds[row // 64]} number [bold]{row}[/] <script>alert(1)</script>" for row in range(256)]
    found = audit(
        codes, embeddings=points, quantizer=quantizer, texts=texts, item_ids=[str(i) for i in range(256)]
    )
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    # The four copies of a point are as good as equal: no quantizer could tell them apart.
    assert content["collisions"]["unavoidable_items"] == 256
    assert content["stable"] == 1.0
    assert len(content["levels"]) == len(content["error_by_depth"]) == LEVELS
    typical = {word for branch in content["branches"] for word in branch["words"]}
    assert {"coffee", "car", "hair", "pizza"} <= typical
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(audit_tables(found))
    shown = console.export_text()
    assert "256 items have 64 different tuples of codes; 256 items (100.0%) share theirs" in shown
    assert "[bold]" in shown
    assert "coffee, roaster" in shown
    write_html(tmp_path / "page.html", found, "A & B")
    page = (tmp_path / "page.html").read_text()
    assert "<title>A &amp; B</title>" in page
    assert "<script>alert" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert page.count('class="tile"') == CODES
    with opened(tmp_path / "page.html", 390) as (tab, problems):
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        # The map keeps a size at which it can be read, in a box of its own.
        assert tab.evaluate("document.querySelector('svg.map').getBoundingClientRect().width") >= 1200
        assert problems == []


def test_an_audit_of_bare_codes_needs_nothing_else(tmp_path: Path):
    found = audit(ids([[0, 1], [1, 1]], (2, 2)))
    assert found.to_json()["error_by_depth"] == []
    assert found.to_json()["collisions"]["avoidable_items"] is None
    write_html(tmp_path / "page.html", found, "bare")
    Console(file=io.StringIO()).print(audit_tables(found))


def test_parts_that_do_not_fit_are_told():
    codes = ids([[0, 1], [1, 1]], (2, 2))
    with pytest.raises(SemanticIdError, match="3 texts do not fit the codes of 2 items"):
        audit(codes, texts=["a", "b", "c"])
    points = hierarchy()
    quantizer = create(SemanticIdSettings(quantizer="rqkmeans", levels=1, codebook_size=4)).fit(points)
    with pytest.raises(SemanticIdError, match=r"\(2, 2\) are not those of the quantizer, \(4,\)"):
        audit(codes, embeddings=points[:2], quantizer=quantizer)
