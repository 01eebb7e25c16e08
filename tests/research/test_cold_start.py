import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from h2rec.cli.main import main
from h2rec.data.histories import Histories
from h2rec.data.prepare import prepare
from h2rec.data.settings import ColumnSettings, DataSettings
from h2rec.data.splits import Holdout
from h2rec.errors import ConfigError, DataError
from h2rec.models.build import build_model
from h2rec.models.features import ItemFeatures
from h2rec.models.neighbours import NEIGHBOURS, TEMPERATURE, nearest_in_text
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.warm_start import evened, text_vectors
from h2rec.research.cold_start.cases import cold_cases, withheld_items, write_warm_files
from h2rec.research.cold_start.experiment import TESTED, _methods, _ranks, _shared_levels, cold_start
from h2rec.research.cold_start.scorers import OneBranch, SameForAll, TextNeighbours, with_new_ids
from h2rec.run import blend
from h2rec.run.config import RunConfig
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.text.encoders import load_encoder
from made_bundles import made_settings
from made_shop import ITEMS, write_shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder)
    return folder


@pytest.fixture(scope="module")
def parted(shop, tmp_path_factory):
    """The whole shop, the shop without a third of its items, and which those are."""
    whole = prepare(DataSettings(interactions=shop / "interactions.csv", items=shop / "items.csv"))
    withheld = withheld_items(whole, np.ones(whole.item_count, bool), 1 / 3, seed=0)
    folder = tmp_path_factory.mktemp("warm")
    write_warm_files(whole, withheld, folder)
    files = {name: folder / f"{name}.parquet" for name in ("interactions", "items")}
    return whole, prepare(DataSettings(**files)), withheld


def test_nothing_of_the_withheld_items_is_left(parted):
    whole, warm, withheld = parted
    assert withheld.sum() == ITEMS // 3
    gone = set(whole.items.filter(pl.Series(withheld[1:]))["item_id"])
    assert not gone & set(warm.items["item_id"])
    sequences = {
        user: [item for item in whole.items["item_id"].gather(np.asarray(row) - 1) if item not in gone]
        for user, row in zip(whole.user_ids, whole.histories, strict=True)
    }
    left = {
        user: warm.items["item_id"].gather(np.asarray(row) - 1).to_list()
        for user, row in zip(warm.user_ids, warm.histories, strict=True)
    }
    assert left == {user: items for user, items in sequences.items() if items}


def test_weights_stay_with_the_items_that_are_left(parted, tmp_path):
    whole, _, withheld = parted
    # Each interaction weighs the number in its item's id.
    numbers = whole.items["item_id"].str.slice(1).cast(pl.Float64)
    weighed = replace(whole, weights=numbers.gather(np.asarray(whole.histories.items) - 1))
    write_warm_files(weighed, withheld, tmp_path)
    interactions = tmp_path / "interactions.parquet"
    warm = prepare(DataSettings(interactions=interactions, columns=ColumnSettings(weight="weight")))
    ids = warm.items["item_id"].gather(np.asarray(warm.histories.items) - 1)
    assert warm.weights is not None
    assert warm.weights.to_list() == ids.str.slice(1).cast(pl.Float64).to_list()


def test_cases_are_the_users_whose_last_item_is_withheld(parted):
    whole, warm, withheld = parted
    cold = cold_cases(whole, warm, withheld)
    ids = [None, *warm.items["item_id"], *cold.items["item_id"]]
    expected = {}
    for user, row in enumerate(whole.histories):
        names = whole.items["item_id"].gather(np.asarray(row) - 1).to_list()
        history = [name for name, item in zip(names[:-1], row[:-1], strict=True) if not withheld[item]]
        if len(row) >= 3 and withheld[row[-1]] and history:
            expected[user] = (history, names[-1])
    found = {
        int(user): ([ids[item] for item in history], ids[target])
        for user, history, target in zip(
            cold.cases.users, cold.cases.histories, cold.cases.targets, strict=True
        )
    }
    assert found == expected
    assert len(found) > 10


def test_items_without_text_are_not_withheld_and_none_at_all_is_an_error(parted):
    whole, warm, _ = parted
    has_text = np.arange(ITEMS) < 10
    assert np.flatnonzero(withheld_items(whole, has_text, 0.5, 0)).max() <= 10
    with pytest.raises(DataError, match="raise --share"):
        cold_cases(whole, warm, np.zeros(ITEMS + 1, bool))


def test_text_puts_items_where_the_warm_start_would():
    vectors = np.random.default_rng(0).normal(size=(40, 12)).astype(np.float32)
    np.testing.assert_allclose(text_vectors(vectors, 8, new=vectors), text_vectors(vectors, 8), atol=1e-6)


@pytest.fixture
def model():
    random = np.random.default_rng(0)
    ids = SemanticIds(random.integers(4, size=(20, 2)).astype(np.int32), (4, 4))
    settings = made_settings("h2rec_two_branches", warm_start=False)
    return build_model(settings, ItemFeatures(20, ids), seed=0)


def test_new_hash_ids_change_the_last_items_alone(model):
    before = model.branches["ids"].table.vectors.weight.detach().clone()
    with_new_ids(model, "ids", np.ones((3, 8), np.float32))
    after = model.branches["ids"].table.vectors.weight.detach()
    assert (after[18:21] == 1).all()
    assert torch.equal(after[:18], before[:18])
    assert torch.equal(after[21], before[21])


def test_the_branch_of_codes_is_what_the_hash_ids_do_not_say(model):
    histories, rows = Histories.from_lists([[1, 2, 3], [7]]), np.arange(2)
    both = CatalogueScorer(model).score(histories, rows)
    codes = OneBranch(CatalogueScorer(model), model.branch_names.index("codes")).score(histories, rows)
    assert not torch.allclose(both, codes)
    with torch.no_grad():
        model.branches["ids"].table.vectors.weight.zero_()
    # Items without a hash ID score by their codes; alpha does not depend on the hash IDs.
    assert torch.allclose(CatalogueScorer(model).score(histories, rows), codes, atol=1e-5)


def test_text_neighbours_and_popularity_by_hand():
    scorer = TextNeighbours(np.array([[2, 0], [0, 3], [1, 1]], np.float32))
    scores = scorer.score(Histories.from_lists([[1], [1, 2]]), np.arange(2))
    half = 0.5**0.5
    np.testing.assert_allclose(scores[0, 1:], [1, 0, half], atol=1e-6)
    np.testing.assert_allclose(scores[1, 1:], [0.5, 0.5, half], atol=1e-6)
    popular = SameForAll(np.array([3.0, 1.0])).score(Histories.from_lists([[1], [2]]), np.arange(2))
    assert popular.tolist() == [[0, 3, 1], [0, 3, 1]]


def test_the_command_ranks_withheld_items_by_every_way(shop, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(blend, "WEIGHTS", (0.0,))
    monkeypatch.setattr(blend, "LARGER", ())
    words = [
        "cold-start",
        str(shop / "shop.yaml"),
        "--share",
        "0.3",
        "--seeds",
        "0,1",
        "--out",
        str(tmp_path),
    ]
    with pytest.raises(SystemExit) as ended:
        # Beside counts of codes, that the branch of codes has no weight would not be seen.
        main([*words, "--set", "data.head_share=0.3", "--set", "model.name=h2rec_two_branches"])
    assert ended.value.code == 0
    assert "among cold items" in capsys.readouterr().out
    found = json.loads((tmp_path / "cold_start.json").read_text())
    assert found["withheld_items"] + found["known_items"] == ITEMS
    assert found["repeats"] == "excluded"
    assert sum(found["shared_levels"]) == found["withheld_items"]
    by_way, ndcg = (
        {
            (r["protocol"], r["model"]): r
            for r in found["records"]
            if (r["metric"], r["slice"]) == (metric, "overall")
        }
        for metric in ("hit@10", "ndcg@10")
    )
    assert len(by_way) == 2 * 9
    assert by_way["among all items", TESTED]["seeds"] == 2
    # Nobody ever bought them: popularity puts every withheld item behind all others, ties against it.
    assert by_way["among all items", "popularity"]["mean"] == 0
    # A list by chance holds each rank of the withheld items alike.
    chance = (1 / np.log2(np.arange(2, 12))).sum() / found["withheld_items"]
    assert ndcg["among cold items", TESTED]["mean"] > 1.5 * chance
    lent = ndcg["among cold items", "popularity of its neighbours"]
    assert lent["difference"] == pytest.approx(ndcg["among cold items", TESTED]["mean"] - lent["mean"])
    assert lent["difference"] > 0.1
    # Codes alone have an order, also where validation gives them no weight beside hash IDs.
    alone, without = ("H2Rec, codes alone for all items", "H2Rec, no HID for cold items")
    assert by_way["among cold items", alone]["mean"] > 0.9
    assert by_way["among cold items", without]["mean"] < by_way["among cold items", alone]["mean"]


def test_every_way_gives_withheld_items_the_hids_that_it_names(shop, tmp_path, monkeypatch):
    hids, told = {}, {}

    def ways(name, pipeline, new, *, first):
        if name == "H2Rec":
            told.update(pipeline=pipeline, new=new)
        for way, scorer in _methods(name, pipeline, new, first=first):
            model = getattr(getattr(scorer, "scorer", scorer), "model", None)
            if model is not None:  # as it is now: one model serves all ways by turns
                hids[way] = model.branches["ids"].table.vectors.weight.detach().clone()[1:-1]
            yield way, scorer

    monkeypatch.setattr("h2rec.research.cold_start.experiment._methods", ways)
    monkeypatch.setattr("h2rec.run.preparation.leading_columns", lambda folder: 6)

    def nearest(known, new, leading):
        assert leading == 6
        return nearest_in_text(known, new, leading)

    monkeypatch.setattr("h2rec.research.cold_start.experiment.nearest_in_text", nearest)
    config = RunConfig.load(shop / "shop.yaml", ["model.name=h2rec_two_branches"])
    cold_start(config, tmp_path, share=0.3, seeds=[0])
    pipeline, new = told["pipeline"], told["new"]
    known = pipeline.dataset.item_count
    trained = pipeline.model.branches["ids"].table.vectors.weight.detach()[1:-1]
    for of_way in hids.values():
        assert len(of_way) == known + len(new.vectors)
    directions = pipeline.embeddings.vectors
    directions = directions / np.linalg.norm(directions, axis=1)[:, None]
    for way in ("H2Rec", "H2Rec, codes alone for all items"):
        assert torch.equal(hids[way][:known], trained)
        for row, vector in enumerate(new.vectors):
            cosines = torch.from_numpy(directions @ vector / np.linalg.norm(vector))
            near = cosines.argsort(descending=True, stable=True)[:NEIGHBOURS]
            lent = (cosines[near] / TEMPERATURE).softmax(0) @ trained[near]
            torch.testing.assert_close(hids[way][known + row], lent, atol=1e-5, rtol=1e-4)
    assert (hids["H2Rec, no HID for cold items"][known:] == 0).all()
    # The text of each withheld item by itself, in the order of the catalogue.
    titles = pl.read_csv(shop / "items.csv")
    cold = titles.filter(~pl.col("item_id").is_in(pipeline.dataset.items["item_id"].to_list()))
    encoder = load_encoder(pipeline.embeddings.encoder_folder)
    by_text = {title: encoder.encode([title])[0] for title in cold["title"]}
    whole = prepare(DataSettings(interactions=shop / "interactions.csv", items=shop / "items.csv"))
    order = whole.items.filter(pl.col("item_id").is_in(cold["item_id"].to_list()))["title"]
    expected = np.stack([by_text[title] for title in order])
    np.testing.assert_allclose(new.vectors, expected, atol=1e-6)
    settings = pipeline.model_settings
    assert pipeline.features.leading == 6
    known_text, new_text = (evened(vectors, 6) for vectors in (pipeline.embeddings.vectors, expected))
    of_text = text_vectors(known_text, settings.dim, new=new_text)
    np.testing.assert_allclose(hids["H2Rec, HID from text"][known:], of_text, atol=1e-5)
    assert set(hids) == {
        "H2Rec",
        "H2Rec, codes alone for all items",
        "H2Rec, no HID for cold items",
        "H2Rec, HID from text",
        "SASRec",
        "SASRec, HID from text",
    }


def test_the_default_has_no_trained_branch_of_codes_to_rank_by(shop, tmp_path):
    config = RunConfig.load(shop / "shop.yaml", ["train.epochs=1"])
    found = cold_start(config, tmp_path, share=0.3, seeds=[0])
    ways = {record["model"] for record in found["records"]}
    assert TESTED in ways
    assert not any("codes alone" in way for way in ways)


def test_leading_codes_in_common_by_hand():
    known, cold = [[0, 0], [0, 1], [1, 1]], [[0, 0], [0, 5], [1, 1], [7, 1]]
    assert _shared_levels(np.array(known + cold), 3) == [1, 1, 2]


def test_among_cold_items_the_known_ones_do_not_count():
    # Items 1 to 3 are known, 4 and 5 cold; the best of all is the last known one.
    scorer = SameForAll(np.array([1.0, 2.0, 9.0, 5.0, 4.0]))
    cases = Holdout(np.array([7, 8]), Histories.from_lists([[1], [3]]), np.array([5, 4]))
    allowed = _ranks(scorer, cases, 3, "allowed")
    assert allowed["rank_all"].to_list() == [3, 2]  # the second user's own item is the best of all
    assert allowed["rank_cold"].to_list() == [2, 1]
    found = _ranks(scorer, cases, 3, "excluded")
    assert found["rank_cold"].to_list() == [2, 1]
    assert found["rank_all"].to_list() == [3, 1]
    assert found["user"].to_list() == [7, 8]
    assert found["target"].to_list() == [5, 4]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("text.encoder=ready.npy", "need a text encoder"),
        ("data.split=time", "leave_one_out"),
        ("model.name=sasrec", "by their codes and by hash IDs"),
        ("model.name=transitions", "by their codes and by hash IDs"),
        ("model.branches.ids=null", "by their codes and by hash IDs"),
        ("text.noise={kind: drop, share: 0.5}", "takes texts as they are"),
    ],
)
def test_settings_that_cold_start_can_not_use(shop, tmp_path, override, message):
    with pytest.raises(ConfigError, match=message):
        cold_start(RunConfig.load(shop / "shop.yaml", [override]), tmp_path)


def test_items_without_any_text_are_told(shop, tmp_path):
    lines = (shop / "items.csv").read_text().splitlines()
    (tmp_path / "items.csv").write_text(
        "\n".join([lines[0], *(line.partition(",")[0] + "," for line in lines[1:])])
    )
    config = RunConfig.load(shop / "shop.yaml", [f"data.items={tmp_path / 'items.csv'}"])
    with pytest.raises(DataError, match="no item has a text"):
        cold_start(config, tmp_path / "out")
