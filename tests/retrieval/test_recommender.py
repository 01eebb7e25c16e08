import numpy as np
import pytest
import torch

from h2rec.data.histories import Histories
from h2rec.errors import DataError
from h2rec.models.scorer import CatalogueScorer
from h2rec.retrieval.recommender import Recommender
from made_bundles import make_bundle

COUNTED = ("followers", "predecessors", "kinds", "similar_text", "similar_vectors")


def by_hand(recommender, history, k):
    """Every item scored in a plain loop, what is counted added, the history left out, ties by index."""
    model = recommender.bundle.model
    rows = Histories.from_lists([[int(item[1:]) + 1 for item in history]])
    scorer = CatalogueScorer(model)
    user = scorer.user_vectors(rows, np.arange(1))[0].double()
    by_branch = dict(zip(model.branch_names, scorer.branch_scores(rows, np.arange(1)), strict=True))
    counted = sum(by_branch[name][0].double() for name in COUNTED)
    with torch.inference_mode():
        vectors = torch.cat(model.item_vectors(torch.arange(61)), dim=1).double()
    scored = [
        (-float(user @ vectors[item] + counted[item]), item)
        for item in range(1, 61)
        if f"i{item - 1}" not in history
    ]
    return [(f"i{item - 1}", -score) for score, item in sorted(scored)[:k]]


def test_answers_are_the_best_items_outside_the_history(recommender):
    history = ["i3", "i17", "i4"]
    expected = by_hand(recommender, history, 8)
    answer = recommender.recommend(history, 8)
    assert [item.item_id for item in answer.items] == [item for item, _ in expected]
    assert [item.score for item in answer.items] == pytest.approx([score for _, score in expected], rel=1e-4)
    assert answer.unknown == []
    assert not answer.from_popularity


def test_an_answer_carries_fields_and_the_head_mark(recommender):
    answer = recommender.recommend(["i3"], 60)
    assert len(answer.items) == 59
    marks = {item.item_id: item.head for item in answer.items}
    assert [name for name, head in marks.items() if head] != []
    assert all(head == (int(name[1:]) < 12) for name, head in marks.items())
    first = answer.items[0]
    assert first.fields["category"] in first.fields["title"]
    assert set(first.fields) == {"title", "category"}


def test_unknown_items_are_skipped_and_reported(recommender):
    with_unknown = recommender.recommend(["i3", "nothing", "i9", ""], 5)
    assert with_unknown.unknown == ["nothing", ""]
    assert with_unknown.items == recommender.recommend(["i3", "i9"], 5).items


@pytest.mark.parametrize("history", [[], ["nothing"]])
def test_without_history_the_popular_items_are_given(recommender, history):
    answer = recommender.recommend(history, 4)
    assert answer.from_popularity
    assert [item.item_id for item in answer.items] == ["i0", "i1", "i2", "i3"]
    assert [item.score for item in answer.items] == [60.0, 59.0, 58.0, 57.0]


def test_a_batch_equals_its_rows_one_by_one(recommender):
    histories = [["i3"], [], ["i1", "x", "i2", "i50"], [f"i{n}" for n in range(40)], ["nothing"]]
    together = recommender.recommend_batch(histories, 7)
    for history, answer in zip(histories, together, strict=True):
        alone = recommender.recommend(history, 7)
        assert [item.item_id for item in answer.items] == [item.item_id for item in alone.items]
        assert [i.score for i in answer.items] == pytest.approx([i.score for i in alone.items], rel=1e-4)
        assert (answer.unknown, answer.from_popularity) == (alone.unknown, alone.from_popularity)
    assert recommender.recommend_batch([], 7) == []


def test_a_catalogue_that_runs_out_gives_shorter_lists(recommender):
    answer = recommender.recommend([f"i{n}" for n in range(58)], 10)
    assert sorted(item.item_id for item in answer.items) == ["i58", "i59"]
    assert recommender.recommend([f"i{n}" for n in range(60)], 10).items == []
    # Nor does a quota of tail items find any where all have been had, or put one in twice.
    assert recommender.recommend([f"i{n}" for n in range(60)], 10, tail_share=1).items == []
    few = recommender.recommend(
        [f"i{n}" for n in range(11)] + [f"i{n}" for n in range(12, 59)], 10, tail_share=1
    )
    assert sorted(item.item_id for item in few.items) == ["i11", "i59"]


def test_only_the_last_positions_of_a_long_history_count_but_all_of_it_is_left_out(recommender):
    early, late = [f"i{n}" for n in range(20)], [f"i{n}" for n in range(20, 26)]
    answer = recommender.recommend(early + late, 60)
    names = [item.item_id for item in recommender.recommend(late, 60).items if item.item_id not in early]
    assert [item.item_id for item in answer.items] == names


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(recommender, k):
    with pytest.raises(DataError, match="at least 1"):
        recommender.recommend(["i3"], k)


def test_nearest_ids_help_with_a_slip(recommender):
    assert "i33" in recommender.nearest_ids("i333")


def test_an_explanation_has_the_steps_of_decoded_items(tmp_path):
    both = Recommender.load(make_bundle(tmp_path / "bundle", preset="generative"))
    for item in both.recommend(["i3", "i17"], k=5, explain=True).items:
        assert item.explanation is not None
        (steps,) = item.explanation.paths.values()
        assert len(steps) == 4
        score = both.bundle.model.branch_weights[0] * np.log1p(1000 * 60 * np.exp(sum(steps)))
        assert item.explanation.branches["codes"] == pytest.approx(score, rel=1e-3)
