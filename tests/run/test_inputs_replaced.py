"""What is kept under a hash was read from those bytes: a file replaced under way is told, and nothing is kept."""

import json
import shutil

import numpy as np
import pytest

from h2rec.data import prepare as preparing
from h2rec.errors import DataError
from h2rec.run import preparation, tokenization
from h2rec.run.config import RunConfig
from h2rec.run.tokenization import Tokenization
from made_shop import ITEMS, write_shop


@pytest.fixture
def shop(tmp_path):
    return write_shop(tmp_path)


def prepared(shop, *overrides: str) -> Tokenization:
    return Tokenization(RunConfig.load(shop, overrides), shop.parent / "run")


def replaced_before(monkeypatch, module, name: str, replace):
    """Let a function of a module find a file replaced that was hashed before; once."""
    original, calls = getattr(module, name), []

    def late(*arguments, **options):
        if not calls:
            calls.append(None)
            replace()
        return original(*arguments, **options)

    monkeypatch.setattr(module, name, late)


@pytest.mark.parametrize("name", ["interactions.csv", "items.csv"])
def test_interactions_and_items(shop, monkeypatch, name):
    file = shop.parent / name
    old = file.read_bytes()
    *lines, _ = old.splitlines(keepends=True)
    other = shop.parent / "other.csv"
    other.write_bytes(b"".join(lines))
    replaced_before(monkeypatch, preparing, "read_interactions", lambda: shutil.move(other, file))
    with pytest.raises(DataError, match=rf"{name}: changed while it was read\n.*run the same command again"):
        prepared(shop).data_stage  # noqa: B018
    assert not [*(shop.parent / "run" / "stages").glob("data-*")]
    again = prepared(shop)
    rows = again.dataset.report["interaction_rows" if name == "interactions.csv" else "item_rows"]
    assert rows == len(lines) - 1
    file.write_bytes(old)
    first = prepared(shop)
    assert first.data_stage.key != again.data_stage.key
    assert (
        first.dataset.report["interaction_rows"]
        == len((shop.parent / "interactions.csv").read_bytes().splitlines()) - 1
    )


def test_a_file_that_is_half_written_is_told_as_what_it_is(shop, monkeypatch):
    file = shop.parent / "interactions.csv"
    whole = file.read_bytes()
    replaced_before(monkeypatch, preparing, "read_interactions", lambda: file.write_bytes(whole[:-3]))
    with pytest.raises(DataError, match=r"interactions\.csv: changed while it was read"):
        prepared(shop).data_stage  # noqa: B018


@pytest.mark.parametrize("name", ["vectors.npy", "vectors.ids.txt"])
def test_ready_embeddings_and_their_ids(shop, monkeypatch, name):
    vectors, ids = shop.parent / "vectors.npy", shop.parent / "vectors.ids.txt"
    table = np.random.default_rng(0).normal(size=(ITEMS, 8)).astype(np.float32)
    np.save(vectors, table)
    order = [f"i{item}" for item in range(ITEMS)]
    ids.write_text("\n".join(order))

    def replace():
        if name == "vectors.npy":
            np.save(vectors, -table)
        else:
            ids.write_text("\n".join(reversed(order)))

    replaced_before(monkeypatch, preparation, "embed", replace)
    with pytest.raises(DataError, match=rf"{name}: changed while it was read"):
        prepared(shop, "text.encoder=vectors.npy").embeddings  # noqa: B018
    again = prepared(shop, "text.encoder=vectors.npy")
    assert again.embeddings is not None
    expected = -table if name == "vectors.npy" else table[::-1]
    np.testing.assert_allclose(
        again.embeddings.vectors, expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-5
    )
    # The ids are a part of the key: other ids, other vectors.
    ids.write_text("\n".join(order if name == "vectors.ids.txt" else reversed(order)))
    other = prepared(shop, "text.encoder=vectors.npy")
    assert other.embeddings is not None
    assert not np.allclose(other.embeddings.vectors, again.embeddings.vectors)


def test_a_file_of_codes(shop, monkeypatch):
    codes = shop.parent / "codes.json"
    codes.write_text(json.dumps({f"i{item}": [item % 7, item % 5] for item in range(ITEMS)}))
    other = json.dumps({f"i{item}": [item % 5, item % 7] for item in range(ITEMS)})
    replaced_before(monkeypatch, tokenization, "tokenize", lambda: codes.write_text(other))
    with pytest.raises(DataError, match=r"codes\.json: changed while it was read"):
        prepared(shop, "semantic_ids.quantizer=codes.json").semantic_id_stage  # noqa: B018
    again = prepared(shop, "semantic_ids.quantizer=codes.json").semantic_ids
    assert again is not None
    assert again.codes[:, 0].max() == 4


def test_warnings_of_the_data_are_told_by_every_run(shop, caplog):
    file = shop.parent / "interactions.csv"
    file.write_text(file.read_text().replace("timestamp", "time of sale", 1))
    for _ in range(2):
        caplog.clear()
        assert prepared(shop).dataset.warnings
        assert caplog.text.count("no time column was found") == 1
        assert "could name time of sale" in caplog.text
