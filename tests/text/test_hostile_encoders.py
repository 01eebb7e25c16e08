"""A bundle from a stranger: nothing in its text encoder runs, is unpickled, or makes anything be looked up."""

import json
import sys
from pathlib import Path

import polars as pl
import pytest

from h2rec.errors import ConfigError, DataError, H2RecError
from h2rec.files import file_hash
from h2rec.retrieval.bundle import Bundle
from h2rec.retrieval.growth import add_items
from h2rec.text.encoders import SentenceEncoder, load_encoder
from h2rec.text.encoders.model_check import clean_copy, model_files
from hostile_encoders import HOSTILE, description, hostile_encoder, tiny_model, write
from made_bundles import make_bundle

pytest.importorskip("sentence_transformers", reason="the extra 'minilm' is not installed")

NEVER_READ = ("pickle beside the weights", "adapter", "link")
"""What a user's own folder may hold beside the model: it stays unseen."""


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch):
    def fetched(*_: object, **__: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetched)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_encoder_is_refused_and_runs_nothing(tmp_path, name, monkeypatch):
    trap = tmp_path / "trap snapped"
    folder = hostile_encoder(tmp_path / "encoder", name, trap)
    monkeypatch.syspath_prepend(str(folder))  # a program that runs where the bundle lies
    with pytest.raises(ConfigError, match=r"is refused|has no safetensors weights"):
        load_encoder(folder).encode(["red shoe"])
    own = SentenceEncoder(str(folder / "model"))
    if name in NEVER_READ:
        assert own.encode(["red shoe"]).shape == (1, 8)
    else:
        with pytest.raises(ConfigError, match=r"is refused|has no safetensors weights"):
            own.encode(["red shoe"])
    assert not trap.exists()
    assert "trap" not in sys.modules


def test_the_traps_are_live(tmp_path):
    """The same pickle, read by an unpickler, leaves its file."""
    import pickle

    folder = hostile_encoder(tmp_path / "encoder", "router to joblib", tmp_path / "trap snapped")
    pickle.loads((folder / "model" / "2_Nested" / "0").read_bytes())
    assert (tmp_path / "trap snapped").exists()


@pytest.mark.parametrize("model", ["some/model", "/etc", "..", "model", "MiniLM", 3, ["minilm"]])
def test_names_that_a_bundle_gives_are_not_looked_up(tmp_path, model):
    tiny_model(tmp_path / "model")
    write(tmp_path / "encoder.json", description(model))
    with pytest.raises(DataError, match="never looked up"):
        load_encoder(tmp_path).encode(["red"])


@pytest.mark.parametrize("missing", ["model", "fingerprint"])
def test_damaged_descriptions(tmp_path, missing):
    tiny_model(tmp_path / "model")
    write(tmp_path / "encoder.json", {name: v for name, v in description().items() if name != missing})
    with pytest.raises(DataError, match="not a description"):
        load_encoder(tmp_path)


def test_new_items_do_not_wake_a_hostile_encoder(tmp_path):
    folder, trap = make_bundle(tmp_path / "bundle"), tmp_path / "trap snapped"
    for path in (folder / "encoder").iterdir():
        path.unlink()
    (folder / "encoder").rmdir()
    hostile_encoder(folder / "encoder", "asym to joblib", trap)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {
        path.relative_to(folder).as_posix(): file_hash(path)
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    items = pl.DataFrame({"item_id": ["new"], "title": ["a new shoe"]})
    with pytest.raises(H2RecError, match="is refused"):
        add_items(Bundle.load(folder), items, tmp_path / "grown")
    assert not trap.exists()
    assert not (tmp_path / "grown").exists()


def test_the_loader_sees_no_place_but_its_own(tmp_path):
    folder = tiny_model(tmp_path / "model")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    places = {"tokenizer_file": "/etc/passwd", "name_or_path": "some/model", "chat_template": "{{ 1 }}"}
    write(folder / "tokenizer_config.json", {**settings, **places})
    for name in (
        "onnx/model.json",
        "README.md",
        "pytorch_model.bin",
        "data.json",
        "1_Pooling/deep/config.json",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    with clean_copy(folder) as clean:
        assert json.loads((clean / "tokenizer_config.json").read_text()) == settings
        seen = {path.relative_to(clean).as_posix() for path in clean.rglob("*") if path.is_file()}
    assert seen == {path.relative_to(folder).as_posix() for path in model_files(folder)}
    assert seen == {
        *(
            "1_Pooling/config.json",
            "config.json",
            "model.safetensors",
            "modules.json",
            "sentence_bert_config.json",
        ),
        *("tokenizer.json", "tokenizer_config.json"),
    }


def test_any_model_but_minilm_travels_with_the_bundle(tmp_path, monkeypatch):
    """Also one of the hub, so that no bundle has to be believed about a name."""
    folder = tiny_model(tmp_path / "hub" / "model")
    monkeypatch.setattr("h2rec.text.encoders.model_folder._from_hub", lambda name: folder)
    encoder = SentenceEncoder("some/model")
    (tmp_path / "saved").mkdir()
    encoder.save(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "encoder.json").read_text())["model"] is None
    again = load_encoder(Path(tmp_path / "saved"))
    assert again.encode(["red shoe"]).tolist() == encoder.encode(["red shoe"]).tolist()
