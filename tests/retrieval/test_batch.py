import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from h2rec.cli.main import main
from h2rec.errors import DataError
from h2rec.retrieval import history_files
from h2rec.retrieval.batch import recommend_file
from h2rec.retrieval.filters import ItemFilter
from h2rec.retrieval.history_files import open_histories, read_item_ids

HISTORIES = [["i3", "i17"], [], ["nothing", "i4"], None, ["i9", None]]


def write(path, histories, users=None):
    users = [f"u{n}" for n in range(len(histories))] if users is None else users
    kind = pa.list_(pa.string())
    pq.write_table(pa.table({"user_id": users, "history": pa.array(histories, kind), "more": users}), path)
    return path


@pytest.mark.parametrize("rows_at_once", [2, 1000])
def test_every_row_is_answered_in_order(recommender, tmp_path, monkeypatch, rows_at_once):
    monkeypatch.setattr(history_files, "_ROWS_AT_ONCE", rows_at_once)
    done = []
    report = recommend_file(
        recommender,
        write(tmp_path / "in.parquet", HISTORIES),
        tmp_path / "out.parquet",
        4,
        advance=done.append,
    )
    results = pl.read_parquet(tmp_path / "out.parquet")
    assert results["user_id"].to_list() == [f"u{n}" for n in range(5)]
    clean = [["i3", "i17"], [], ["nothing", "i4"], [], ["i9"]]
    for row, history in zip(results.iter_rows(named=True), clean, strict=True):
        alone = recommender.recommend(history, 4)
        assert row["items"] == [item.item_id for item in alone.items]
        assert row["scores"] == pytest.approx([item.score for item in alone.items], rel=1e-4)
        assert (row["unknown"], row["from_popularity"]) == (alone.unknown, alone.from_popularity)
    assert (report.users, report.from_popularity, report.unknown, report.short) == (5, 2, 1, 0)
    assert sum(done) == 5
    assert len(done) == (3 if rows_at_once == 2 else 1)


def test_filter_and_quota_hold_for_every_row(recommender, tmp_path):
    source = write(tmp_path / "in.parquet", HISTORIES)
    razors = ItemFilter.make(where={"category": ["razor"]})
    recommend_file(recommender, source, tmp_path / "out.parquet", 5, filter=razors, tail_share=1.0)
    for items in pl.read_parquet(tmp_path / "out.parquet")["items"]:
        assert all(int(item[1:]) % 4 == 3 and int(item[1:]) >= 12 for item in items)


def test_mistakes_name_the_place_and_leave_no_file(recommender, tmp_path):
    out = tmp_path / "out.parquet"
    with pytest.raises(DataError, match="no such file"):
        recommend_file(recommender, tmp_path / "none.parquet", out)
    (tmp_path / "bad.parquet").write_text("hello")
    with pytest.raises(DataError, match="not a Parquet file"):
        recommend_file(recommender, tmp_path / "bad.parquet", out)
    pl.DataFrame({"user_id": ["a"], "items": [["b"]]}).write_parquet(tmp_path / "other.parquet")
    with pytest.raises(DataError, match="no column 'history'; there are: user_id, items"):
        recommend_file(recommender, tmp_path / "other.parquet", out)
    pl.DataFrame({"user_id": ["a"], "history": ["b,c"]}).write_parquet(tmp_path / "text.parquet")
    with pytest.raises(DataError, match="not a list"):
        recommend_file(recommender, tmp_path / "text.parquet", out)
    with pytest.raises(DataError, match="row 2: the user id is missing"):
        recommend_file(recommender, write(tmp_path / "id.parquet", [[], []], ["a", None]), out)
    damaged = write(tmp_path / "damaged.parquet", [["i3"]] * 500)
    data = bytearray(damaged.read_bytes())
    data[10:200] = bytes(190)
    damaged.write_bytes(bytes(data))
    with pytest.raises(DataError, match="after row 0"):
        recommend_file(recommender, damaged, out)
    assert not out.exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_numbers_as_ids_are_read_as_text(recommender, tmp_path):
    pl.DataFrame({"user_id": [7], "history": [[3, 4]]}).write_parquet(tmp_path / "in.parquet")
    recommend_file(recommender, tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert pl.read_parquet(tmp_path / "out.parquet")["unknown"].to_list() == [["3", "4"]]


def test_users_with_fewer_items_than_asked_for_are_counted(recommender, tmp_path):
    source = write(
        tmp_path / "in.parquet", [[f"i{n}" for n in range(60)], ["i3"], [f"i{n}" for n in range(55)]]
    )
    target = tmp_path / "out.parquet"
    assert recommend_file(recommender, source, target, 10).short == 2
    assert pl.read_parquet(target)["items"].list.len().to_list() == [0, 10, 5]
    again = ItemFilter.make(seen=True)
    assert recommend_file(recommender, source, target, 10, filter=again).short == 0


def test_a_csv_file_has_a_row_for_each_item(recommender, tmp_path):
    source = write(tmp_path / "in.parquet", [["i3", "i17"], []], ["u,1", 'u"2'])
    report = recommend_file(recommender, source, tmp_path / "out.csv", 3)
    table = pl.read_csv(tmp_path / "out.csv")
    assert table.columns == ["user_id", "rank", "item_id", "score", "from_popularity"]
    assert table["user_id"].to_list() == ["u,1"] * 3 + ['u"2'] * 3
    assert table["rank"].to_list() == [1, 2, 3] * 2
    alone = recommender.recommend(["i3", "i17"], 3).items + recommender.recommend([], 3).items
    assert table["item_id"].to_list() == [item.item_id for item in alone]
    assert table["score"].to_list() == pytest.approx([item.score for item in alone], rel=1e-4)
    assert table["from_popularity"].to_list() == [False] * 3 + [True] * 3
    assert (report.users, report.rows) == (2, 6)


def test_json_lines_say_what_parquet_says(recommender, tmp_path):
    source = write(tmp_path / "in.parquet", HISTORIES)
    for name in ("out.jsonl", "out.parquet"):
        assert recommend_file(recommender, source, tmp_path / name, 3).rows == 5
    lines, rows = pl.read_ndjson(tmp_path / "out.jsonl"), pl.read_parquet(tmp_path / "out.parquet")
    assert lines.drop("scores").equals(rows.drop("scores"))


@pytest.mark.parametrize("name", ["out", "out.xlsx", "out.csv.gz", ".csv"])
def test_an_ending_that_tells_no_format_is_refused_before_anything_is_read(tmp_path, name):
    with pytest.raises(DataError, match="the ending tells the format"):
        recommend_file(None, tmp_path / "none.parquet", tmp_path / name)


def test_whole_floats_and_blanks_are_ids_and_missing_entries_are_counted(recommender, tmp_path):
    pl.DataFrame({"user_id": [7], "history": [[3.0, None, 4.0]]}).write_parquet(tmp_path / "in.parquet")
    report = recommend_file(recommender, tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert pl.read_parquet(tmp_path / "out.parquet")["unknown"].to_list() == [["3", "4"]]
    assert (report.missing, report.unknown) == (1, 2)
    recommend_file(
        recommender, write(tmp_path / "in.parquet", [[" i3", "i17 "]]), tmp_path / "out.parquet", 3
    )
    found = pl.read_parquet(tmp_path / "out.parquet").row(0, named=True)
    assert found["items"] == [item.item_id for item in recommender.recommend(["i3", "i17"], 3).items]
    pl.DataFrame({"user_id": [7], "history": [[[3]]]}).write_parquet(tmp_path / "in.parquet")
    with pytest.raises(DataError, match="not item ids"):
        recommend_file(recommender, tmp_path / "in.parquet", tmp_path / "out.parquet")


EVENTS = [("b", "i9", 3), ("a", "i17", 2), ("b", "i4", 1), ("a", "i3", 1), ("b", "i9", 3), (None, "i3", 1)]


@pytest.mark.parametrize("ending", ["csv", "parquet", "inter"])
def test_events_are_histories_in_the_order_of_time(recommender, tmp_path, monkeypatch, caplog, ending):
    monkeypatch.setattr(history_files, "_ROWS_AT_ONCE", 1)
    source = tmp_path / f"orders.{ending}"
    frame = pl.DataFrame(EVENTS, schema=["user_id", "item_id", "timestamp"], orient="row")
    if ending == "csv":
        frame.write_csv(source)
    elif ending == "parquet":
        frame.write_parquet(source)
    else:
        typed = frame.rename(
            {"user_id": "user_id:token", "item_id": "item_id:token", "timestamp": "timestamp:float"}
        )
        typed.write_csv(source, separator="\t")
    opened = open_histories(source)
    assert (opened.users, opened.events) == (2, 4)
    assert "1 rows without user or item, 1 duplicate interactions" in caplog.text
    report = recommend_file(recommender, source, tmp_path / "out.parquet", 3)
    results = pl.read_parquet(tmp_path / "out.parquet")
    assert results["user_id"].to_list() == ["b", "a"]
    for items, history in zip(results["items"].to_list(), (["i4", "i9"], ["i3", "i17"]), strict=True):
        assert items == [item.item_id for item in recommender.recommend(history, 3).items]
    assert report.users == 2


def test_events_without_a_time_are_in_the_order_of_the_file(recommender, tmp_path, caplog):
    (tmp_path / "orders.csv").write_text("user,item\na,i3\na,i17\n")
    assert next(open_histories(tmp_path / "orders.csv").batches()) == (["a"], [["i3", "i17"]], 0, None)
    assert "the order of the rows is the order in time" in caplog.text


def test_item_ids_of_lines_and_tables(tmp_path):
    (tmp_path / "stock.txt").write_text("\ufeffi3\n\n i17 \n", encoding="utf-8")
    (tmp_path / "stock.csv").write_text("count,sku\n2,i3\n4,i17\n")
    for name in ("stock.txt", "stock.csv"):
        assert read_item_ids(tmp_path / name) == ["i3", "i17"]
    (tmp_path / "none.txt").write_text("\n")
    with pytest.raises(DataError, match="no item ids"):
        read_item_ids(tmp_path / "none.txt")
    with pytest.raises(DataError, match="can't be read"):
        read_item_ids(tmp_path / "missing.txt")


def test_the_command_leaves_out_what_is_denied_and_tells_what_it_does_not_know(recommender, tmp_path, capsys):
    (tmp_path / "orders.csv").write_text("user,item,time\na,i3,1\nb,i4,1\n")
    usual = {item.item_id for item in recommender.recommend(["i3"], 5).items}
    (tmp_path / "gone.txt").write_text("\n".join([*usual, "nothing"]))
    command = [
        "recommend",
        str(recommender.bundle.folder),
        "--input",
        str(tmp_path / "orders.csv"),
        "--k",
        "5",
    ]
    for option, holds in (("--deny", False), ("--allow", True)):
        out = tmp_path / f"{option[2:]}.csv"
        with pytest.raises(SystemExit) as ended:
            main([*command, "--output", str(out), option, str(tmp_path / "gone.txt")])
        assert ended.value.code == 0
        told = capsys.readouterr()
        assert "1 of 6 ids are not in the catalogue" in told.err
        assert "2 events read\n2 users answered" in told.out
        shown = set(pl.read_csv(out)["item_id"])
        assert (shown <= usual) if holds else not shown & usual
    (tmp_path / "other.txt").write_text("x1\nx2\n")
    with pytest.raises(SystemExit) as ended:
        main([*command, "--output", str(tmp_path / "o.csv"), "--allow", str(tmp_path / "other.txt")])
    assert ended.value.code == 2
    assert "none of its 2 ids is in the bundle's catalogue" in capsys.readouterr().err


def test_columns_that_are_not_obvious_are_named_by_options(recommender, tmp_path, capsys):
    (tmp_path / "export.csv").write_text("wer;was;wann\na;i3;31.12.2025\na;i17;01.02.2025\n")
    command = ["recommend", str(recommender.bundle.folder), "--input", str(tmp_path / "export.csv")]
    out = tmp_path / "out.csv"
    with pytest.raises(SystemExit):
        main([*command, "--output", str(out)])
    assert "name it with --user" in capsys.readouterr().err
    named = ["--user", "wer", "--item", "was", "--timestamp", "wann", "--time-format", "%d.%m.%Y"]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--output", str(out), *named, "--separator", ";"])
    assert ended.value.code == 0
    expected = [item.item_id for item in recommender.recommend(["i17", "i3"], 10).items]
    assert pl.read_csv(out)["item_id"].to_list() == expected


def test_columns_are_named_for_events_alone(recommender, tmp_path, capsys):
    bundle = str(recommender.bundle.folder)
    source = write(tmp_path / "in.parquet", HISTORIES)
    for words, told in (
        (["--history", "i3", "--user", "wer"], "tell how --input is read"),
        (["--input", str(source), "--output", str(tmp_path / "o.csv"), "--user", "wer"], "for events alone"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["recommend", bundle, *words])
        assert ended.value.code == 2
        assert told in capsys.readouterr().err
