"""JSON as it is written: read again it is the same, and what has no parts of its own is one line."""

import json

from h2rec.files import read_json, write_json


def test_json_has_a_line_for_each_record_and_is_read_as_it_was(tmp_path):
    record = {f"metric {number}": number / 7 for number in range(12)}
    value = {
        "rows": [record | {"seeds": [0, 1]}, record],
        "long": list(range(200)),
        "short": {"a": {"b": [{"c": None}]}},
        "é": "text",
        "none": [],
    }
    write_json(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert read_json(tmp_path / "x.json") == value
    assert list(read_json(tmp_path / "x.json")) == list(value)
    lines = text.splitlines()
    assert f"  {json.dumps(record)}" in lines
    assert f' "long": {value["long"]},' in lines
    assert ' "short": {"a": {"b": [{"c": null}]}},' in lines
    assert ' "é": "text",' in lines
    assert text.endswith("}\n")
    assert max(len(line) for line in lines if "metric" not in line and "long" not in line) <= 120
