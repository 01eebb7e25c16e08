"""What the README shows, run as it stands on made data."""

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

import h2rec
from h2rec.cli.main import main
from h2rec.research.suite.suite import Suite
from h2rec.retrieval.recommender import Recommender
from h2rec.run import presets
from h2rec.run.config import RunConfig
from h2rec.run.presets import preset_names

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def block(language, containing):
    found = [b for b in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if containing in b]
    assert len(found) == 1
    return found[0]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Purchases and products under the names that the README uses; its example items are among them."""
    folder = tmp_path_factory.mktemp("readme")
    random = np.random.default_rng(0)
    ids = ["1042", "77", "310", *(str(2000 + n) for n in range(297))]
    kinds, colours = ("mug", "lamp", "chair", "scarf", "kettle"), ("red", "blue", "green", "white")
    titles = [f"{colours[n % 4]} {kinds[n % 5]} model {n}" for n in range(len(ids))]
    pl.DataFrame({"item_id": ids, "title": titles}).write_csv(folder / "products.csv")
    users = np.repeat(np.arange(120), 6)
    pl.DataFrame(
        {
            "user_id": [f"u{u}" for u in users],
            "item_id": random.choice(ids, len(users)).tolist(),
            "timestamp": np.arange(len(users)),
        }
    ).write_parquet(folder / "purchases.parquet")
    (folder / "shop.yaml").write_text(block("yaml", "# shop.yaml"))
    return folder


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == 0


def test_the_example_runs_from_data_to_recommendations(shop, monkeypatch, capsys):
    monkeypatch.chdir(shop)
    commands = [line.split() for line in block("sh", "h2rec run shop.yaml").splitlines()]
    assert [words[:2] for words in commands] == [["h2rec", "run"], ["h2rec", "recommend"]]
    # One epoch instead of many; all else as it is shown.
    run(*commands[0][1:], "--set", "train.epochs=1", "--set", "runtime.threads=1")
    run(*commands[1][1:])
    assert "model" in capsys.readouterr().out
    moved = re.search(r'`--set "(model\.branches\.popularity=[^"]+)"`', README).group(1)
    run(*commands[0][1:], "--set", "train.epochs=1", "--set", "runtime.threads=1", "--set", moved)
    assert len(list((shop / "runs" / "shop").glob("stages/train-*"))) == 1
    model = Recommender.load(shop / "runs" / "shop" / "bundle").bundle.model
    weights = dict(zip(model.branch_names, model.branch_weights, strict=True))
    # Others are chosen on validation; a negative one stays as it was set.
    assert weights["popularity"] == yaml.safe_load(moved.partition("=")[2])["weight"] < 0
    assert len(h2rec.load("runs/shop/bundle").recommend(["1042", "77"]).items) == 10
    real = presets.preset_values
    small = {"train": {"epochs": 1}, "runtime": {"threads": 1}}
    monkeypatch.setattr(presets, "preset_values", lambda name: presets.merge(real(name), small))
    names = {"events": pl.read_parquet("purchases.parquet"), "items": pl.read_csv("products.csv")}
    exec(block("python", "from_frames"), names)
    assert len(names["model"].recommend(["1042", "77"], k=10).items) == 10
    mentioned = re.search(r"`run` leaves (.*?)\. Run it again", README, re.DOTALL)
    for name in re.findall(r"`([\w./]+)`", mentioned.group(1)):
        assert (shop / "runs" / "shop" / name.rstrip("/")).exists(), name


def test_a_configuration_of_data_alone_is_the_row_that_leads(shop):
    """But for what the suite asks of all its rows alike."""
    alone = RunConfig.load(shop / "shop.yaml")
    suite = Suite.load("main", shop / "suite", data=[f"shop={shop / 'shop.yaml'}"])
    row = next(job.config for job in suite.jobs if job.model == "H2Rec")
    assert alone.preset == row.preset == "h2rec"
    assert (alone.model, alone.loss, alone.blend) == (row.model, row.loss, row.blend)
    assert alone.semantic_ids == row.semantic_ids
    assert alone.train == row.train.model_copy(update={"evaluate_users": alone.train.evaluate_users})


def test_every_preset_that_is_named_is_there():
    named = set(re.findall(r"`preset: ([a-z0-9_]+)`", README)) | {"h2rec"}
    assert named <= set(preset_names())


def test_every_command_of_the_table_is_there(capsys):
    run("--help")
    overview = capsys.readouterr().out
    for command in re.findall(r"^\| `h2rec ([a-z| \\-]+)", README, re.MULTILINE):
        for name in re.findall(r"[a-z-]+", command.replace("\\|", " ").split(" CONFIG")[0])[:4]:
            assert name in overview or name in ("list", "fetch"), name


def test_every_linked_file_exists():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (Path(__file__).parents[1] / target).exists(), target
