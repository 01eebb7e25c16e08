"""Several encoders side by side: vectors, files, settings, and the cache of each part."""

import json
import re

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from h2rec.errors import DataError, MissingExtraError
from h2rec.text.blind_spots import other_encoders
from h2rec.text.embed import embed, embed_texts
from h2rec.text.encoders import JoinedEncoder, TfidfEncoder, build_encoder, leading_columns, load_encoder
from h2rec.text.settings import TextSettings

TEXTS = ["red shoe", "red running shoe", "rose perfume", "rose soap"]


class Length:
    """A pretrained encoder: one direction for short texts, one for long, none for those without letters."""

    name = "length"
    fingerprint = "1"
    maker = "length-1"

    def __init__(self):
        self.encoded = []

    def unknown_share(self, texts):
        return np.array([float(not text.strip("?")) for text in texts], np.float32)

    def fit(self, texts):
        return self

    def encode(self, texts):
        self.encoded += texts
        rows = [[len(text) < 10, len(text) >= 10] if text.strip("?") else [0, 0] for text in texts]
        return np.array(rows, np.float32).reshape(-1, 2)

    def save(self, folder):
        raise NotImplementedError


def joined():
    return JoinedEncoder([Length(), TfidfEncoder(3)]).fit(TEXTS)


def test_embeddings_stand_side_by_side_all_but_the_first_at_half_length():
    encoder = joined()
    vectors = encoder.encode(TEXTS)
    first, second = (part.encode(TEXTS) for part in encoder.parts)
    np.testing.assert_allclose(vectors, np.concatenate([first, second / 2], axis=1) / 1.25**0.5, rtol=1e-6)
    # The one calls "red shoe" and "rose soap" alike, the other both shoes: the first counts four times.
    assert vectors[0] @ vectors[3] == pytest.approx(0.8, abs=1e-6)
    assert vectors[0] @ vectors[1] == pytest.approx(second[0] @ second[1] / 5, abs=1e-6)
    three = JoinedEncoder([*encoder.parts, encoder.parts[1]]).encode(TEXTS)
    np.testing.assert_allclose(
        three, np.concatenate([first, second / 2, second / 2], axis=1) / 1.5**0.5, rtol=1e-6
    )


def test_the_first_columns_are_those_of_the_first_encoder(tmp_path):
    several = JoinedEncoder([TfidfEncoder(2), TfidfEncoder(3)]).fit(TEXTS)
    for name, encoder in {"two": several, "one": several.parts[0]}.items():
        (tmp_path / name).mkdir()
        encoder.save(tmp_path / name)
    assert leading_columns(tmp_path / "two") == 2
    assert leading_columns(tmp_path / "one") is None


def test_a_text_that_one_part_does_not_know_has_the_vector_of_the_other_at_unit_length():
    encoder = joined()
    new, nothing = encoder.encode(["blue", "??"])
    assert new.tolist() == [1, 0, 0, 0, 0]
    assert not nothing.any()
    assert encoder.unknown_share(["blue", "??", "red"]).tolist() == [0, 1, 0]
    assert encoder.encode([]).shape == (0, 5)


class Blind(Length):
    """It has one vector for all that it can't read, as sentence encoders have; it reads numbers."""

    def unknown_share(self, texts):
        words = [text.split() for text in texts]
        return np.array([sum(not word.isdigit() for word in row) / len(row) for row in words], np.float32)

    def encode(self, texts):
        return np.full((len(texts), 2), 0.5**0.5, np.float32)


def test_a_part_leaves_to_the_others_what_it_can_not_read():
    encoder = JoinedEncoder([Blind(), TfidfEncoder(4)]).fit(["red 10", "rose 10", "blue 10", "10"])
    vectors = encoder.encode(["red 10", "rose 10", "10", "new", "new 10"])
    assert not vectors[:2, :2].any()
    assert vectors[0] @ vectors[1] == pytest.approx(
        np.prod(encoder.parts[1].encode(["red 10", "rose 10"]), axis=0).sum(), abs=1e-6
    )
    assert vectors[2, :2] == pytest.approx(0.4**0.5)  # the rest is that of the words
    assert not vectors[3].any()
    assert vectors[4, :2].all()  # half unknown to both: what either knows counts


def test_a_catalogue_without_words_is_left_to_the_other_part(tmp_path):
    encoder = JoinedEncoder([Length(), TfidfEncoder(3)]).fit(["!!", "!!!!!!!!!!!"])
    assert encoder.encode(["!!", "!!!!!!!!!!!"]).tolist() == [[1, 0], [0, 1]]
    encoder.parts[1].save(tmp_path)
    assert load_encoder(tmp_path).encode(["!!"]).shape == (1, 0)


def test_what_is_loaded_embeds_alike(tmp_path):
    parts = [TfidfEncoder(3), TfidfEncoder(2)]
    encoder = JoinedEncoder(parts, others=0.25).fit(TEXTS)
    encoder.save(tmp_path)
    again = load_encoder(tmp_path)
    assert again.name == "tfidf + tfidf"
    assert again.fingerprint == encoder.fingerprint != JoinedEncoder(parts[::-1], others=0.25).fingerprint
    assert again.fingerprint != JoinedEncoder(parts).fingerprint
    assert np.array_equal(again.encode([*TEXTS, "red soap"]), encoder.encode([*TEXTS, "red soap"]))


@pytest.mark.parametrize(
    ("columns", "others"),
    [(columns, 0.5) for columns in (None, "32", 2, [], [3, -2], [3, 2.0], [3, True], [3, "2"], [3] * 9)]
    + [([3, 2], others) for others in (None, "1", 0.0, -0.5, 1.5, 1, [0.5], float("nan"))],
)
def test_a_damaged_description_is_refused(tmp_path, columns, others):
    JoinedEncoder([TfidfEncoder(3), TfidfEncoder(2)]).fit(TEXTS).save(tmp_path)
    description = {"kind": "joined", "columns": columns, "others": others}
    (tmp_path / "encoder.json").write_text(json.dumps(description))
    with pytest.raises(DataError, match="not a description of several encoders"):
        leading_columns(tmp_path)
    with pytest.raises(DataError, match="not a description of several encoders"):
        load_encoder(tmp_path)


@pytest.mark.parametrize("columns", [[2, 3], [3, 2, 2], [10**30, 2]])
def test_columns_that_the_encoders_do_not_have_are_refused(tmp_path, columns):
    JoinedEncoder([TfidfEncoder(3), TfidfEncoder(2)]).fit(TEXTS).save(tmp_path)
    description = {"kind": "joined", "columns": columns, "others": 0.5}
    (tmp_path / "encoder.json").write_text(json.dumps(description))
    with pytest.raises(DataError):
        load_encoder(tmp_path)


def test_a_whole_number_as_length_is_kept(tmp_path):
    JoinedEncoder([TfidfEncoder(3), TfidfEncoder(2)], others=1).fit(TEXTS).save(tmp_path)
    assert load_encoder(tmp_path).others == 1


def test_a_joined_encoder_within_another_is_refused(tmp_path):
    JoinedEncoder([JoinedEncoder([TfidfEncoder(3)])]).fit(TEXTS).save(tmp_path)
    with pytest.raises(DataError, match="unknown kind of encoder 'joined'"):
        load_encoder(tmp_path)


def test_parts_keep_caches_of_their_own(tmp_path):
    encoder = joined()
    first = embed_texts(TEXTS, encoder, tmp_path)
    again = JoinedEncoder([Length(), encoder.parts[1]])
    assert np.array_equal(embed_texts([*TEXTS, "red soap"], again, tmp_path)[:4], first)
    assert again.parts[0].encoded == ["red soap"]
    assert np.array_equal(first, encoder.encode(TEXTS))


def test_a_list_in_the_settings_joins_encoders_on_a_catalogue(monkeypatch, tmp_path):
    settings = TextSettings(encoder=["minilm", "tfidf"], dim=2)
    assert [part.name for part in build_encoder(settings).parts] == ["minilm", "tfidf"]
    assert settings == TextSettings(dim=2)  # the default
    monkeypatch.setattr("h2rec.text.encoders.SentenceEncoder", lambda name, device: Length())
    items = pl.DataFrame({"item_id": list("abcd"), "title": TEXTS})
    made = embed(items, settings, cache=tmp_path)
    assert np.array_equal(made.vectors, made.encoder.encode(TEXTS))
    assert made.vectors.shape == (4, 4)


def test_it_is_told_which_texts_a_part_can_not_read(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr("h2rec.text.encoders.SentenceEncoder", lambda name, device: Blind())
    items = pl.DataFrame({"item_id": list("abc"), "title": ["red rose 10", "blue rose 10", "10 10"]})
    assert embed(items, TextSettings(dim=2), cache=tmp_path).has_text.all()
    assert (
        "more than half of 2 of 3 texts is unknown to the encoder length, such as those of 'a', 'b'; "
        "the others read them" in caplog.text
    )
    assert "tfidf knows" not in caplog.text
    assert re.search(r"text.encoder: \[.*multilingual.*, tfidf\]", other_encoders(joined()))


def test_a_missing_library_is_told_before_anything_is_learned(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(TfidfEncoder, "fit", lambda *_: pytest.fail("learned"))
    with pytest.raises(MissingExtraError, match=r"minilm.*\n.*tfidf does without"):
        build_encoder(TextSettings()).fit(TEXTS)


def test_folders_that_are_called_like_encoders_are_not_meant(tmp_path):
    for name in ("minilm", "tfidf"):
        (tmp_path / name).mkdir()
    assert TextSettings().resolved(tmp_path).encoder == ["minilm", "tfidf"]
    assert TextSettings(encoder="./tfidf").resolved(tmp_path).encoder == str(tmp_path / "tfidf")


def test_paths_in_a_list_are_relative_to_the_configuration(tmp_path):
    (tmp_path / "model").mkdir()
    settings = TextSettings(encoder=["model", "tfidf"])
    assert settings.resolved(tmp_path).encoder == [str(tmp_path / "model"), "tfidf"]
    assert TextSettings(encoder="a.NPY").resolved(tmp_path).precomputed == tmp_path / "a.NPY"


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ([], r"\[\] names no encoder; write minilm, or a list"),
        (5, "5 names no encoder"),
        (["tfidf", ""], "names no encoder"),
        (["tfidf", "tfidf"], "names an encoder twice"),
        (["tfidf", "ready.npy"], "join them in the file"),
        ("minilm, tfidf", r"'minilm, tfidf' is no list; write \[minilm, tfidf\]"),
        ([f"model{number}" for number in range(9)], "names an encoder twice, or more than 8"),
    ],
)
def test_lists_that_name_nothing_to_join_are_refused(encoder, message):
    with pytest.raises(ValidationError, match=message):
        TextSettings(encoder=encoder)
