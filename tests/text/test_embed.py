"""Embedding a catalogue: order, equal texts, missing texts, and the cache."""

import multiprocessing
import sqlite3
from collections.abc import Sequence
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from h2rec.errors import DataError
from h2rec.files import cache_folder
from h2rec.text import embed as embedding
from h2rec.text.embed import embed, embed_texts
from h2rec.text.settings import TextSettings
from h2rec.text.store import VectorStore


class Letters:
    """Counts letters a and b; remembers what it was asked."""

    name = "letters"

    def __init__(self, fingerprint: str = "1") -> None:
        self.fingerprint = self.maker = fingerprint
        self.asked: list[list[str]] = []

    def fit(self, texts: Sequence[str]) -> "Letters":
        return self

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.asked.append(list(texts))
        return np.array([[text.count("a"), text.count("b")] for text in texts], dtype=np.float32)


class Readable(Letters):
    """Knows every word, so that nothing is told."""

    def unknown_share(self, texts: Sequence[str]) -> np.ndarray:
        return np.zeros(len(texts), np.float32)


TEXTS = ["a", "bb", "ab", "a", "aab", "bb"]
VECTORS = [[1, 0], [0, 2], [1, 1], [1, 0], [2, 1], [0, 2]]


def test_rows_in_order_and_equal_texts_once(tmp_path):
    encoder = Letters()
    assert embed_texts(TEXTS, encoder, tmp_path).tolist() == VECTORS
    assert encoder.asked == [["a", "ab", "bb", "aab"]]


def test_cached_by_text_and_encoder(tmp_path):
    embed_texts(TEXTS, Letters(), tmp_path)
    again = Letters()
    assert embed_texts(TEXTS[::-1], again, tmp_path).tolist() == VECTORS[::-1]
    assert again.asked == []
    for encoder, texts in ((Letters("2"), TEXTS), (Letters(), [*TEXTS, "b"])):
        embed_texts(texts, encoder, tmp_path)
        assert encoder.asked != []


def test_no_two_lists_of_texts_share_a_key(tmp_path):
    assert embed_texts(["abb", "a"], Letters(), tmp_path).tolist() == [[1, 2], [1, 0]]
    assert embed_texts(["ab", "ba"], Letters(), tmp_path).tolist() == [[1, 1], [1, 1]]


def test_finished_blocks_outlive_a_run_that_breaks_off(tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "_TEXTS_A_BLOCK", 2)

    class Breaks(Letters):
        def encode(self, texts: Sequence[str]) -> np.ndarray:
            if len(self.asked) == 1:
                raise KeyboardInterrupt
            return super().encode(texts)

    with pytest.raises(KeyboardInterrupt):
        embed_texts(TEXTS, Breaks(), tmp_path)
    again = Letters()
    assert embed_texts(TEXTS, again, tmp_path).tolist() == VECTORS
    assert again.asked == [["a", "ab"]]  # the longest come first


def test_only_new_texts_are_embedded(tmp_path):
    embed_texts(TEXTS, Letters(), tmp_path)
    again = Letters()
    embed_texts([*TEXTS, "a new one, longer than all others"], again, tmp_path)
    assert again.asked == [["a new one, longer than all others"]]


@pytest.mark.parametrize("damage", [b"no database", "half", "a number", "a hash", "a key"])
def test_a_damaged_cache_file_is_made_again(tmp_path, damage, caplog):
    embed_texts(TEXTS, Letters(), tmp_path)
    (path,) = tmp_path.iterdir()
    if damage == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage in ("a number", "a hash", "a key"):
        column = {"a number": "numbers", "a hash": "hash", "a key": "key"}[damage]
        with sqlite3.connect(path) as database:
            (value,) = database.execute(f"SELECT {column} FROM vector LIMIT 1").fetchone()
        whole = path.read_bytes()
        at = whole.index(value)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    else:
        path.write_bytes(damage)
    assert embed_texts(TEXTS, Letters(), tmp_path).tolist() == VECTORS
    assert "made again" in caplog.text or damage == "a key"  # which no text asks for
    again = Letters()
    embed_texts(TEXTS, again, tmp_path)
    assert again.asked == []


def catalogue(*texts: str | None) -> pl.DataFrame:
    return pl.DataFrame({"item_id": [f"i{n}" for n in range(len(texts))], "title": texts})


def test_items_without_text_get_the_mean_of_the_others(tmp_path, caplog):
    items = catalogue("red shoe", None, "blue shoe", " ", "red rose")
    made = embed(items, TextSettings(encoder="tfidf", dim=2), cache=tmp_path)
    assert made.has_text.tolist() == [True, False, True, False, True]
    assert made.vectors.dtype == np.float32
    mean = made.vectors[[0, 2, 4]].mean(axis=0)
    assert made.vectors[[1, 3]] == pytest.approx(np.array([mean, mean]))
    assert np.linalg.norm(made.vectors[made.has_text], axis=1) == pytest.approx(1)
    assert caplog.text.count("2 of 5 items have no text") == 1
    # The encoder that comes with them is the one that made them.
    assert made.encoder.encode(["red shoe"])[0] == pytest.approx(made.vectors[0], abs=1e-6)


def test_no_item_with_text(tmp_path):
    with pytest.raises(DataError, match=r"no item has text to be embedded\n.*data\.items"):
        embed(catalogue(None, "", " "), TextSettings(encoder="tfidf"), cache=tmp_path)


def test_only_the_chosen_fields_count(tmp_path):
    items = catalogue("red", "blue").with_columns(brand=pl.Series(["Acme", "Acme"]))
    made = embed(items, TextSettings(encoder="tfidf", fields=["brand"]), cache=tmp_path)
    assert np.array_equal(made.vectors[0], made.vectors[1])


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("H2REC_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.setattr(embedding, "build_encoder", lambda *_: Readable())
    embed(catalogue("red", "blue"), TextSettings())
    assert (tmp_path / "here" / "embeddings" / "vectors.sqlite").stat().st_size
    monkeypatch.delenv("H2REC_CACHE")
    assert cache_folder().name == "h2rec"


def test_paths_are_relative_to_the_given_folder(tmp_path):
    (tmp_path / "model").mkdir()
    assert TextSettings(encoder="v.npy").resolved(tmp_path).encoder == str(tmp_path / "v.npy")
    assert TextSettings(encoder="model").resolved(tmp_path).encoder == str(tmp_path / "model")
    assert TextSettings(encoder="minilm").resolved(tmp_path).encoder == "minilm"
    assert TextSettings(encoder="/v.npy").resolved(Path("/base")).encoder == "/v.npy"


def test_a_cache_that_can_not_be_written_is_a_warning(tmp_path, monkeypatch, caplog):
    (tmp_path / "no folder").write_text("")
    monkeypatch.setenv("H2REC_CACHE", str(tmp_path / "no folder" / "cache"))
    monkeypatch.setattr(embedding, "build_encoder", lambda *_: Readable())
    made = embed(catalogue("aa", "bb"), TextSettings())
    assert made.vectors.tolist() == [[2, 0], [0, 2]]
    assert "H2REC_CACHE names another cache folder" in caplog.text


def _fill(folder: Path, start: int, begun: Event | None = None) -> None:
    if begun is not None:
        begun.set()
    for number in range(start, start + 40):
        embed_texts([f"a{number % 50}"], Letters(), folder)


def test_processes_share_the_cache(tmp_path):
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    worker = context.Process(target=_fill, args=(tmp_path, 0, begun))
    worker.start()
    assert begun.wait(120)
    _fill(tmp_path, 20)
    worker.join()
    assert worker.exitcode == 0
    again = Letters()
    embed_texts([f"a{number}" for number in range(50)], again, tmp_path)
    assert again.asked == []


def test_a_cache_that_grows_too_large_forgets(tmp_path):
    with VectorStore(tmp_path, "maker", largest=200_000) as store:
        for start in range(0, 1000, 50):
            store.keep({str(number): np.full(100, number, np.float32) for number in range(start, start + 50)})
        kept = store.find([str(number) for number in range(1000)])
    assert 0 < len(kept) < 1000
    assert (tmp_path / "vectors.sqlite").stat().st_size < 400_000
    assert all((vector == float(text)).all() for text, vector in kept.items())


def test_texts_that_the_encoder_does_not_know_count_as_none(tmp_path, caplog):
    items = catalogue("red shoe", "blue shoe", "!!! ...", "red hat")
    made = embed(items, TextSettings(encoder="tfidf", dim=2), cache=tmp_path)
    assert made.has_text.tolist() == [True, True, False, True]
    assert made.vectors.any(axis=1).all()
    assert "1 of 4 texts hold no word that the encoder tfidf knows, such as those of 'i2'" in caplog.text
    with pytest.raises(DataError, match="no item has a text of which the encoder tfidf knows a word"):
        embed(catalogue("!!!", "..."), TextSettings(encoder="tfidf"), cache=tmp_path)


def test_different_texts_of_one_embedding_are_told(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(embedding, "build_encoder", lambda *_: Readable())
    embed(catalogue("ab", "ba", "aa", "aa"), TextSettings(), cache=tmp_path)
    assert (
        "2 different texts share their embedding with another one, such as those of 'i0', 'i1'" in caplog.text
    )


def test_an_encoder_that_makes_no_numbers_is_refused(tmp_path, monkeypatch):
    class Broken(Readable):
        def encode(self, texts):
            return np.where([[text == "ba"] for text in texts], np.nan, super().encode(texts))

    monkeypatch.setattr(embedding, "build_encoder", lambda *_: Broken())
    with pytest.raises(DataError, match="the encoder letters makes NaN or infinity of 1 texts: 'ba'"):
        embed(catalogue("ab", "ba", "aa"), TextSettings(), cache=tmp_path)
