"""Every peculiarity of real input has one defined outcome."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from h2rec.data.dataset import Dataset
from h2rec.data.prepare import input_fingerprint, prepare
from h2rec.data.settings import DataSettings
from h2rec.errors import ConfigError, DataError

ITEMS = "item_id,title,brand\na,Anvil,Acme\nb,Bell,\nc,  ,\nd,Drum,Ludwig\n"


def settings(folder: Path, interactions: str, items: str | None = None, **values: object) -> DataSettings:
    (folder / "i.csv").write_text(interactions)
    paths = {"interactions": "i.csv"}
    if items is not None:
        (folder / "items.csv").write_text(items)
        paths["items"] = "items.csv"
    return DataSettings.parse({**paths, **values}).resolved(folder)


def prepared(folder: Path, interactions: str, items: str | None = None, **values: object) -> Dataset:
    return prepare(settings(folder, interactions, items, **values))


def histories(data: Dataset) -> dict[str, list[str]]:
    ids = ["?", *data.items["item_id"]]
    return {
        user: [ids[item] for item in row] for user, row in zip(data.user_ids, data.histories, strict=True)
    }


def rows(*lines: str, header: str = "user_id,item_id,timestamp") -> str:
    return "\n".join([header, *lines]) + "\n"


def test_histories_in_time_order_and_ties_in_file_order(tmp_path):
    data = prepared(tmp_path, rows("v,b,5", "u,d,9", "u,b,1", "v,a,5", "u,a,9", "v,d,5"))
    assert histories(data) == {"v": ["b", "a", "d"], "u": ["b", "d", "a"]}
    assert data.timestamps.to_list() == [5, 5, 5, 1, 9, 9]
    assert list(data.user_ids) == ["v", "u"]  # by first appearance


def test_items_are_numbered_in_the_order_of_the_item_file_then_by_appearance(tmp_path):
    data = prepared(tmp_path, rows("u,z,1", "u,d,2", "u,y,3", "u,a,4"), ITEMS)
    assert data.items.rows() == [
        ("a", "Anvil", "Acme"),
        ("d", "Drum", "Ludwig"),
        ("z", None, None),
        ("y", None, None),
    ]
    assert data.item_file_index is not None
    assert data.item_file_index.to_list() == [1, 0, 0, 2]
    assert histories(data) == {"u": ["z", "d", "y", "a"]}
    assert (data.report["items_not_in_item_file"], data.report["items_without_text"]) == (2, 2)


def test_the_whole_catalogue_on_request(tmp_path):
    data = prepared(tmp_path, rows("u,z,1", "u,d,2"), ITEMS, catalogue="all")
    assert data.items["item_id"].to_list() == ["a", "b", "c", "d", "z"]
    assert data.item_file_index is not None
    assert data.item_file_index.to_list() == [1, 2, 3, 4]
    assert histories(data) == {"u": ["z", "d"]}
    assert data.report["items_without_text"] == 2  # c, whose text is blank, and z


def test_without_an_item_file_items_have_no_text(tmp_path):
    data = prepared(tmp_path, rows("u,b,1", "u,a,2"))
    assert data.items.rows() == [("b",), ("a",)]
    assert data.item_file_index is None
    assert data.report["items_without_text"] == 2


def test_duplicates_are_dropped_and_repetitions_kept(tmp_path):
    data = prepared(tmp_path, rows("u,a,1", "u,a,2", "u,a,1", "u,b,1", "u,b,1", "u,b,1.0"))
    assert histories(data) == {"u": ["a", "b", "a"]}
    assert (data.report["duplicate_interactions"], data.report["interactions"]) == (3, 3)


def test_rows_without_user_or_item_are_dropped_even_without_a_time(tmp_path):
    data = prepared(tmp_path, rows("u,a,1", ",a,2", "u,,3", "  ,a,", "u,b,4"))
    assert histories(data) == {"u": ["a", "b"]}
    assert (data.report["rows_without_user_or_item"], data.report["interaction_rows"]) == (3, 5)


def test_without_a_time_column_the_file_is_in_order_and_nothing_is_a_duplicate(tmp_path):
    data = prepared(tmp_path, rows("u,b", "v,a", "u,a", "u,b", header="user,item"))
    assert histories(data) == {"u": ["b", "a", "b"], "v": ["a"]}
    assert data.report["time_order"] == "order of the file"
    assert "duplicate_interactions" not in data.report
    with pytest.raises(DataError, match="a split by time needs a time column"):
        prepared(tmp_path, rows("u,b", header="user,item"), split="time")


def test_a_user_with_one_item_is_kept_and_counted(tmp_path):
    data = prepared(tmp_path, rows("u,a,1", "v,a,1", "v,b,2"))
    assert histories(data) == {"u": ["a"], "v": ["a", "b"]}
    assert data.report["users_with_one_interaction"] == 1


def test_ids_keep_their_form(tmp_path):
    data = prepared(tmp_path, rows("007,1e3,1", "7,1000,2"))
    assert histories(data) == {"007": ["1e3"], "7": ["1000"]}


def test_item_rows_with_the_same_id_count_once(tmp_path):
    items = "item_id,title\na,First\nb,Bell\na,Second\nb,Bell\n,Nameless\n"
    data = prepared(tmp_path, rows("u,a,1", "u,b,2"), items)
    assert data.items.rows() == [("a", "First"), ("b", "Bell")]
    names = ("item_rows", "item_rows_without_id", "duplicate_item_rows", "conflicting_item_rows")
    assert [data.report[name] for name in names] == [5, 1, 2, 1]
    assert data.item_file_index is not None
    assert data.item_file_index.to_list() == [1, 2, 0, 0, 0]


def test_low_ratings_are_dropped(tmp_path):
    text = rows("u,a,1,5", "u,b,2,2.5", "u,c,3,3", "u,d,4,", header="user,item,time,stars")
    assert histories(prepared(tmp_path, text)) == {"u": ["a", "b", "c", "d"]}
    data = prepared(tmp_path, text, min_rating=3)
    assert histories(data) == {"u": ["a", "c"]}
    assert data.report["rows_below_min_rating"] == 2
    with pytest.raises(DataError, match=r"i\.csv:3: stars 'bad' is not a number"):
        prepared(tmp_path, rows("u,a,1,5", "u,b,2,bad", header="user,item,time,stars"), min_rating=3)


BOUGHT = "user,item,time,price"


def weighed(data: Dataset) -> list[tuple[str, float]]:
    """Item and weight of every interaction, user by user in order."""
    assert data.weights is not None
    ids = data.items["item_id"].gather(data.histories.items - 1)
    return list(zip(ids, data.weights, strict=True))


def test_weights_go_with_their_interactions_through_cleaning(tmp_path):
    text = rows(
        "u,a,2,7", "v,b,1,0.5", ",c,1,", "u,b,1, 3 ", "u,a,2,9", "v,a,3,1e1", "w,c,1,8", header=BOUGHT
    )
    named: dict[str, object] = {"columns": {"weight": "price"}}
    data = prepared(tmp_path, text, **named)
    # In time order; of equal rows the first counts, 7; a row without a user needs no weight.
    assert weighed(data) == [("b", 3), ("a", 7), ("b", 0.5), ("a", 10), ("c", 8)]
    assert weighed(prepared(tmp_path, text, k_core=2, **named)) == [("b", 3), ("a", 7), ("b", 0.5), ("a", 10)]
    rated = {"columns": {"weight": "price", "rating": "price"}, "min_rating": 7}
    assert weighed(prepared(tmp_path, text.replace(",c,1,\n", ",c,1,1\n"), **rated)) == [
        ("a", 7),
        ("a", 10),
        ("c", 8),
    ]
    in_order = text.replace("time", "shelf")
    assert weighed(prepared(tmp_path, in_order, **named)) == [
        ("a", 7),
        ("b", 3),
        ("a", 9),
        ("b", 0.5),
        ("a", 10),
        ("c", 8),
    ]
    assert prepared(tmp_path, text).weights is None  # never guessed
    (tmp_path / "saved").mkdir()
    data.save(tmp_path / "saved")
    assert weighed(Dataset.load(tmp_path / "saved")) == weighed(data)


@pytest.mark.parametrize(
    ("price", "message"),
    [
        ("-1", "price '-1' is negative"),
        ("dear", "price 'dear' is not a number"),
        ("nan", "price 'nan' is not a number"),
        ("inf", "price 'inf' is not a number"),
        (" ", "no price"),
        ('"1.234,50"', r"price '1\.234,50' is not a number\n.*a point, not a comma"),
    ],
)
@pytest.mark.parametrize("min_rating", [None, 3])
def test_a_weight_that_is_none_is_refused_with_its_line(tmp_path, price, message, min_rating):
    text = rows("u,a,1,0,5", ",b,1,-2,5", f"u,c,1,{price},1", header=f"{BOUGHT},rating")
    told = message if "comma" in message else rf"{message}\n"
    with pytest.raises(DataError, match=rf"i\.csv:4: {told}.*zero or more"):
        prepared(tmp_path, text, columns={"weight": "price"}, min_rating=min_rating)


def test_weights_that_weigh_nothing_and_columns_that_are_not_there(tmp_path):
    text = rows("u,a,1,0", "u,b,2,0.0", "v,a,3,0", "v,b,1,0", "v,c,1,5", header=BOUGHT)
    assert prepared(tmp_path, text, columns={"weight": "price"}).weights is not None
    with pytest.raises(DataError, match="every price that is left after cleaning is 0"):
        prepared(tmp_path, text, columns={"weight": "price"}, k_core=2)
    with pytest.raises(DataError, match=r"no column 'prise'.*\n.*did you mean 'price'"):
        prepared(tmp_path, text, columns={"weight": "prise"})
    with pytest.raises(DataError, match="'time' can't be two of user, item, time and weight"):
        prepared(tmp_path, text, columns={"weight": "time"})


@pytest.mark.parametrize(
    ("tied", "users", "told"), [(1, 51, False), (1, 50, True), (3, 3, True), (0, 3, False)]
)
def test_equal_times_of_the_last_two_are_told(tmp_path, tied, users, told):
    lines = [f"u{n},{item},{time}" for n in range(users) for item, time in (("a", 1), ("b", 1), ("c", 2))]
    lines += [f"u{n},d,{2 if n < tied else 3}" for n in range(users)]
    data = prepared(tmp_path, rows(*lines, "alone,a,1"))
    assert data.report["users_whose_last_two_times_are_equal"] == tied
    share = f"{tied:,} users ({tied / users:.1%} of those with two or more) have the same time"
    assert [share in warning for warning in data.warnings] == [True] * told


def test_k_core_cuts_users_and_items(tmp_path):
    # c has one interaction; without it w has one; without that a still has two.
    text = rows("u,a,1", "u,b,2", "v,a,1", "v,b,2", "w,a,1", "w,c,2")
    data = prepared(tmp_path, text, ITEMS, k_core=2)
    assert histories(data) == {"u": ["a", "b"], "v": ["a", "b"]}
    assert data.report["interactions_outside_k_core"] == 2
    assert data.items["item_id"].to_list() == ["a", "b"]
    with pytest.raises(DataError, match="3-core of 6 interactions is empty"):
        prepared(tmp_path, text, k_core=3)


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("user_id,item_id,timestamp", {}),
        ("UserId,movieId,Time", {}),
        ("reviewerID,asin,unixReviewTime", {}),
        ("visitor-id,parent_asin,date", {}),
        ("x,y,z", {"user": "x", "item": "y", "timestamp": "z"}),
    ],
)
def test_columns_are_guessed_or_named(tmp_path, header, columns):
    data = prepared(tmp_path, rows("u,b,2", "u,a,1", header=header), columns=columns)
    assert histories(data) == {"u": ["a", "b"]}


def test_a_named_column_goes_before_an_obvious_one(tmp_path):
    text = rows("u,b,2,1", "u,a,1,2", header="user,item,timestamp,position")
    assert histories(prepared(tmp_path, text)) == {"u": ["a", "b"]}
    assert histories(prepared(tmp_path, text, columns={"timestamp": "position"})) == {"u": ["b", "a"]}


@pytest.mark.parametrize("name", ["item_id", "movieId", "parent_asin", "ID"])
def test_the_id_of_the_item_file_is_guessed(tmp_path, name):
    data = prepared(tmp_path, rows("u,b,1"), f"title,{name}\nBell,b\n")
    assert data.items.rows() == [("b", "Bell")]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user": "usr"}, r"i\.csv: no column 'usr'; there are: user, item, time\n.*did you mean 'user'"),
        ({"timestamp": "when"}, r"no column 'when'"),
        ({"item": "quite_other"}, r"no column 'quite_other'; there are: user, item, time$"),
    ],
)
def test_a_named_column_that_is_not_there(tmp_path, columns, message):
    with pytest.raises(DataError, match=message):
        prepared(tmp_path, rows("u,a,1", header="user,item,time"), columns=columns)


def test_no_obvious_column_tells_the_setting(tmp_path):
    with pytest.raises(
        DataError, match=r"none .* is obviously the item: user, thing\n.*data\.columns\.item;"
    ):
        prepared(tmp_path, rows("u,a", header="user,thing"))
    with pytest.raises(DataError, match=r"items\.csv: none .*\n.*data\.columns\.item_id"):
        prepared(tmp_path, rows("u,a,1"), "name,title\na,Anvil\n")


@pytest.mark.parametrize("broken", ["interactions", "items"])
def test_header_only(tmp_path, broken):
    texts = {"interactions": rows("u,a,1"), "items": ITEMS}
    texts[broken] = texts[broken].partition("\n")[0] + "\n"
    with pytest.raises(DataError, match="a header and no rows"):
        prepared(tmp_path, texts["interactions"], texts["items"])


def test_nothing_left_after_cleaning(tmp_path):
    with pytest.raises(DataError, match=r"no interaction is left .* rows without user or item 2"):
        prepared(tmp_path, rows("u,,1", ",a,1"))


def test_item_file_of_other_items(tmp_path):
    with pytest.raises(
        DataError, match=r"none of its items occurs in the interactions\n.*'a' here, 'x' there"
    ):
        prepared(tmp_path, rows("u,x,1"), ITEMS)


def test_a_text_field_that_takes_the_place_of_the_id(tmp_path):
    with pytest.raises(DataError, match="a text field can't be called 'item_id'"):
        prepared(tmp_path, rows("u,a,1"), "asin,item_id\na,Anvil\n", columns={"item_id": "asin"})


def test_a_text_field_may_have_any_other_name(tmp_path):
    data = prepared(tmp_path, rows("u,b,1", "u,a,2"), "item,index,item_rows,user\na,x,y,z\nb,,,\n")
    assert data.items.columns == ["item_id", "index", "item_rows", "user"]
    assert data.items.rows() == [("a", "x", "y", "z"), ("b", None, None, None)]


def test_saved_and_loaded_again(tmp_path):
    data = prepared(tmp_path, rows("u,z,1", "u,d,2", "v,d,1"), ITEMS)
    (tmp_path / "saved").mkdir()
    data.save(tmp_path / "saved")
    again = Dataset.load(tmp_path / "saved")
    assert histories(again) == histories(data)
    assert again.items.equals(data.items)
    assert again.timestamps.equals(data.timestamps)
    assert again.report == data.report
    assert again.item_file_index is not None
    assert again.item_file_index.equals(data.item_file_index)
    assert again.item_index == {"d": 1, "z": 2}
    (tmp_path / "saved" / "items.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="can't read the prepared data"):
        Dataset.load(tmp_path / "saved")


def test_fingerprint_follows_contents_and_settings_not_places(tmp_path):
    text = rows("u,a,1")
    (tmp_path / "other").mkdir()
    first = input_fingerprint(settings(tmp_path, text, ITEMS))
    assert input_fingerprint(settings(tmp_path / "other", text, ITEMS)) == first
    assert input_fingerprint(settings(tmp_path, text, ITEMS + "e,Egg,\n")) != first
    assert input_fingerprint(settings(tmp_path, rows("u,a,2"), ITEMS)) != first
    assert input_fingerprint(settings(tmp_path, text, ITEMS, k_core=2)) != first
    assert input_fingerprint(settings(tmp_path, text)) != first
    with pytest.raises(DataError, match=r"gone\.csv: no such file"):
        input_fingerprint(DataSettings(interactions=tmp_path / "gone.csv"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "give either 'source'"),
        ({"source": "ml-100k", "interactions": "a.csv"}, "give either 'source'"),
        ({"source": "ml-100k", "items": "a.csv"}, "brings its own items"),
        ({"interactions": "a.csv", "k_core": 0}, "k_core"),
        ({"interactions": "a.csv", "head_share": 1}, "head_share"),
        ({"interactions": "a.csv", "colums": {}}, "did you mean 'columns'"),
    ],
)
def test_settings_that_can_not_be_used(values, message):
    with pytest.raises(ConfigError, match=message):
        DataSettings.parse(values)


def test_paths_are_relative_to_the_given_folder(tmp_path):
    chosen = DataSettings(interactions=Path("a.csv"), items=tmp_path / "b.csv").resolved(Path("/base"))
    assert (chosen.interactions, chosen.items) == (Path("/base/a.csv"), tmp_path / "b.csv")
    assert DataSettings(source="ml-100k").resolved(Path("/base")).interactions is None


def test_agrees_with_a_plain_loop(tmp_path):
    draw = np.random.default_rng(0)
    triples = [(f"u{u}", f"i{i}", int(t)) for u, i, t in draw.integers(0, [9, 15, 20], (300, 3))]
    data = prepared(tmp_path, rows(*(f"{u},{i},{t}" for u, i, t in triples)), k_core=3)

    kept = list(dict.fromkeys(triples))
    while True:
        counts = [pl.Series([row[part] for row in kept]).value_counts().rows() for part in (0, 1)]
        users, items = (dict(pairs) for pairs in counts)
        smaller = [row for row in kept if users[row[0]] >= 3 and items[row[1]] >= 3]
        if smaller == kept:
            break
        kept = smaller
    expected: dict[str, list[str]] = {}
    for user, item, _ in sorted(kept, key=lambda row: row[2]):
        expected.setdefault(user, []).append(item)
    assert histories(data) == expected
    assert list(data.user_ids) == list(dict.fromkeys(user for user, _, _ in kept))


def test_what_cleaning_did_is_told(tmp_path, caplog):
    caplog.set_level("INFO", logger="h2rec")
    prepared(tmp_path, rows("u,a,1", "u,a,1", "u,,2", "v,b,1", "v,a,2"), ITEMS)
    assert "2 users, 2 items, 3 interactions" in caplog.text
    assert (
        "1 rows without user or item, 1 duplicate interactions, 1 users with one interaction" in caplog.text
    )
