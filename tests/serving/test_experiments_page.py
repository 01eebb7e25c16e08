"""The page on experiments in the server does what it says."""

import json
import re

import polars as pl
from fastapi.testclient import TestClient

from h2rec.serving.app import create_app
from h2rec.serving.experiment.settings import ArmSettings, ExperimentSettings, LogSettings
from h2rec.serving.service import Service
from h2rec.serving.settings import ServeSettings
from made_bundles import made_items, make_bundle
from pages import blocks, commands, text_of


def test_the_page_on_experiments_in_the_server_is_carried_out(tmp_path):
    shop = tmp_path / "shop"
    ids = ["1042", "77", "310", *(f"i{number}" for number in range(57))]
    items = made_items().with_columns(pl.Series("item_id", ids))
    make_bundle(shop / "runs" / "shop" / "bundle", items=items)
    make_bundle(shop / "runs" / "new" / "bundle", items=items, seed=7)
    (text,) = blocks("serving_experiments.md", "yaml")
    (shop / "tail.yaml").write_text(text.replace("traffic: 0.14", "traffic: 1"))
    service = Service(shop / "runs" / "shop" / "bundle", ServeSettings(experiment=shop / "tail.yaml"))
    asked = [words for words in commands("serving_experiments.md") if words[0] == "curl"]
    with TestClient(create_app(service), "http://localhost:8000") as client:
        for words in asked:
            body = json.loads(words[words.index("-d") + 1])
            answer = client.post("/" + words[1].partition("/")[2], json=body)
            assert answer.status_code == 200
        figures = client.get("/metrics").text
    told = re.findall(r"^\| `(h2rec_experiment\w+)`", text_of("serving_experiments.md"), re.MULTILINE)
    assert len(told) == 5
    assert [name for name in told if name not in figures] == []
    kinds = {path.name.partition("-")[0] for path in (shop / "logs").iterdir()}
    assert kinds == {"impressions", "events"}


def test_every_key_of_an_experiments_file_is_told():
    told = re.findall(r"^\| (`[a-z_.*`, ]+) \|", text_of("serving_experiments.md"), re.MULTILINE)
    keys = {key for cell in told for key in re.findall(r"[a-z_.*]+", cell)}
    arms = {f"arms.*.{name}" for name in ArmSettings.model_fields}
    log = {f"log.{name}" for name in LogSettings.model_fields}
    assert (set(ExperimentSettings.model_fields) - {"arms", "log"}) | arms | log <= keys
