"""What the pages show runs as it stands, on made data; what takes too long is at least a command that there is."""

import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import typer
import yaml
from fastapi.testclient import TestClient

import h2rec
from h2rec.cli.main import GROUPS, main, make_app
from h2rec.data.prepare import prepare
from h2rec.experiments.plan import Plan
from h2rec.files import read_yaml
from h2rec.research.suite.files import shipped_suites
from h2rec.research.suite.suite import Suite
from h2rec.retrieval.bundle import Bundle
from h2rec.retrieval.recommender import Recommender
from h2rec.run import presets
from h2rec.run.config import RunConfig
from h2rec.run.presets import preset_names
from h2rec.serving.app import create_app
from h2rec.serving.service import Service
from h2rec.serving.settings import ServeSettings
from made_bundles import make_bundle
from made_experiments import made_rows, write_rows
from made_suite import one_by_one
from pages import GENERATED, PAGES, ROOT, blocks, commands, text_of

TINY = """
text: {encoder: tfidf, dim: 16}
semantic_ids: {levels: 3, codebook_size: 8}
model: {dim: 16, layers: 1, max_length: 10}
train: {epochs: 1}
runtime: {threads: 1, device: cpu}
"""
KINDS = ("mug", "lamp", "razor", "scarf", "kettle")
LONG = {"rehearse", "quickstart", "serve", "compare", "cold-start", "tune", "tune-suite", "replay"}
"""Commands that are not carried out here: they fetch, train many models, or serve until they are stopped."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder with the files that the pages name; the items of their examples are among the products."""
    folder = tmp_path_factory.mktemp("pages")
    random = np.random.default_rng(0)
    ids = ["1042", "77", "310", *(str(2000 + number) for number in range(97))]
    titles = [f"{KINDS[number % 5]} model {number}" for number in range(len(ids))]
    kinds = [KINDS[number % 5] for number in range(len(ids))]
    pl.DataFrame({"item_id": ids, "title": titles, "category": kinds}).write_csv(folder / "products.csv")
    new = {"item_id": ["9001"], "title": ["razor model 9001"], "category": ["razor"]}
    pl.DataFrame(new).write_csv(folder / "new_products.csv")
    users = np.repeat(np.arange(60), 6)
    bought = {
        "user_id": [f"u{user}" for user in users],
        "item_id": random.choice(ids, len(users)).tolist(),
        "timestamp": np.arange(len(users)),
        "price": random.random(len(users)).round(2),
    }
    pl.DataFrame(bought).write_parquet(folder / "purchases.parquet")
    (pl.DataFrame(bought)[:50].with_columns(pl.col("timestamp") + 1000)).write_parquet(
        folder / "new_purchases.parquet"
    )
    histories = pl.DataFrame({"user_id": ["a", "b"], "history": [["1042", "77"], ["310"]]})
    histories.write_parquet(folder / "histories.parquet")
    (folder / "histories").mkdir()
    histories.write_parquet(folder / "histories" / "part-0.parquet")
    example = next(block for block in blocks("README.md", "yaml") if "# shop.yaml" in block)
    weight = "  columns: {weight: price}\n"
    (folder / "shop.yaml").write_text(example + weight + TINY)
    return folder


def run(words):
    assert words[0] == "h2rec"
    with pytest.raises(SystemExit) as ended:
        main(words[1:])
    assert ended.value.code == 0


@pytest.fixture(scope="module")
def carried_out(shop):
    """The shop after the commands of README and Start, one after the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(shop)
        for page in ("README.md", "start.md"):
            for words in commands(page):
                if words[0] == "h2rec" and words[1] not in LONG:
                    run(words)
    return shop


def test_the_way_of_a_newcomer_leaves_what_start_says(carried_out):
    told = re.findall(
        r"`([\w./]+)`", "".join(re.findall(r"^\| (`.*?) \|", text_of("start.md"), re.MULTILINE))
    )
    left = [name for name in told if "." in name or name.endswith("/")]
    assert {"report.html", "bundle/", "checkpoints/"} <= set(left)
    assert [name for name in left if not (carried_out / "runs" / "shop" / name.rstrip("/")).exists()] == []
    assert pl.read_csv(carried_out / "answers.csv")["user_id"].unique().sort().to_list() == ["a", "b"]
    grown = Recommender.load(carried_out / "runs" / "shop" / "bundle-2")
    assert "9001" in grown.bundle.items["item_id"].to_list()


def test_favouring_rare_items_trains_nothing_again(carried_out):
    assert len(list((carried_out / "runs" / "shop").glob("stages/train-*"))) == 1
    model = Recommender.load(carried_out / "runs" / "shop" / "bundle").bundle.model
    weights = dict(zip(model.branch_names, model.branch_weights, strict=True))
    moved = next(words[-1] for words in commands("start.md") if "--set" in words)
    # Others are chosen on validation; a negative one stays as it was set.
    assert weights["popularity"] == yaml.safe_load(moved.partition("=")[2])["weight"] < 0


def test_python_takes_frames(shop, monkeypatch):
    monkeypatch.chdir(shop)
    real, small = presets.preset_values, yaml.safe_load(TINY)
    monkeypatch.setattr(presets, "preset_values", lambda name: presets.merge(real(name), small))
    names = {"events": pl.read_parquet("purchases.parquet"), "items": pl.read_csv("products.csv")}
    (block,) = blocks("README.md", "python")
    exec(block.partition("model = h2rec.load")[0], names)
    assert len(h2rec.load("shop").recommend(["1042", "77"], k=10).items) == 10


def test_the_questions_of_the_page_on_serving_are_answered(carried_out, monkeypatch):
    monkeypatch.chdir(carried_out)
    names: dict[str, object] = {}
    (block,) = blocks("serving.md", "python")
    exec(block, names)
    assert {item.fields["category"] for item in names["answer"].items} == {"razor"}


def test_the_page_on_freshness_is_carried_out(carried_out, monkeypatch, tmp_path):
    shutil.copytree(carried_out, tmp_path / "shop", ignore=shutil.ignore_patterns("stages"))
    monkeypatch.chdir(tmp_path / "shop")
    for words in commands("fresh.md"):
        if words[1] not in LONG:
            run(words)
    assert len(Bundle.load(Path("runs/shop/bundle")).manifest.lineage.updates) == 1
    lists = pl.read_parquet("lists/part-0.parquet")
    assert lists["user_id"].to_list() == ["a", "b"]
    assert lists["items"].list.len().to_list() == [20, 20]
    (block,) = blocks("fresh.md", "python")
    exec(block, {"h2rec": h2rec, "pl": pl})
    assert len(Bundle.load(Path("runs/shop/bundle-2")).manifest.lineage.updates) == 2


def test_the_experiment_of_the_page_is_analysed(tmp_path, monkeypatch):
    rows = made_rows(60, 2)
    for row in rows:
        if "arm" in row:
            row |= {"experiment": "new-recall", "arm": row["arm"].replace("new", "h2rec")}
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "logs" / "a.jsonl", rows)
    (tmp_path / "plan.yaml").write_text(blocks("experiments.md", "yaml")[0])
    (words,) = commands("experiments.md")
    run(words)
    found = json.loads((tmp_path / "runs" / "abtest-logs" / "results.json").read_text())
    told = re.findall(
        r"^\| (`[^|]*`) \|", text_of("experiments.md").partition("## What is written")[2], re.MULTILINE
    )
    assert set(re.findall(r"`([a-z_]+)`", " ".join(told))) | {"abtest"} == found.keys()
    assert set(Plan.model_fields) <= set(
        re.findall(r"[a-z_]+", text_of("experiments.md").partition("## The verdict")[0])
    )


def test_the_order_of_the_page_is_estimated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (item,) = h2rec.load(make_bundle(Path("runs/new/bundle"))).recommend(["i3"], k=1).items
    shown = {"experiment": "x", "arm": "a", "items": [item.item_id], "propensities": [1.0]}
    row = {"event": "impressions", "user_id": "u", "request_id": "r", "time": "2026-05-01T12:00:00Z"}
    write_rows(tmp_path / "logs" / "a.jsonl", [row | shown])
    pl.DataFrame({"user_id": ["u"], "history": [["i3"]]}).write_parquet("before.parquet")
    (words,) = commands("offline_estimates.md")
    run(words)
    found = json.loads((tmp_path / "runs" / "abtest-logs" / "results.json").read_text())
    assert found["estimates"]["a"]["known_places"] == 1.0


def test_the_server_answers_the_question_of_the_page(carried_out):
    (words,) = [words for words in commands("serving.md") if words[0] == "curl"]
    asked = json.loads(words[words.index("-d") + 1])
    service = Service(carried_out / "runs" / "shop" / "bundle", ServeSettings())
    with TestClient(create_app(service), "http://localhost:8000") as client:
        answer = client.post("/" + words[1].partition("/")[2], json=asked).json()
    assert len(answer["items"]) == asked["k"]
    assert answer["unknown"] == []


def test_the_audit_of_the_page_runs_in_a_runs_folder(carried_out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = carried_out / "runs" / "shop"
    (tmp_path / "semantic_ids.json").symlink_to(found / "semantic_ids.json")
    (tmp_path / "shop.item").write_text(
        "item_id:token\ttitle:token_seq\n"
        + "".join(f"{item}\ta title\n" for item in json.loads((found / "semantic_ids.json").read_text()))
    )
    (tmp_path / "embeddings.npy").symlink_to(next(found.glob("stages/text-*/vectors.npy")))
    (tmp_path / "quantizer").symlink_to(found / "bundle" / "quantizer")
    (words,) = [words for words in commands("semantic_ids.md") if words[1] == "audit"]
    run(words)
    assert (tmp_path / "audit.html").exists()


def test_the_configuration_of_the_data_page_reads_such_files(tmp_path):
    (tmp_path / "events.csv").write_text(
        "who;what;bought;price\n" + "".join(f"a;x{day};{day}/02/2024 10:00;1.5\n" for day in (1, 2, 13, 14))
    )
    (tmp_path / "products.csv").write_text("code;title\nx1;a lamp\n")
    (tmp_path / "shop.yaml").write_text(next(b for b in blocks("data.md", "yaml") if "events.csv" in b))
    dataset = prepare(RunConfig.load(tmp_path / "shop.yaml").data)
    assert dataset.items["item_id"].to_list() == ["x1", "x2", "x13", "x14"]
    assert dataset.weights is not None


@pytest.mark.parametrize("page", ["semantic_ids.md", "generative.md"])
def test_the_settings_of_the_pages_on_codes_are_settings(page):
    for block in blocks(page, "yaml"):
        RunConfig.parse({"data": {"interactions": "i.csv"}, **yaml.safe_load(block)})


def test_the_suite_of_the_page_is_one(tmp_path):
    example, foreign = blocks("suites.md", "yaml")[:2]
    (tmp_path / "my_suite.yaml").write_text(example)
    suite = Suite.load(tmp_path / "my_suite.yaml", tmp_path / "out")
    assert [job.model for job in suite.jobs if job.seed == 0] == ["SASRec", "hash IDs alone", "H2Rec"]
    assert suite.settings.tested == "H2Rec"
    assert suite.jobs[0].config.train.epochs == 40
    assert suite.jobs[0].config.data.interactions == tmp_path / "purchases.parquet"
    (tmp_path / "my_suite.yaml").write_text(example + foreign)
    suite = Suite.load(tmp_path / "my_suite.yaml", tmp_path / "out")
    assert {job.model: job.answers.path for job in suite.jobs if job.answers is not None} == {
        "our ALS": tmp_path / "als.parquet",
        "old shop": tmp_path / "old_ranks.csv",
    }


def test_the_present_system_is_measured_by_head_tail_and_revenue(tmp_path, monkeypatch, capsys):
    """The page's code, suite and command as they stand, beside a stand-in for the library."""

    class Mixing:
        def __init__(self, factors):
            assert factors > 0

        def fit(self, bought):
            by_count = np.argsort(-np.asarray(bought.sum(axis=0)).ravel(), kind="stable")
            # Head and tail by turns, so that both are found.
            self.best = np.concatenate([by_count[start::12] for start in range(12)])

        def recommend(self, users, bought, N, filter_already_liked_items):
            assert (bought.shape[0], filter_already_liked_items) == (len(users), False)
            return np.tile(self.best[:N], (len(users), 1)), None

    als = SimpleNamespace(AlternatingLeastSquares=Mixing)
    monkeypatch.setitem(sys.modules, "implicit", SimpleNamespace(als=als))
    monkeypatch.setattr("h2rec.research.suite.suite.side_by_side", one_by_one)
    real, small = presets.preset_values, yaml.safe_load(TINY)
    monkeypatch.setattr(presets, "preset_values", lambda name: presets.merge(real(name), small))
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    skus = np.arange(500, 620)
    names = [f"{KINDS[number % 5]} model {number}" for number in range(len(skus))]
    pl.DataFrame({"sku": skus, "name": names}).write_csv("products.csv")
    lines = {
        "customer_id": np.repeat(np.arange(50), 6),
        "sku": skus[random.geometric(0.04, 300) % len(skus)],
        "ordered_at": random.permutation(300) + 1_700_000_000,
        "price": random.random(300).round(2),
    }
    pl.DataFrame(lines).write_parquet("orders.parquet")
    (code,), suite = blocks("suites.md", "python"), blocks("suites.md", "yaml")[2]
    made: dict[str, pl.DataFrame] = {}
    exec(code, made)
    newest = made["orders"].group_by("customer_id").last()
    assert len(made["known"]) == 250
    assert made["known"].join(newest, on=["customer_id", "ordered_at"], how="semi").is_empty()
    Path("present.yaml").write_text(suite)
    (words,) = [words for words in commands("suites.md") if "present.yaml" in words]
    run([*words, "--seeds", "0"])
    printed = capsys.readouterr().out
    for part in ("overall", "head", "tail", "weighted by price"):
        assert re.search(rf"shop, full, {part}: h2rec is .* against our ALS \(p", printed)
    assert "50 of 50 test users have an answer" in printed
    results = pl.read_parquet("runs/present/results.parquet").filter(
        table="records", slice="weighted by price"
    )
    assert set(results["model"]) == {"h2rec", "our ALS"}
    assert "weighted by price" in Path("runs/present/report.html").read_text()


def test_the_table_of_suites_names_every_shipped_one():
    table = "".join(
        line.split("|")[1] for line in text_of("suites.md").splitlines() if line.startswith("| `")
    )
    assert set(re.findall(r"`([a-z_]+)`", table)) == set(shipped_suites())


def test_a_configuration_of_data_alone_is_the_row_that_leads(shop, tmp_path):
    """But for what the suite asks of all its rows alike."""
    config = tmp_path / "shop.yaml"
    config.write_text((shop / "shop.yaml").read_text().partition("text:")[0])
    for name in ("purchases.parquet", "products.csv"):
        (tmp_path / name).symlink_to(shop / name)
    alone = RunConfig.load(config)
    suite = Suite.load("main", tmp_path / "suite", data=[f"shop={config}"])
    row = next(job.config for job in suite.jobs if job.model == "H2Rec")
    assert alone.preset == row.preset == "h2rec"
    assert (alone.model, alone.loss, alone.blend) == (row.model, row.loss, row.blend)
    assert alone.semantic_ids == row.semantic_ids
    assert alone.train == row.train.model_copy(update={"evaluate_users": alone.train.evaluate_users})


def test_every_preset_that_is_named_is_there():
    named = {name for page in PAGES for name in re.findall(r"`preset: ([a-z0-9_]+)`", page.read_text())}
    assert {"light", "paper"} <= named <= set(preset_names())


def test_every_command_and_option_that_is_named_is_there():
    top = typer.main.get_group(make_app(["--help"]))
    named = 0
    for page in PAGES:
        inline = re.findall(r"`(h2rec [a-z-]+(?: [^`\n]*)?)`", page.read_text(encoding="utf-8"))
        shown = [words for words in commands(str(page.relative_to(ROOT))) if words[0] == "h2rec"]
        for line in inline + [" ".join(words) for words in shown]:
            words = line.split()
            command = top.commands.get(words[1])
            assert command is not None, f"{page.name}: {line}"
            if words[1] not in GROUPS:
                known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
                assert set(re.findall(r"(?<= )--[a-z-]+", " ".join(words))) <= known, f"{page.name}: {line}"
            named += 1
    assert named > 40


def test_what_is_made_or_installed_is_there():
    extras = re.search(
        r"^\[project.optional-dependencies\]\n(.*?)\n\[", text_of("pyproject.toml"), re.M | re.S
    )[1]
    names = set(re.findall(r"^([a-z0-9]+) = ", extras, re.MULTILINE))
    told = re.findall(r"^\| (`[a-z`, ]+) \| ", text_of("start.md").partition("## 2")[0], re.MULTILINE)
    assert set(re.findall(r"`([a-z]+)`", " ".join(told))) == names - {"all", "dev", "docs"}
    for page in PAGES:
        if str(page.name) in ("README.md", "CONTRIBUTING.md", "start.md"):
            for words in commands(page.name):
                assert words[0] != "make" or f"\n{words[1]}:" in text_of("Makefile")
                assert words[0] != "pip" or set(re.findall(r"\[(.*)\]", words[-1])) <= names


def test_the_bibtex_says_what_the_citation_file_says():
    cited = yaml.safe_load(text_of("CITATION.cff"))
    (paper,) = cited["references"]
    entry = " ".join(text_of("start.md").partition("```bibtex")[2].split())
    names = " and ".join(f"{author['family-names']}, {author['given-names']}" for author in paper["authors"])
    for stated in (
        f"{{{paper['title']}}}",
        f"{{{names}}}",
        paper["identifiers"][0]["value"],
        str(paper["year"]),
    ):
        assert stated in entry
    assert f"version = {{{cited['version']}}}" in entry


def test_every_block_of_code_is_one_that_a_test_takes():
    """A new one needs a test here, in test_deploy.py, test_experiments_page.py, test_extending_guide.py,
    test_python_guide.py or test_semantic_ids_guide.py."""
    languages = {
        (page.name, language)
        for page in PAGES
        for language in re.findall(r"^```([a-z]+)\n", page.read_text(), re.MULTILINE)
    }
    assert languages == {
        ("README.md", "sh"),
        ("README.md", "yaml"),
        ("README.md", "python"),
        ("start.md", "sh"),
        ("data.md", "yaml"),
        ("extending.md", "python"),
        ("semantic_ids.md", "yaml"),
        ("generative.md", "yaml"),
        ("semantic_ids.md", "python"),
        ("semantic_ids.md", "console"),
        ("python.md", "python"),
        ("serving.md", "python"),
        ("serving.md", "sh"),
        ("serving_experiments.md", "sh"),
        ("serving_experiments.md", "yaml"),
        ("start.md", "bibtex"),
        ("experiments.md", "sh"),
        ("offline_estimates.md", "sh"),
        ("experiments.md", "yaml"),
        ("fresh.md", "sh"),
        ("fresh.md", "python"),
        ("suites.md", "python"),
        ("deploy.md", "sh"),
        ("scaling_ray.md", "sh"),
        ("deploy.md", "python"),
        ("suites.md", "sh"),
        ("scaling_workers.md", "sh"),
        ("suites.md", "yaml"),
    }


def test_no_page_is_long():
    assert len(text_of("README.md").splitlines()) < 80
    # The two commands that do all the set-up.
    assert {"make demo", "make test"} <= {" ".join(words) for words in commands("README.md")}
    ours = [page for page in PAGES if str(page.relative_to(ROOT)).removeprefix("docs/") not in GENERATED]
    assert len(PAGES) - len(ours) == len(GENERATED)
    assert [page.name for page in ours if len(page.read_text().splitlines()) > 200] == []


def test_the_citation_is_of_this_version():
    cited = read_yaml(Path(ROOT / "CITATION.cff"))
    assert f'__version__ = "{cited["version"]}"' in text_of("src/h2rec/__init__.py")
    assert cited["license"] in text_of("pyproject.toml")
    assert cited["authors"][0]["name"] in text_of("pyproject.toml")
    assert cited["references"][0]["url"] in text_of("README.md")
