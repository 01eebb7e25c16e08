import json
from pathlib import Path

import pytest

from h2rec.errors import DataError, SemanticIdError
from h2rec.semantic_ids.codes import SemanticIds
from h2rec.semantic_ids.interchange import read_codes, write_index

PUBLISHED = '{"i0": ["<a_12>", "<b_3>"], "i1": ["<a_0>", "<b_255>"]}'


def written(folder: Path, text: str) -> Path:
    path = folder / "some.index.json"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_the_published_form(tmp_path: Path):
    found = read_codes(written(tmp_path, PUBLISHED))
    assert found.codes.tolist() == [[12, 3], [0, 255]]
    assert found.codebook_sizes == (13, 256)


def test_items_wanted_come_in_their_order_and_sizes_from_the_whole_file(tmp_path: Path):
    found = read_codes(written(tmp_path, PUBLISHED), ["i1"])
    assert found.codes.tolist() == [[0, 255]]
    assert found.codebook_sizes == (13, 256)


def test_every_item_of_a_file_is_checked_whether_it_is_wanted_or_not(tmp_path: Path):
    with pytest.raises(SemanticIdError, match="item 'i1': expected 2 integers"):
        read_codes(written(tmp_path, '{"i0": [1, 2], "i1": [1]}'), ["i0"])


def test_reads_plain_integers_too(tmp_path: Path):
    assert read_codes(written(tmp_path, '{"x": [1, 2], "y": [0, 4]}')).codes.tolist() == [[1, 2], [0, 4]]


def test_written_and_read_again_is_the_same(tmp_path: Path):
    codes = SemanticIds.from_mapping({'ä"': [3, 0], "b": [1, 7]})
    write_index(tmp_path / "out.index.json", codes, ['ä"', "b"])
    content = json.loads((tmp_path / "out.index.json").read_text(encoding="utf-8"))
    assert content == {'ä"': ["<a_3>", "<b_0>"], "b": ["<a_1>", "<b_7>"]}
    again = read_codes(tmp_path / "out.index.json")
    assert again.codes.tolist() == codes.codes.tolist()
    assert again.codebook_sizes == codes.codebook_sizes


def test_more_levels_than_letters_can_not_be_written(tmp_path: Path):
    codes = SemanticIds.from_mapping({"x": [0] * 27})
    with pytest.raises(SemanticIdError, match="27 levels"):
        write_index(tmp_path / "out.index.json", codes, ["x"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            '{"i0": ["<a_1>", "<b_x>"]}',
            "item 'i0', level 2: expected a token such as \"<b_12>\", found '<b_x>'",
        ),
        ('{"i0": ["<a_1>", 5]}', "item 'i0', level 2: expected a token"),
        ('{"i0": ["<a_-1>"]}', "item 'i0', level 1: expected a token"),
        ('{"i0": ["<b_1>", "<a_2>"]}', "item 'i0', level 1: expected the letter 'a', found '<b_1>'"),
        ('{"i0": ["<a_1>", "<a_2>"]}', "item 'i0', level 2: expected the letter 'b', found '<a_2>'"),
        ('{"i0": ["<a_1>"], "i1": ["<a_1>", "<b_2>"]}', "item 'i1': expected 1 integers"),
        ('{"i0": []}', "item 'i0': expected a non-empty list"),
        ('{"i0": "<a_1>"}', "item 'i0': expected a non-empty list"),
        ('{"i0": [1.5]}', "item 'i0': expected a non-empty list of integers"),
        ('{"i0": [true]}', "item 'i0': expected a non-empty list of integers"),
        ('{"i0": [-1]}', "level 1: code -1 is outside"),
        ('{"i0": [99999999999]}', "there is no code 99999999999"),
        ('{"i0": [-99999999999999999999999]}', "there is no code -99999999999999999999999"),
        ('["<a_1>"]', "expected an object"),
        ("{}", "expected an object"),
    ],
)
def test_a_malformed_file_is_told_with_item_and_level(tmp_path: Path, text: str, told: str):
    with pytest.raises(SemanticIdError) as caught:
        read_codes(written(tmp_path, text))
    assert told in str(caught.value)


def test_wanted_items_without_codes_are_named(tmp_path: Path):
    with pytest.raises(SemanticIdError, match="2 items have no codes, the first: i7, i8"):
        read_codes(written(tmp_path, PUBLISHED), ["i0", "i7", "i8"])


def test_a_missing_file_and_broken_json_are_told(tmp_path: Path):
    with pytest.raises(DataError, match="no such file"):
        read_codes(tmp_path / "none.index.json")
    with pytest.raises(DataError, match=r"some\.index\.json:2: not valid JSON"):
        read_codes(written(tmp_path, '{"i0": ["<a_1>"],\n oops'))


@pytest.mark.real_data
def test_published_codes_come_back_unchanged(datasets_folder: Path, tmp_path: Path):
    source = datasets_folder / "instruments" / "instruments.index.json"
    found = read_codes(source)
    assert len(found) == 9922
    assert found.codebook_sizes == (256,) * 4
    content = json.loads(source.read_text())
    write_index(tmp_path / "again.index.json", found, list(content))
    assert json.loads((tmp_path / "again.index.json").read_text()) == content
