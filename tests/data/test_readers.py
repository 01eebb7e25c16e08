"""Every format gives the same table, and every kind of damage is named with its line."""

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from h2rec.data.readers import delimited as delimited_files
from h2rec.data.readers import open_table
from h2rec.errors import DataError

ROWS = [("u1", "i 1", "10"), ("u2", "ï2", "20"), ("u1", "007", "30")]
COLUMNS = ("user", "item", "time")


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def delimited(header: str, separator: str) -> bytes:
    lines = [header, *(separator.join(row) for row in ROWS)]
    return ("\n".join(lines) + "\n").encode()


def json_lines() -> bytes:
    return "".join(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in ROWS).encode()


CONTENTS = {
    ".inter": delimited("user:token\titem:token\ttime:float", "\t"),
    ".item": delimited("user:token\titem:token_seq\ttime:float", "\t"),
    ".csv": delimited("user,item,time", ","),
    ".tsv": delimited("user\titem\ttime", "\t"),
    ".jsonl": json_lines(),
    ".ndjson": json_lines(),
    ".json": json_lines(),
}


def read(path: Path, *columns: str) -> list[tuple[str | None, ...]]:
    table = open_table(path)
    return table.collect(table.scan().select(columns or table.columns)).rows()


@pytest.mark.parametrize("ending", [*CONTENTS, *(f"{ending}.gz" for ending in CONTENTS)])
def test_every_text_format_reads_the_same(tmp_path, ending):
    path = write(tmp_path / f"data{ending}", CONTENTS[ending.removesuffix(".gz")])
    assert open_table(path).columns == COLUMNS
    assert read(path) == ROWS
    assert read(path, "time") == [(row[2],) for row in ROWS]
    assert [tuple(values.values()) for _, values in open_table(path).records()] == ROWS


def test_parquet_reads_the_same(tmp_path):
    path = tmp_path / "data.parquet"
    pl.DataFrame(ROWS, schema=COLUMNS, orient="row").write_parquet(path)
    assert read(path) == ROWS
    assert [tuple(values.values()) for _, values in open_table(path).records()] == ROWS


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_line_ends_blank_lines_byte_order_mark_and_no_last_line_end(tmp_path, line_end):
    path = write(tmp_path / "a.csv", line_end.join([b"\xef\xbb\xbfuser,item", b"u,i", b"", b"v,j"]))
    assert open_table(path).columns == ("user", "item")
    assert read(path) == [("u", "i"), ("v", "j")]
    assert [line for line, _ in open_table(path).records()] == [2, 4]


def test_quoted_fields_hold_separators_quotes_and_line_ends(tmp_path):
    path = write(tmp_path / "a.csv", b'item,title\n1,"a, ""b""\nc"\n2,d\n3\n')
    with pytest.raises(DataError, match=r"a\.csv:5: 1 fields"):
        read(path)
    path = write(tmp_path / "a.csv", b'item,title\n1,"a, ""b""\nc"\n2,d\n')
    assert read(path) == [("1", 'a, "b"\nc'), ("2", "d")]


def test_a_quoted_line_end_may_stand_where_two_blocks_meet(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited_files, "_BLOCK_BYTES", 50)
    expected = [(str(n), f"line\n{n}\nline") for n in range(100)]
    content = "item,title\n" + "".join(f'{item},"{title}"\n' for item, title in expected)
    assert read(write(tmp_path / "a.csv", content.encode())) == expected


def test_words_that_other_programs_take_for_null_are_text(tmp_path):
    words = [("NA",), ("null",), ("nan",), ("None",), ("-",)]
    content = "item,x\n" + "".join(f"{word},\n" for (word,) in words)
    assert read(write(tmp_path / "a.csv", content.encode()), "item") == words
    lines = "".join(json.dumps({"item": word}) + "\n" for (word,) in words)
    assert read(write(tmp_path / "a.jsonl", lines.encode())) == words


def test_quotes_mean_nothing_in_atomic_files(tmp_path):
    path = write(tmp_path / "a.item", b'item_id:token\ttitle:token_seq\n1\t"12" ruler\n2\t5" disk\n')
    assert read(path) == [("1", '"12" ruler'), ("2", '5" disk')]


def test_columns_without_a_name_are_passed_over(tmp_path):
    path = write(tmp_path / "a.csv", b",user,item\n0,u,i\n1,v,j\n")
    assert open_table(path).columns == ("user", "item")
    assert read(path) == [("u", "i"), ("v", "j")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.inter", b"user:token\titem:token\nu\ti\nv\n", r"a\.inter:3: 1 fields, but the header names 2"),
        ("a.tsv", b"user\titem\nu\ti\textra\n", r"a\.tsv:2: 3 fields, but the header names 2"),
        ("a.csv", b"user,item\nu,i\n\nv,j,\n", r"a\.csv:4: 3 fields"),
        ("a.csv", b"user,item\nu,i\nv,\xff\xfe\n", r"a\.csv:3: not UTF-8 \(byte 0xff at column 3\)"),
        ("a.csv", "user,item\nu,i\n".encode("utf-16"), r"a\.csv:1: not UTF-8"),
        ("a.jsonl", b'{"user": 1, "item": 2}\n\n{"user": 1\n', r"a\.jsonl:3: not valid JSON"),
        ("a.jsonl", b'{"user": 1, "item": 2}\n[1, 2]\n', r"a\.jsonl:2: a JSON list where an object"),
        ("a.json", b'[{"user": 1},\n{"user": 2}]\n', r"a\.json:1: not valid JSON"),
        ("a.json", b'[{"user": 1}]\n', r"a\.json:1: a JSON list .*\n.*jq"),
        ("a.jsonl", b'{"user": "\xff"}\n', r"a\.jsonl:1: not UTF-8"),
        ("a.csv", b"", r"a\.csv: the file is empty"),
        ("a.csv", b"\n\n", r"a\.csv: the file is empty"),
        ("a.jsonl", b"\n", r"a\.jsonl: the file is empty"),
        ("a.csv.gz", b"", r"a\.csv\.gz: the file is empty"),
        ("a.csv", b"user,item,user\nu,i,u\n", r"a\.csv:1: column 'user' occurs twice"),
        ("a.inter", b"user\titem\nu\ti\n", r"a\.inter:1: 'user' is not a typed column"),
        ("a.inter", b"user:word\titem:token\nu\ti\n", r"a\.inter:1: 'user:word' is not a typed column"),
        ("a.parquet", b"PAR1 no", r"a\.parquet: not a whole Parquet file"),
        ("a.txt", b"user,item\n", r"a\.txt: unknown format '\.txt'"),
        ("a.parquet.gz", b"user,item\n", "Parquet is not read as .gz"),
    ],
)
def test_damage_is_named_with_file_and_line(tmp_path, name, content, message):
    path = write(tmp_path / name, content)
    with pytest.raises(DataError, match=message):
        read(path)


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz", "a.inter.gz"])
def test_damaged_gzip(tmp_path, name):
    path = write(tmp_path / name, CONTENTS[Path(name).suffixes[0]] * 50)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match="damaged gzip file"):
        read(path)
    path.write_bytes(b"user,item\nu,i\n")
    with pytest.raises(DataError, match="damaged gzip file"):
        read(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DataError, match=r"gone\.csv: no such file"):
        open_table(tmp_path / "gone.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="a folder where a file is expected"):
        open_table(tmp_path / "folder.csv")


def test_a_row_that_is_broken_in_a_column_that_is_not_read(tmp_path):
    path = write(tmp_path / "a.tsv", b"user\titem\tnote\nu\ti\tn\nv\tj\n")
    with pytest.raises(DataError, match=r"a\.tsv:3: 2 fields"):
        read(path, "user")


def test_typed_values_become_the_text_one_expects(tmp_path):
    lines = [
        {
            "id": 1,
            "tags": ["a", "b"],
            "deep": [["c", "d"], ["e"]],
            "price": 1.5,
            "note": None,
            "made": {"by": "x"},
        },
        {"id": "b2", "tags": [], "deep": None, "price": 2, "note": True},
        {"id": 12345678901234567890, "late": "only here"},
    ]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)).encode())
    columns = ("id", "tags", "deep", "price", "note", "made", "late")
    assert read(path, *columns) == [
        ("1", "a, b", "c, d, e", "1.5", None, '{"by": "x"}', None),
        ("b2", "", None, "2", "true", None, None),
        ("12345678901234567890", None, None, None, None, None, "only here"),
    ]


def test_parquet_types(tmp_path):
    path = tmp_path / "a.parquet"
    moment = pl.Series(["2024-05-01T12:00:00.5"]).str.to_datetime()
    frame = pl.DataFrame(
        {
            "whole": [3.0, None, float("nan")],
            "real": [0.25, 1.0, 2.0],
            "count": [7, None, 9],
            "moment": pl.concat([moment] * 3),
            "local": pl.concat([moment] * 3).dt.replace_time_zone("Asia/Tokyo"),
            "day": pl.concat([moment] * 3).dt.date(),
            "tags": [["x", None, "y"], [], None],
            "kind": pl.Series(["k", "k", None], dtype=pl.Categorical),
            "bytes": [b"ab", None, b"c"],
        }
    )
    frame.write_parquet(path)
    utc = "2024-05-01T12:00:00.500000"
    tokyo = "2024-05-01T03:00:00.500000"
    assert read(path) == [
        ("3", "0.25", "7", utc, tokyo, "2024-05-01", "x, y", "k", "ab"),
        (None, "1", None, utc, tokyo, "2024-05-01", "", "k", None),
        (None, "2", "9", utc, tokyo, "2024-05-01", None, None, "c"),
    ]


def test_the_slow_pass_finds_the_first_row_that_a_condition_holds_for(tmp_path):
    path = write(tmp_path / "a.csv", b"user,item\nu,1\nu,\nv,\nv,3\n")
    table = open_table(path)
    assert table.first("item", pl.col("item") == "") == (f"{path}:3", "")
    assert table.first("item", (pl.col("item") == "") & (pl.col("user") == "v")) == (f"{path}:4", "")
    assert table.first("item", pl.col("item") == "9") is None


def test_a_scan_can_be_limited_and_filtered(tmp_path):
    path = write(tmp_path / "a.csv", b"n\n" + b"".join(b"%d\n" % n for n in range(1000)))
    frame = open_table(path).scan()
    assert frame.head(3).collect().rows() == [("0",), ("1",), ("2",)]
    assert frame.filter(pl.col("n").str.ends_with("99")).head(2).collect().rows() == [("99",), ("199",)]
