"""Models for people who import: fitted on frames, asked by ids and frames, saved."""

import os
import subprocess
import sys
import weakref
from contextlib import nullcontext
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
import yaml

import h2rec
from h2rec.data.prepare import prepare
from h2rec.data.settings import DataSettings
from h2rec.errors import ConfigError, DataError, H2RecError, H2RecWarning, MissingExtraError
from h2rec.python.estimators import Estimator
from h2rec.retrieval.answers import Recommendation, RecommendedItem
from h2rec.retrieval.bundle import Bundle
from h2rec.retrieval.recommender import Recommender
from h2rec.run.presets import preset_names
from made_frames import ITEMS, KINDS, SMALL, is_of, made_frames, plain

MODELS = (
    *(h2rec.BERT4Rec, h2rec.BSARec, h2rec.ESASRec, h2rec.GRU4Rec, h2rec.H2Rec),
    *(h2rec.Popularity, h2rec.SASRec, h2rec.Transitions),
)
EVENTS, ITEM_TABLE = made_frames()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("estimators") / "run"


@pytest.fixture(scope="module")
def model(folder):
    """Fitted on frames of pandas whose ids are whole numbers."""
    events, items = EVENTS.to_pandas(), ITEM_TABLE.to_pandas()
    return h2rec.H2Rec(out=folder, **SMALL).fit(h2rec.Dataset.from_frames(events, items))


def test_a_run_is_left_that_can_be_run_again(model, folder):
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["data"]["interactions"] == str(folder / "interactions.parquet")
    assert (folder / "report.html").exists()
    again = prepare(DataSettings.parse(config["data"]))
    assert again.has_whole_number_ids
    assert again.user_count == 60
    # The same once more: every stage is reused.
    stages = sorted((folder / "stages").iterdir())
    data = h2rec.Dataset.from_frames(EVENTS, ITEM_TABLE)
    h2rec.H2Rec(out=folder, **SMALL).fit(data)
    assert sorted((folder / "stages").iterdir()) == stages


def test_figures_print_and_plot(model):
    figures = model.evaluate()
    overall = figures.metrics["test"]["full"]["overall"]
    printed = repr(figures)
    assert "hit@10 " in printed
    assert "hit@500" not in printed  # of 40 items all are listed
    assert f"{overall['ndcg@10']:.4f}" in printed
    table, _, sentences = printed.rpartition("┘")
    assert table.count("this model") == 3
    assert [word for word in table.split() if word in ("overall", "head", "tail")][::3] == [
        "overall",
        "head",
        "tail",
    ]
    assert "popularity" in sentences
    assert "item-to-item counts" in figures._repr_html_()
    frame = figures.to_frame()
    assert is_of("pandas", frame)
    one = frame[(frame["split"] == "test") & (frame["protocol"] == "full") & (frame["items"] == "overall")]
    assert one["ndcg@10"].item() == overall["ndcg@10"]
    assert set(frame["split"]) == {"test", "valid"}
    plotted = figures.plot()
    assert [bars.name for bars in plotted.data] == ["this model", "item-to-item counts", "popularity"]
    own = dict(zip(zip(*plotted.data[0].x, strict=True), plotted.data[0].y, strict=True))
    assert own["overall", "ndcg@10"] == overall["ndcg@10"]
    assert {part for part, _ in own} == {"overall", "head", "tail"}


def test_plots_without_plotly_say_what_to_install(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(MissingExtraError, match="report"):
        model.evaluate().plot()


def test_ids_come_back_as_they_were(model):
    answer = model.recommend(["1042", 77, 5], k=4)
    assert all(type(item.item_id) is int and item.item_id in ITEMS for item in answer.items)
    assert answer.unknown == [5]
    assert answer.to_frame()["item_id"].tolist() == [item.item_id for item in answer.items]
    assert model.similar_items("77", k=3).to_frame()["item_id"].dtype.kind == "i"
    explained = model.recommend([1042, 77], k=3, explain=True).items
    assert {type(reason.item_id) for item in explained for reason in item.explanation.reasons} == {int}
    # A service speaks JSON, where they are texts as ever.
    assert type(Recommender(model.recommender.bundle).recommend([77], k=1).items[0].item_id) is str


def test_reasons_are_printed(model):
    answer = model.recommend([1042, 77], k=3, explain=True)
    first = answer.items[0]
    why = f"{first.item_id} {first.explanation.reasons[0].sentence()}"
    assert why in repr(answer)
    assert why in answer._repr_html_()
    assert answer.to_frame()["why"][0].startswith(first.explanation.reasons[0].sentence())
    assert "why" not in model.recommend([1042], k=3).to_frame()


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_of_users_and_items_multiply_to_scores_but_for_counts(model, kind):
    histories = pl.DataFrame({"user_id": [3, 1, 2], "history": [[1042, 77], [404], [310]]})
    users = model.user_vectors(KINDS[kind](histories))
    assert is_of(kind, users)
    vectors = {row["user_id"]: np.array(row["vector"]) for row in plain(users)}
    assert list(vectors) == [3, 1, 2]
    assert not vectors[1].any()
    items = {row["item_id"]: np.array(row["vector"]) for row in plain(model.item_vectors())}
    found = model.recommend([1042, 77], k=5, explain=True).items
    counted = {"followers", "predecessors", "kinds", "similar_text", "similar_vectors"}
    for item in found:
        parts = item.explanation.branches
        assert set(parts) == {"ids", *counted}
        expected = sum(value for name, value in parts.items() if name not in counted)
        assert vectors[3] @ items[item.item_id] == pytest.approx(expected, abs=1e-4)


class Cells(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


def test_answers_are_tables_whatever_the_titles_hold():
    odd = RecommendedItem(
        "i<1>", 0.5, True, {"title": "<script>x</script>\x1b[31m", "rank": "9", "kind": None}
    )
    answer = Recommendation([odd], ["gone"])
    cells = Cells(answer._repr_html_())
    assert set(cells.tags) == {"p", "table", "thead", "tbody", "tr", "th", "td"}
    assert "<script>x</script>\x1b[31m" in cells.texts
    assert "\x1b" not in repr(answer)
    assert "1 item; not known: gone" in repr(answer)
    assert answer.to_frame().columns == ["rank", "item_id", "score", "head", "title", "kind"]
    assert Recommendation([]).to_frame().height == 0


@pytest.mark.parametrize("kind", KINDS)
def test_histories_come_in_either_form(model, kind):
    bought = {7: [1042, 77], 3: [310, 2001, 2005], 9: [404]}
    rows = [
        (user, item, -rank)
        for rank in (2, 1, 0)
        for user in bought
        for item in bought[user][::-1][rank : rank + 1]
    ]
    late_first = pl.DataFrame(rows, schema=["customer_id", "sku", "time"], orient="row").sort(
        "time", descending=True
    )
    lists = pl.DataFrame({"user_id": list(bought), "history": list(bought.values())})
    by_events = model.recommend_frame(KINDS[kind](late_first), k=3)
    by_lists = model.recommend_frame(KINDS[kind](lists), k=3)
    assert is_of(kind, by_lists)
    assert is_of(kind, by_events)
    for user, history in bought.items():
        with pytest.warns(H2RecWarning, match=r"nothing .* known \(404\)") if user == 9 else nullcontext():
            answer = model.recommend(history, k=3)
        expected = [(item.item_id, item.score) for item in answer.items]
        for frame, names in ((by_lists, ("user_id", "item_id")), (by_events, ("customer_id", "sku"))):
            found = [row for row in plain(frame) if row[names[0]] == user]
            assert [row["rank"] for row in found] == [1, 2, 3]
            assert [row[names[1]] for row in found] == [item for item, _ in expected]
            assert [row["score"] for row in found] == pytest.approx(
                [score for _, score in expected], abs=1e-5
            )


@pytest.mark.parametrize(
    ("frame", "named", "message"),
    [
        ([[1042]], {}, "histories: expected a frame, found list"),
        (pl.DataFrame({"history": [[77]]}), {}, "histories: none of the columns is obviously the user"),
        (
            pl.DataFrame({"user": ["a", None], "history": [[77], [77]]}),
            {},
            "histories, row 2: the user id is missing",
        ),
        (
            pl.DataFrame({"user": ["a"], "history": ["77"]}),
            {},
            "histories: column 'history' is String, not lists",
        ),
        (pl.DataFrame({"user": ["a"], "history": [[[77]]]}), {}, "not lists of item ids"),
        (pl.DataFrame({"user": ["a"], "item": [77], "time": ["soon"]}), {}, "histories, row 1: time 'soon'"),
        (pl.DataFrame({"user": ["a"], "history": [[77]]}), {"k": 0}, "k is 0"),
    ],
)
def test_histories_that_are_none(model, frame, named, message):
    with pytest.raises(DataError, match=message):
        model.recommend_frame(frame, **named)


def test_histories_without_a_time_say_so(model, caplog):
    frame = pl.DataFrame({"user": [1, 1], "item": [77, 310], "bought": ["2024-01-02", "2024-01-01"]})
    model.recommend_frame(frame, k=1)
    assert "timestamp= could name bought" in caplog.text.replace("['bought']", "bought")


def test_new_items_are_known_at_once_and_saved(model, tmp_path):
    grown = h2rec.load(model.recommender.bundle.folder)
    new = pl.DataFrame({"sku": [9001, 77, 9002], "title": ["tea green leaf", "x", None]}).to_pandas()
    growth = grown.add_items(new)
    assert growth.to_frame()["item_id"].tolist() == [9001]
    assert is_of("pandas", growth.to_frame())
    assert (growth.existing, growth.without_text) == ([77], [9002])
    assert "items added: 1" in repr(growth)
    vectors = grown.item_vectors()
    assert vectors["item_id"].to_list() == [*ITEMS, 9001]
    assert vectors["vector"].to_numpy() == pytest.approx(grown.recommender.bundle.item_vectors[1:])
    grown.save(tmp_path / "shop")
    assert h2rec.load(tmp_path / "shop").similar_items(9001, k=1).items[0].item_id in growth.added[0].like
    grown.save(tmp_path / "shop")  # a bundle makes way for a bundle
    assert "41 items" in repr(h2rec.load(tmp_path / "shop"))


def test_a_catalogue_with_other_ids_gives_texts(model):
    grown = h2rec.load(model.recommender.bundle.folder)
    grown.add_items(pl.DataFrame({"sku": ["new"], "title": ["tea green leaf"]}))
    assert all(type(item.item_id) is str for item in grown.recommend([77]).items)


def test_a_bundle_that_lies_about_its_ids_is_refused(model, monkeypatch, tmp_path):
    model.save(tmp_path / "shop")
    monkeypatch.setattr("h2rec.retrieval.bundle.are_whole_numbers", lambda ids: False)
    with pytest.raises(H2RecError, match="whole numbers"):
        Bundle.load(tmp_path / "shop")


def test_nothing_of_others_is_overwritten(model, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(H2RecError, match="h2rec did not write"):
        model.save(tmp_path)
    # Even in the folder of a run, where someone keeps the data.
    run = tmp_path / "run"
    data = h2rec.Dataset.from_frames(EVENTS)
    popular = h2rec.Popularity(out=run, **SMALL).fit(data)
    popular.fit(data)
    EVENTS.write_parquet(run / "interactions.parquet")
    before = (run / "interactions.parquet").read_bytes()
    with pytest.raises(H2RecError, match=r"interactions\.parquet: is there already"):
        popular.fit(data)
    assert (run / "interactions.parquet").read_bytes() == before


def test_a_temporary_folder_goes_with_its_model():
    popular = h2rec.Popularity(**SMALL).fit(h2rec.Dataset.from_frames(EVENTS))
    out, gone = popular.out, weakref.ref(popular)
    assert (out / "metrics.json").exists()
    assert popular.evaluate().metrics["data"]["users"] == 60
    del popular
    assert gone() is None
    assert not out.exists()


def test_models_that_count_alone_have_no_vectors(tmp_path):
    counts = h2rec.Transitions(data={"head_share": 0.5}, **SMALL).fit(
        h2rec.Dataset.from_frames(EVENTS, ITEM_TABLE)
    )
    assert len(counts.recommend([77], k=3).items) == 3
    with pytest.raises(DataError, match="counts alone"):
        counts.item_vectors()
    with pytest.raises(DataError, match="counts alone"):
        counts.user_vectors(EVENTS)


def test_data_sets_of_files_are_fitted_as_well(tmp_path):
    EVENTS.write_csv(tmp_path / "events.csv")
    data = h2rec.prepare(DataSettings(interactions=tmp_path / "events.csv"))
    popular = h2rec.Popularity(**SMALL).fit(data)
    assert popular.recommend([77], k=1).items[0].item_id in set(map(str, ITEMS))  # CSV has texts alone
    assert not (popular.out / "interactions.parquet").exists()


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
def test_every_model_names_a_preset(kind):
    assert issubclass(kind, Estimator)
    assert kind().preset in preset_names()
    assert kind.__doc__.endswith("see `Estimator`.")
    assert kind(preset="light").preset == "light"


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"train": {"epocs": 3}}, "H2Rec: unknown key 'train.epocs', did you mean 'train.epochs'"),
        ({"dim": 64}, "H2Rec: unknown key 'dim', did you mean 'model.dim' or 'text.dim'"),
        ({"epoch": 3}, "H2Rec: unknown key 'epoch', did you mean 'train.epochs'"),
        ({"preset": "papr"}, "unknown preset 'papr'"),
        ({"data": {"k_core": 5}}, "H2Rec: data.k_core is no setting of a model"),
        ({"data": {"interactions": "a.csv"}}, "data.interactions is no setting of a model"),
        ({"data": "a.csv"}, "data is no setting of a model"),
    ],
)
def test_mistakes_show_when_a_model_is_made(sections, message):
    with pytest.raises(ConfigError, match=message):
        h2rec.H2Rec(**sections)


def test_models_that_know_nothing_say_so():
    fresh = h2rec.SASRec()
    assert repr(fresh) == "SASRec(preset='sasrec'), not fitted"
    for ask in (fresh.evaluate, fresh.item_vectors, lambda: fresh.recommend([77]), lambda: fresh.save("x")):
        with pytest.raises(H2RecError, match=r"not fitted yet\n  hint: call fit"):
            ask()
    with pytest.raises(DataError, match=r"found DataFrame\n.*from_frames"):
        fresh.fit(EVENTS)


LOAD = """
import sys, h2rec
model = h2rec.load(sys.argv[1])
print(model.recommend([77], k=3).to_frame()["item_id"].to_list())
rooms = ("training", "run", "research", "models.baselines", "text.encoders")
loaded = {name.partition("h2rec.")[2] for name in sys.modules}
print(sorted(name for name in loaded for room in rooms if f"{name}.".startswith(f"{room}.")))
"""


def test_a_saved_model_answers_without_what_trained_it(model, tmp_path):
    model.save(tmp_path / "shop")
    words = [sys.executable, "-c", LOAD, str(tmp_path / "shop")]
    ended = subprocess.run(words, env=dict(os.environ), capture_output=True, text=True, check=True)
    expected = [item.item_id for item in model.recommend([77], k=3).items]
    assert ended.stdout.splitlines() == [str(expected), "[]"]


def test_entries_of_histories_without_an_id_are_told(model, caplog):
    frame = pl.DataFrame(
        {"user": ["a"], "history": [["1", None, ""]]}, schema_overrides={"history": pl.List(pl.String)}
    )
    model.recommend_frame(frame, k=1)
    assert "2 entries of 'history' have no id and are left out" in caplog.text
