"""TF-IDF and SVD."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from h2rec.data.prepare import prepare
from h2rec.data.settings import DataSettings
from h2rec.errors import DataError
from h2rec.text.embed import embed
from h2rec.text.encoders import TfidfEncoder, load_encoder
from h2rec.text.fields import item_texts
from h2rec.text.settings import TextSettings

TEXTS = [
    "red running shoe",
    "blue running shoe size 9",
    "red rose, fresh",
    "white rose, fresh",
    "caf\u00e9 cup",
    "blue cup",
]


def test_like_words_like_vectors():
    shoe, other_shoe, rose, *_ = TfidfEncoder(4).fit(TEXTS).encode(TEXTS)
    assert shoe @ other_shoe > shoe @ rose


def test_full_rank_keeps_the_cosines_of_tf_idf():
    # With as many directions as texts nothing is lost: the cosines are those of the sparse vectors.
    vectors = TfidfEncoder(50).fit(TEXTS).encode(TEXTS)
    assert vectors.shape == (6, 6)
    sparse = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+", strip_accents="unicode").fit_transform(
        TEXTS
    )
    assert vectors @ vectors.T == pytest.approx((sparse @ sparse.T).toarray(), abs=1e-5)


def test_agrees_with_scikit_learn_at_lower_rank():
    vectors = TfidfEncoder(3).fit(TEXTS).encode(TEXTS)
    sparse = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+", strip_accents="unicode").fit_transform(
        TEXTS
    )
    reduced = TruncatedSVD(3, random_state=0).fit_transform(sparse)
    reduced /= np.linalg.norm(reduced, axis=1, keepdims=True)
    assert vectors @ vectors.T == pytest.approx(reduced @ reduced.T, abs=1e-4)


def test_rows_are_of_unit_length_and_unknown_words_are_zeros():
    encoder = TfidfEncoder(3).fit(TEXTS)
    vectors = encoder.encode(["RED cafe", "quux", ""])
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 0, 0])
    assert encoder.encode([]).shape == (0, 3)


def test_saved_and_loaded_again(tmp_path):
    encoder = TfidfEncoder(3).fit(TEXTS)
    encoder.save(tmp_path)
    again = load_encoder(tmp_path)
    assert isinstance(again, TfidfEncoder)
    assert again.fingerprint == encoder.fingerprint
    assert np.array_equal(again.encode(["red cup", *TEXTS]), encoder.encode(["red cup", *TEXTS]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder.json", "encoder.safetensors"]


def test_fitting_twice_gives_the_same_and_other_texts_another_fingerprint():
    first = TfidfEncoder(7).fit(TEXTS)
    before = first.encode(TEXTS)
    assert np.array_equal(before, TfidfEncoder(7).fit(TEXTS).encode(TEXTS))
    print_before = first.fingerprint
    first.fit([*TEXTS, "green door"])
    assert first.fingerprint != print_before
    assert np.linalg.norm(first.encode(["green"])) == pytest.approx(1)


def test_a_catalogue_of_one_word():
    assert TfidfEncoder(3).fit(["red", "red red"]).encode(["red", "blue"]).tolist() == [[1], [0]]


def test_texts_without_words_have_empty_embeddings():
    assert TfidfEncoder(3).fit(["...", "!"]).encode(["...", "red"]).shape == (2, 0)


def test_of_equally_frequent_words_the_first_are_kept(monkeypatch):
    monkeypatch.setattr("h2rec.text.encoders.tfidf._MOST_WORDS", 3)
    encoder = TfidfEncoder(3).fit(["f red", "e red", "d", "c", "b", "a red"])
    assert encoder.words == ["a", "b", "red"]
    assert encoder.unknown_share(["c red"]).tolist() == [0.5]


def test_a_text_off_the_main_directions_says_nothing():
    """Its projection is rounding, which unit length would make as loud as any other text."""
    encoder = TfidfEncoder(1).fit(["red shoe"] * 50 + ["green door"])
    assert np.linalg.norm(encoder.encode(["red shoe", "red green"]), axis=1) == pytest.approx(1)
    assert not encoder.encode(["green door"]).any()


@pytest.mark.parametrize("damage", ["no file", "half a file", "a word less", "no words", "other shape"])
def test_damage_is_noticed(tmp_path, damage):
    TfidfEncoder(3).fit(TEXTS).save(tmp_path)
    arrays, listed = tmp_path / "encoder.safetensors", tmp_path / "encoder.json"
    description = json.loads(listed.read_text())
    if damage == "no file":
        arrays.unlink()
    elif damage == "half a file":
        arrays.write_bytes(arrays.read_bytes()[:100])
    elif damage == "a word less":
        listed.write_text(json.dumps({**description, "words": description["words"][:-1]}))
    elif damage == "no words":
        listed.write_text(json.dumps({"kind": "tfidf", "dim": 3}))
    else:
        loaded = load_file(arrays)
        save_file({**loaded, "components": loaded["components"][0]}, arrays)
    with pytest.raises(DataError):
        load_encoder(tmp_path)


@pytest.mark.parametrize("content", ['{"kind": "pickle"}', "[]", "{"])
def test_an_unknown_kind_is_refused(tmp_path, content):
    (tmp_path / "encoder.json").write_text(content)
    with pytest.raises(DataError, match=r"encoder\.json"):
        load_encoder(tmp_path)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["scientific", "beauty", "yelp"])
def test_tfidf_on_real_items(datasets_folder, tmp_path, name):
    folder = datasets_folder / name
    items = prepare(
        DataSettings(interactions=folder / f"{name}.inter", items=folder / f"{name}.item")
    ).items.head(1000)
    made = embed(items, TextSettings(encoder="tfidf", dim=64), cache=tmp_path)
    assert made.vectors.shape == (1000, 64)
    assert np.isfinite(made.vectors).all()
    texts = item_texts(items)
    # Nearest by vector shares words: the share of common words is far above that of a random pair.
    nearest = (made.vectors[:200] @ made.vectors.T - 2 * np.eye(200, 1000)).argmax(axis=1)

    def overlap(one: str, other: str) -> float:
        a, b = set(one.lower().split()), set(other.lower().split())
        return len(a & b) / len(a | b)

    near = np.mean([overlap(texts[row], texts[like]) for row, like in enumerate(nearest)])
    far = np.mean([overlap(texts[row], texts[row + 500]) for row in range(200)])
    assert near > 3 * far
