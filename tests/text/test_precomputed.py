"""Ready embeddings: in place by row or by id, and refused where they don't fit."""

import json
import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from h2rec.errors import ConfigError, DataError
from h2rec.text.embed import embed
from h2rec.text.encoders import load_encoder
from h2rec.text.settings import TextSettings

ITEMS = pl.DataFrame({"item_id": ["a", "b", "c"]})
ROWS = np.array([[2.0, 0], [0, 3], [3, 4]])
UNIT = [[1, 0], [0, 1], [0.6, 0.8]]


def settings(folder: Path, array: object = ROWS) -> TextSettings:
    np.save(folder / "vectors.npy", array)
    return TextSettings(encoder="vectors.npy").resolved(folder)


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "i4"])
def test_rows_of_the_catalogue_in_unit_length(tmp_path, kind):
    made = embed(ITEMS, settings(tmp_path, ROWS.astype(kind)))
    assert made.vectors == pytest.approx(np.array(UNIT), abs=1e-3)
    assert made.vectors.dtype == np.float32
    assert made.has_text.all()


def test_rows_of_the_item_file(tmp_path, caplog):
    # Five rows in the file: b, something that is not in the catalogue, a, a again, and nothing for c.
    rows = np.array([[0, 3.0], [9, 9], [2, 0], [7, 7], [5, 5]])
    index = np.array([2, 0, 1, 0, 0])
    made = embed(ITEMS, settings(tmp_path, rows), item_file_index=index)
    assert made.vectors == pytest.approx(np.array([[1, 0], [0, 1], [0.5, 0.5]]))
    assert made.has_text.tolist() == [True, True, False]
    assert "1 of 3 items have no embedding" in caplog.text


@pytest.mark.parametrize("ending", ["txt", "json"])
def test_rows_by_id(tmp_path, ending):
    chosen = settings(tmp_path, np.array([[3.0, 4], [9, 9], [2, 0]]))
    ids = ["c", "zzz", "a"]
    text = json.dumps(ids) if ending == "json" else "\n".join(ids) + "\n"
    (tmp_path / f"vectors.ids.{ending}").write_text(text)
    made = embed(ITEMS, chosen, item_file_index=np.array([1, 2]))
    assert made.vectors == pytest.approx(np.array([[1, 0], [0.8, 0.4], [0.6, 0.8]]))
    assert made.has_text.tolist() == [True, False, True]


def test_a_row_of_zeros_is_no_embedding(tmp_path):
    made = embed(ITEMS, settings(tmp_path, np.array([[1.0, 0], [0, 0], [0, 1]])))
    assert made.has_text.tolist() == [True, False, True]
    with pytest.raises(DataError, match="no item has an embedding"):
        embed(ITEMS, settings(tmp_path, np.zeros((3, 2))))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (ROWS[:2], r"2 rows, but there are 3 items\n.*vectors\.ids\.txt"),
        (np.array([[1, 2], [3, np.nan], [5, 6]]), r"row 2 \(item 'b'\) holds NaN"),
        (np.array([[1, 2], [3, 4], [5, np.inf]]), r"row 3 \(item 'c'\) holds NaN or infinity"),
        (np.ones(3), r"expected numbers of shape \[items, size\], found float64 \[3\]"),
        (np.ones((3, 0)), r"expected numbers of shape"),
        (np.array([["a"], ["b"], ["c"]]), "expected numbers of shape"),
        (np.array([[1j], [1j], [1j]]), "expected numbers of shape"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, array, message):
    with pytest.raises(DataError, match=message):
        embed(ITEMS, settings(tmp_path, array))


def test_rows_of_the_item_file_must_all_be_there(tmp_path):
    with pytest.raises(DataError, match="3 rows, but there are 4 rows in the item file"):
        embed(ITEMS, settings(tmp_path), item_file_index=np.array([1, 2, 3, 0]))


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_objects_and_pickles_are_refused_and_not_run(tmp_path):
    chosen = settings(tmp_path, np.array([Hostile(tmp_path / "ran"), None], dtype=object))
    with pytest.raises(DataError, match=r"not a plain \.npy array"):
        embed(ITEMS, chosen)
    (tmp_path / "vectors.npy").write_bytes(pickle.dumps(Hostile(tmp_path / "ran")))
    with pytest.raises(DataError, match=r"not a plain \.npy array"):
        embed(ITEMS, chosen)
    assert not (tmp_path / "ran").exists()
    (tmp_path / "vectors.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"not a plain \.npy array"):
        embed(ITEMS, chosen)
    (tmp_path / "vectors.npy").unlink()
    with pytest.raises(DataError, match=r"vectors\.npy: no such file"):
        embed(ITEMS, chosen)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "b"], "3 rows, but 2 ids"),
        (["a", "b", "a"], "id 'a' occurs twice"),
        (["x", "y", "z"], r"none of its ids is an item\n.*'x' there, 'a' in the data"),
    ],
)
def test_ids_that_do_not_fit(tmp_path, ids, message):
    chosen = settings(tmp_path)
    (tmp_path / "vectors.ids.txt").write_text("\n".join(ids))
    with pytest.raises(DataError, match=message):
        embed(ITEMS, chosen)


def test_id_files_that_are_damaged(tmp_path):
    chosen = settings(tmp_path)
    (tmp_path / "vectors.ids.txt").write_bytes(b"a\n\xff\nc\n")
    with pytest.raises(DataError, match=r"ids\.txt: not UTF-8"):
        embed(ITEMS, chosen)
    (tmp_path / "vectors.ids.json").write_text('{"a": 1}')
    with pytest.raises(DataError, match=r"ids\.json: expected a list"):
        embed(ITEMS, chosen)


def test_new_text_can_not_be_embedded(tmp_path):
    encoder = embed(ITEMS, settings(tmp_path)).encoder
    encoder.fit(["a"]).save(tmp_path)
    again = load_encoder(tmp_path)
    assert (again.name, again.fingerprint) == ("vectors.npy", encoder.fingerprint)
    with pytest.raises(ConfigError, match=r"2 texts can't be embedded: .* ready-made from vectors\.npy"):
        again.encode(["new", "newer"])
    (tmp_path / "encoder.json").write_text('{"kind": "precomputed"}')
    with pytest.raises(DataError, match="not a description"):
        load_encoder(tmp_path)


def test_the_fingerprint_follows_the_values(tmp_path):
    first = embed(ITEMS, settings(tmp_path)).encoder.fingerprint
    assert embed(ITEMS, settings(tmp_path, ROWS * 2)).encoder.fingerprint == first  # the same directions
    assert embed(ITEMS, settings(tmp_path, ROWS[::-1])).encoder.fingerprint != first


def test_ids_as_other_programs_write_them(tmp_path, caplog):
    chosen = settings(tmp_path)
    plain = embed(ITEMS, chosen).vectors
    (tmp_path / "vectors.ids.txt").write_bytes("\ufeffa \r\nb\r\n  unknown\r\n\r\n\n".encode())
    made = embed(ITEMS, chosen)
    assert made.has_text[:2].all()
    assert np.array_equal(made.vectors[:2], plain[:2])
    assert "1 of 3 ids are no item of the data, such as 'unknown'" in caplog.text
    (tmp_path / "vectors.ids.txt").write_text("a\n\nc\n")
    with pytest.raises(DataError, match=r"ids\.txt:2: no id"):
        embed(ITEMS, chosen)
    (tmp_path / "vectors.ids.json").write_bytes('\ufeff["a ", "b", "c"]'.encode())
    assert np.array_equal(embed(ITEMS, chosen).vectors, plain)
    (tmp_path / "vectors.ids.json").write_text('["a", null, "c"]')
    with pytest.raises(DataError, match="null is no item id"):
        embed(ITEMS, chosen)
