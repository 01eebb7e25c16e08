"""JSON lines: columns in the order of the file, values as they are written, nothing lost in silence."""

import json
import subprocess
import sys

import pytest

from h2rec.data.readers import json_lines, open_table
from h2rec.errors import DataError


def read(path, content: str, *columns: str):
    path.write_text(content, encoding="utf-8")
    table = open_table(path)
    return table.collect(table.scan().select(columns or table.columns)).rows()


def test_columns_come_in_the_order_of_first_appearance_however_many(tmp_path):
    names = [f"k{(n * 37) % 101}" for n in range(101)]
    lines = [dict.fromkeys(names[:50], "a"), dict.fromkeys(names, "b")]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert open_table(path).columns == tuple(names)
    # Hash seeds differ between processes; the order does not.
    start = "from pathlib import Path; from h2rec.data.readers import open_table"
    code = f"{start}; print(open_table(Path({str(path)!r})).columns)"
    told = {subprocess.check_output([sys.executable, "-c", code]) for _ in range(2)}
    assert told == {f"{tuple(names)}\n".encode()}


def test_nested_objects_of_many_keys_keep_their_order(tmp_path):
    inner = {f"k{(n * 37) % 101}": n for n in range(101)}
    found = read(tmp_path / "a.jsonl", json.dumps({"id": 1, "inner": inner}) + "\n", "inner")
    assert found == [(json.dumps(inner),)]


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_null(tmp_path, word):
    content = f'{{"id": 1, "price": {word}, "all": [1, {word}], "in": {{"x": {word}}}}}\n'
    assert read(tmp_path / "a.jsonl", content) == [("1", None, "1", '{"x": null}')]


def test_a_byte_order_mark_is_dropped(tmp_path):
    path = tmp_path / "a.jsonl"
    assert read(path, '\ufeff{"id": 1}\n') == [("1",)]
    assert open_table(path).columns == ("id",)


def test_numbers_keep_their_form(tmp_path):
    content = '{"a": 1.50, "b": 1e5, "c": 12345678901234567890123, "d": 2.0, "e": -0.0, "f": true}\n'
    assert read(tmp_path / "a.jsonl", content) == [
        ("1.50", "1e5", "12345678901234567890123", "2", "-0", "true")
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": 1, "id": 2}', r"a\.jsonl:2: the key 'id' stands twice"),
        ('{"id": "\\ud83d"}', r"a\.jsonl:2: half of a surrogate pair"),
        ('{"id": nope}', r"a\.jsonl:2: not valid JSON \(Expecting value, column 8\)"),
    ],
)
def test_a_line_that_can_not_be_read_is_named(tmp_path, line, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.jsonl", f'{{"id": 0}}\n{line}\n')


def test_blocks_filters_and_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(json_lines, "_ROWS_AT_ONCE", 3)
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f'{{"n": {n}}}\n' for n in range(10)))
    frame = open_table(path).scan()
    assert frame.collect().rows() == [(str(n),) for n in range(10)]
    assert frame.head(4).collect().height == 4
