"""Transitions beside vectors in what is served: the exact list, whatever the index, its explanation, and new items."""

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient
from safetensors.torch import load_file, save_file

import h2rec.serving
from h2rec.cli.main import main
from h2rec.data.histories import Histories
from h2rec.errors import BundleError, DataError
from h2rec.models.reasons import ReasonKind
from h2rec.models.scorer import CatalogueScorer
from h2rec.retrieval import lookup
from h2rec.retrieval.explanation import Because
from h2rec.retrieval.filters import ItemFilter
from h2rec.retrieval.growth import add_items
from h2rec.retrieval.index import IndexSettings
from h2rec.retrieval.recommender import Recommender
from h2rec.serving.app import create_app
from h2rec.serving.service import Service
from h2rec.serving.settings import ServeSettings
from made_bundles import make_bundle, rewrite_manifest

BOTH = {
    "transitions": {"kind": "transitions", "weight": 2.0},
    "code_transitions": {"kind": "code_transitions", "weight": 0.5},
}
COUNTED_ALONE = BOTH | dict.fromkeys(("followers", "predecessors", "kinds", "close_kinds"))
HISTORIES = [["i3"], ["i3", "i10", "i17"], ["i59", "i3", "i3", "i0", "i7", "i14", "i21"], ["i30", "i1"]]


@pytest.fixture(autouse=True)
def short_proposals(monkeypatch):
    """Of this few items an index would propose all, and counts would have none to lift."""
    monkeypatch.setattr(lookup, "_DEEPER", 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("transitions") / "bundle", branches=BOTH)


def told(capsys, *words):
    """What the command line prints."""
    capsys.readouterr()
    with suppress(SystemExit):
        main([str(word) for word in words])
    return capsys.readouterr().out


def by_model(recommender, history, k, *, allowed=None, seen=False):
    """Best items by the loaded model itself, which scores the whole catalogue."""
    items = [recommender.catalogue.require(item) for item in history]
    scores = CatalogueScorer(recommender.bundle.model).score(Histories.from_lists([items]), np.array([0]))[0]
    scores = scores.double().numpy().copy()
    scores[0] = -np.inf
    if not seen:
        scores[items] = -np.inf
    if allowed is not None:
        scores[~allowed] = -np.inf
    best = np.argsort(-scores, kind="stable")[:k]
    return [(f"i{item - 1}", scores[item]) for item in best if np.isfinite(scores[item])]


@pytest.mark.parametrize("kind", ["exact", "ivf"])
@pytest.mark.parametrize("history", HISTORIES, ids=len)
def test_the_list_is_that_of_the_whole_score_whatever_the_index(folder, kind, history):
    recommender = Recommender.load(folder, IndexSettings(kind=kind))
    expected = by_model(recommender, history, 8)
    answer = recommender.recommend(history, 8)
    assert [item.item_id for item in answer.items] == [item for item, _ in expected]
    assert [item.score for item in answer.items] == pytest.approx(
        [s for _, s in expected], rel=1e-4, abs=1e-4
    )
    again = recommender.recommend(history, 8, filter=ItemFilter(seen=True))
    assert [item.item_id for item in again.items] == [
        i for i, _ in by_model(recommender, history, 8, seen=True)
    ]


def test_filters_hold_for_successors_too(folder):
    category = [None, *Recommender.load(folder).catalogue.fields["category"].to_list()]
    allowed = np.array([name == "razor" for name in category])
    # The last one does not scan the few items that a filter leaves.
    for values in ({"kind": "exact"}, {"kind": "ivf"}, {"kind": "ivf", "exact_up_to": 10}):
        recommender = Recommender.load(folder, IndexSettings(**values))
        for history in HISTORIES:
            answer = recommender.recommend(
                history, 5, filter=ItemFilter(where=(("category", frozenset({"razor"})),))
            )
            expected = by_model(recommender, history, 5, allowed=allowed)
            assert [item.item_id for item in answer.items] == [item for item, _ in expected]


def test_a_batch_is_its_rows_and_an_unknown_user_gets_what_is_popular(folder):
    recommender = Recommender.load(folder)
    together = recommender.recommend_batch([*HISTORIES, [], ["nobody"]], 6)
    alone = [recommender.recommend(history, 6) for history in [*HISTORIES, [], ["nobody"]]]
    for one, other in zip(together, alone, strict=True):
        assert [item.item_id for item in one.items] == [item.item_id for item in other.items]
    assert [item.item_id for item in alone[-1].items] == ["i0", "i1", "i2", "i3", "i4", "i5"]


def test_an_explanation_tells_what_the_counts_add(folder):
    recommender = Recommender.load(folder)
    answer = recommender.recommend(["i3", "i10"], 10, explain=True)
    for item in answer.items:
        assert sum(item.explanation.branches.values()) == pytest.approx(item.score, abs=1e-3)
    assert any(item.explanation.branches["transitions"] > 0 for item in answer.items)
    for item in answer.items:
        kinds = {reason.kind for reason in item.explanation.reasons}
        for kind, branch in (("follows", "transitions"), ("kind_goes_with", "code_transitions")):
            assert kind not in kinds or item.explanation.branches[branch] > 0
        assert {reason.item_id for reason in item.explanation.reasons} <= {"i3", "i10"}
    assert answer.items[0].explanation.reasons[0].kind == "follows"
    assert recommender.similar("i3", 3)[0].item_id != "i3"


def test_branches_that_count_have_no_vectors_to_compare_items_by(folder, tmp_path):
    with pytest.raises(DataError, match="'transitions' counts: it has no item vectors"):
        Recommender.load(folder).similar("i3", branch="transitions")
    alone = make_bundle(tmp_path / "alone", preset="transitions")
    with pytest.raises(DataError, match="counts alone"):
        Recommender.load(alone).similar("i3")
    with TestClient(create_app(Service(alone, ServeSettings())), "http://localhost") as client:
        answer = client.get("/similar", params={"item_id": "i3"})
        assert answer.status_code == 422, answer.text


def test_reasons_reach_the_command_line_and_the_server(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    asked = ["recommend", folder, "--history", "i30,i3", "--k", "3", "--explain"]
    expected = Recommender.load(folder).recommend(["i30", "i3"], 3, explain=True).items
    printed = told(capsys, *asked)
    first = expected[0].explanation.reasons[0]
    assert first.kind == "follows"
    assert f"{expected[0].item_id} often follows {first.item_id}" in printed
    assert any(f"its kind often goes with {item}'s kind" in printed for item in ("i30", "i3"))
    values = json.loads(told(capsys, *asked, "--json"))
    with TestClient(create_app(Service(folder, ServeSettings())), "http://localhost") as client:
        answer = client.post("/recommend", json={"history": ["i30", "i3"], "k": 3, "explain": True})
        schema = client.get("/openapi.json").json()["components"]["schemas"]["Because"]
    for found in (values, answer.json()):
        reasons = found["items"][0]["explanation"]["reasons"]
        assert (reasons[0]["item_id"], reasons[0]["kind"]) == (first.item_id, "follows")
        assert reasons[0]["strength"] == pytest.approx(first.strength)
    assert schema["properties"]["kind"]["enum"] == [
        "follows",
        "precedes",
        "goes_with",
        "like_goes_with",
        "kind_goes_with",
        "codes",
        "similar_text",
        "similar_vectors",
    ]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("successors", lambda t: t * 0 + 10**12),
        ("successors", lambda t: t - 100),
        ("successors", lambda t: t[1:]),
        ("offsets", lambda t: t.flip(0)),
        ("offsets", lambda t: t[:-1]),
        ("offsets", lambda t: t + 1),
        ("values", lambda t: -t),
        ("values", lambda t: t.double()),
    ],
)
@pytest.mark.parametrize("branch", ["transitions", "code_transitions"])
def test_transitions_that_lead_out_of_the_catalogue_are_refused(folder, tmp_path, name, change, branch):
    copied = shutil.copytree(folder, tmp_path / "copied")
    weights = load_file(copied / "model.safetensors")
    key = f"branches.{branch}.{name}"
    save_file(weights | {key: change(weights[key]).contiguous()}, copied / "model.safetensors")
    rewrite_manifest(copied, lambda manifest: None, rehash=["model.safetensors"])
    with pytest.raises(BundleError, match="stored transitions are not those"):
        Recommender.load(copied)


def test_a_new_item_follows_what_its_neighbours_and_its_kind_go_with(folder, tmp_path):
    before = Recommender.load(folder)
    twin = before.fields("i10")
    add_items(
        before.bundle, pl.DataFrame({"item_id": ["new"], **{k: [v] for k, v in twin.items()}}), tmp_path / "b"
    )
    after = Recommender.load(tmp_path / "b")
    ranked = {item.item_id: item for item in after.recommend(["i3"], 60, explain=True).items}
    known = {item.item_id: item for item in before.recommend(["i3"], 60, explain=True).items}
    led = {item_id: item.explanation.branches["transitions"] for item_id, item in known.items()}
    assert 0 < ranked["new"].explanation.branches["transitions"] < max(led.values()) == led["i10"]
    for item_id, item in known.items():
        assert ranked[item_id].score == pytest.approx(item.score, abs=1e-5)

    def kind(item_id):
        return after.catalogue.codes(after.catalogue.require(item_id))[:2]

    same = {
        round(item.explanation.branches["code_transitions"], 4)
        for item_id, item in known.items()
        if kind(item_id) == kind("new")
    }
    assert same == {round(ranked["new"].explanation.branches["code_transitions"], 4)}


def test_an_item_never_seen_is_recommended_after_what_its_kin_goes_with(tmp_path, capsys):
    """By `h2rec add-items` and `h2rec recommend`, of a bundle that counts alone."""
    folder = make_bundle(tmp_path / "bundle", preset="transitions", branches=COUNTED_ALONE)
    title = Recommender.load(folder).fields("i10")["title"]  # i10 follows i3 in training
    pl.DataFrame({"item_id": ["new"], "title": [title]}).write_csv(tmp_path / "new.csv")
    grown = tmp_path / "grown"
    assert "i10" in told(capsys, "add-items", folder, tmp_path / "new.csv", "--out", grown)
    recommender = Recommender.load(grown)
    new = recommender.catalogue.require("new")
    asked = ["recommend", grown, "--history", "i3", "--k", "61", "--json", "--explain"]
    items = {item["item_id"]: item for item in json.loads(told(capsys, *asked))["items"]}
    parts = items["new"]["explanation"]["branches"]
    assert min(parts.values()) > 0
    assert sum(parts.values()) == pytest.approx(items["new"]["score"])
    assert items["new"]["explanation"]["reasons"] == [
        {"item_id": "i3", "kind": "like_goes_with", "strength": 1.0}
    ]
    # It stands before all that nothing says anything for.
    unsupported = [item for item in items.values() if item["score"] == 0]
    assert unsupported
    assert list(items).index("new") < list(items).index(unsupported[0]["item_id"])
    # And it is one of a history: what follows its neighbours follows it.
    after = recommender.recommend(["new"], 5, explain=True)
    assert not after.from_popularity
    assert [reason.kind for reason in after.items[0].explanation.reasons] == ["like_goes_with"]
    assert recommender.bundle.model.branch_list()[1].nodes[new] > 0


def test_a_new_item_is_like_what_its_neighbours_are_like_and_no_reason_names_histories(tmp_path, capsys):
    like = {"like": {"kind": "similar_vectors", "weight": 5.0}}
    without = dict.fromkeys(("followers", "predecessors", "kinds", "similar_text", "similar_vectors"))
    folder = make_bundle(tmp_path / "bundle", branches=like | without)
    pl.DataFrame({"item_id": ["new"], "title": [Recommender.load(folder).fields("i10")["title"]]}).write_csv(
        tmp_path / "new.csv"
    )
    told(capsys, "add-items", folder, tmp_path / "new.csv", "--out", tmp_path / "grown")
    recommender = Recommender.load(tmp_path / "grown")

    def reasons(history):
        listed = recommender.recommend(history, 61, explain=True).items
        return {item.item_id: item.explanation.reasons for item in listed}

    (of_known,), of_new = reasons(["i3"])["new"], reasons(["new"])
    assert (of_known.kind, of_known.sentence()) == ("similar_vectors", "the model takes it to be like i3")
    assert {reason.kind for of in of_new.values() for reason in of} == {"similar_vectors"}


def test_every_kind_of_reason_has_words_in_a_terminal_and_in_the_explorer():
    explorer = Path(h2rec.serving.__file__).parent / "explorer" / "explorer.js"
    script = explorer.read_text(encoding="utf-8")
    for kind in get_args(ReasonKind):
        assert "i3" in Because("i3", kind, 1.0).sentence()
        assert f"  {kind}: (item) =>" in script or f'kind === "{kind}"' in script
