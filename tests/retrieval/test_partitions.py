"""A folder of histories: parts in, parts out, and only what changed is made again."""

import os

import polars as pl
import pyarrow.parquet as pq
import pytest

from h2rec.cli.main import main
from h2rec.errors import DataError, H2RecError
from h2rec.retrieval import partitions, results
from h2rec.retrieval.batch import recommend_file
from h2rec.retrieval.filters import ItemFilter
from h2rec.retrieval.partitions import recommend_parts


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(("a.parquet", "day=2/b.parquet", "c.parquet")):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        users = [f"u{number}{row}" for row in range(3)]
        pl.DataFrame({"user_id": users, "history": [[f"i{number + 3}"], ["i9", "i4"], []]}).write_parquet(
            path
        )
    (tmp_path / "in" / "_SUCCESS").touch()
    return tmp_path


def run(recommender, folder, k=3, **options):
    report = recommend_parts(recommender, folder / "in", folder / "out", k, **options)
    return report.made, report.kept, report.removed


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_each_part_has_its_answers_and_is_made_once(recommender, folder):
    assert run(recommender, folder) == (3, 0, 0)
    assert names(folder / "out") == ["a.parquet", "c.parquet", "day=2/b.parquet"]
    recommend_file(recommender, folder / "in" / "day=2" / "b.parquet", folder / "alone.parquet", 3)
    assert pl.read_parquet(folder / "out/day=2/b.parquet").equals(pl.read_parquet(folder / "alone.parquet"))
    assert pl.read_parquet(folder / "out/*.parquet").height == 6
    before = (folder / "out/a.parquet").stat()
    assert run(recommender, folder) == (0, 3, 0)
    assert (folder / "out/a.parquet").stat() == before


def test_what_changed_is_made_again_and_what_is_gone_removed(recommender, folder):
    run(recommender, folder)
    path = folder / "in" / "a.parquet"
    changed = path.stat().st_mtime_ns + 1
    os.utime(path, ns=(changed, changed))
    assert run(recommender, folder) == (1, 2, 0)
    (folder / "in/c.parquet").unlink()
    assert run(recommender, folder) == (0, 2, 1)
    assert names(folder / "out") == ["a.parquet", "day=2/b.parquet"]
    assert run(recommender, folder, k=4) == (2, 0, 0)
    assert run(recommender, folder, k=4, tail_share=0.5) == (2, 0, 0)
    razors = ItemFilter.make(where={"category": ["razor"]}, deny=["i3", "i4"])
    assert run(recommender, folder, filter=razors) == (2, 0, 0)
    assert run(
        recommender, folder, filter=ItemFilter.make(deny=["i4", "i3"], where={"category": ["razor"]})
    ) == (
        0,
        2,
        0,
    )


def test_another_bundle_makes_all_again(recommender, fused, folder):
    assert run(recommender, folder) == run(fused, folder) == (3, 0, 0)


def test_a_run_that_was_killed_goes_on(recommender, folder, monkeypatch):
    real, written = results._table, []

    def dies(users, answers):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(users)
        return real(users, answers)

    monkeypatch.setattr(results, "_table", dies)
    with pytest.raises(KeyboardInterrupt):
        run(recommender, folder)
    monkeypatch.undo()
    assert names(folder / "out") == ["a.parquet"]
    # kill -9 leaves the half-written file, too.
    left = folder / "out" / ".c.parquet.0123abcd.partial"
    left.write_text("half")
    assert run(recommender, folder) == (2, 1, 0)
    assert not left.exists()


def test_what_is_none_of_ours_is_refused(recommender, folder):
    (folder / "out").mkdir()
    theirs = folder / "out" / "a.parquet"
    pl.DataFrame({"user_id": ["u"], "history": [["i1"]]}).write_parquet(theirs)
    with pytest.raises(H2RecError, match=r"a\.parquet: is there already"):
        run(recommender, folder)
    theirs.unlink()
    for target in (folder / "in", folder / "in" / "out", folder):
        with pytest.raises(DataError, match="lies in the folder"):
            recommend_parts(recommender, folder / "in", target)
    (folder / "file").write_text("x")
    with pytest.raises(H2RecError, match="is no folder"):
        recommend_parts(recommender, folder / "in", folder / "file")


def test_a_folder_is_of_histories_alone_and_that_is_seen_first(recommender, folder):
    late = folder / "in" / "z.parquet"
    pl.DataFrame({"user_id": ["u"], "item_id": ["i3"], "timestamp": [1]}).write_parquet(late)
    with pytest.raises(DataError, match="no column 'history'") as error:
        run(recommender, folder)
    assert "group events by user" in error.value.hint
    assert not (folder / "out").exists()
    late.rename(late.with_suffix(".csv"))
    with pytest.raises(DataError, match="Parquet files alone"):
        run(recommender, folder)
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="no Parquet files"):
        recommend_parts(recommender, folder / "empty", folder / "out")


def test_a_row_may_say_how_many_items(recommender, folder):
    path = folder / "in" / "a.parquet"
    rows = pl.read_parquet(path)
    rows.with_columns(pl.Series("k", [2, None, 1])).write_parquet(path)
    run(recommender, folder)
    assert pl.read_parquet(folder / "out/a.parquet")["items"].list.len().to_list() == [2, 3, 1]
    rows.with_columns(pl.Series("n", [5.0, None, 1.0])).write_parquet(path)
    recommend_file(recommender, partitions.open_lists(path, "n"), folder / "o.parquet", 3)
    assert pl.read_parquet(folder / "o.parquet")["items"].list.len().to_list() == [5, 3, 1]
    with pytest.raises(DataError, match=r"c\.parquet: no column 'n'"):
        run(recommender, folder, k_column="n")
    for bad, told in ((0, "k is 0"), (2.5, "k is '2.5'"), ("2", "k is '2'"), (True, "k is 'True'")):
        rows.with_columns(pl.Series("k", [None, bad, None])).write_parquet(path)
        with pytest.raises(DataError, match=f"row 2: {told}"):
            run(recommender, folder)


def test_row_groups_are_few_and_bounded(recommender, folder, monkeypatch):
    monkeypatch.setattr(results, "_ENTRIES_AT_ONCE", 20)
    histories = {"user_id": [f"u{row}" for row in range(11)], "history": [["i3"]] * 11}
    pl.DataFrame(histories).write_parquet(folder / "one.parquet")
    monkeypatch.setattr("h2rec.retrieval.history_files._ROWS_AT_ONCE", 2)
    recommend_file(recommender, folder / "one.parquet", folder / "o.parquet", 4)
    found = pq.read_metadata(folder / "o.parquet")
    assert [found.row_group(group).num_rows for group in range(found.num_row_groups)] == [4, 4, 3]
    assert pl.read_parquet(folder / "o.parquet")["user_id"].to_list() == histories["user_id"]


def test_the_command_tells_parts_users_and_rate(recommender, folder, capsys):
    command = ["recommend", str(recommender.bundle.folder), "--input", str(folder / "in"), "--k", "3"]
    for told in ("3 parts made, 0 kept", "0 parts made, 3 kept"):
        with pytest.raises(SystemExit) as ended:
            main([*command, "--output", str(folder / "out")])
        assert ended.value.code == 0
        assert told in (out := capsys.readouterr().out)
        assert f"{9 if told[0] == '3' else 0} users answered" in out
        assert "users a second" in out
    with pytest.raises(SystemExit) as ended:
        main([*command, "--output", str(folder / "out"), "--item", "sku"])
    assert ended.value.code == 2
    (folder / "e.csv").write_text("user,item\na,i3\n")
    with pytest.raises(SystemExit):
        main(
            [
                "recommend",
                command[1],
                "--input",
                str(folder / "e.csv"),
                "--output",
                str(folder / "o.csv"),
                "--k-column",
                "n",
            ]
        )
    assert "events have no number of items" in capsys.readouterr().err
