"""The pages of reference: made of the code, and true to the files that a run writes; all pages are a site."""

import json
import re
import runpy
from dataclasses import fields

import polars as pl
import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

import h2rec
from h2rec.python.fit import fit
from h2rec.research.search.study import TrialRecord
from h2rec.research.suite.results import read_results
from h2rec.retrieval.recommender import as_json
from h2rec.run.config import RunConfig
from made_shop import write_shop
from pages import ROOT, text_of
from test_house import leaves

OPEN = {
    *("weights", "timing", "made", "stages", "used", "fields", "branches", "by_rank", "by_popularity"),
    *("cpu_hours_by_row", "rows", "alpha", "model", "files", "tuned"),
}
"""Keys whose own keys are names: of the user's columns, of stages, rows, branches, data sets or files."""


@pytest.fixture(scope="module")
def generate():
    return runpy.run_path(str(ROOT / "docs" / "generate.py"))


def test_generated_pages_are_what_the_code_gives(generate):
    stale = [page for page, made in generate["PAGES"].items() if text_of(f"reference/{page}") != made()]
    assert stale == [], "run python docs/generate.py"


def test_every_setting_stands_on_its_page(generate):
    told = re.findall(r"^\| `([a-z_.*]+)` \|", text_of("reference/settings.md"), re.MULTILINE)
    assert sorted(told) == sorted(set(leaves(RunConfig)))


def test_every_public_name_stands_on_its_page():
    told = re.findall(r"^## h2rec\.(\w+)$", text_of("reference/api.md"), re.MULTILINE)
    assert sorted(told) == sorted(h2rec.__all__)


def test_the_pages_are_a_site_that_needs_nothing_from_elsewhere(tmp_path):
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True))
    pages = list(tmp_path.rglob("*.html"))
    loaded = [
        found
        for page in pages
        for found in re.findall(r'<(?:script|img|link)[^>]+(?:src|href)="?(https?:[^" >]+)', page.read_text())
    ]
    assert len(pages) > 15
    assert loaded == []
    assert "quickstart" in (tmp_path / "index.html").read_text()
    assert "Parameters" in (tmp_path / "reference" / "api.html").read_text()


def told_under(heading: str) -> set[str]:
    """Words in code marks of a section of the page on files; without a heading, of what stands before the first."""
    page = text_of("reference/files.md")
    section = page.partition(f"\n{heading}\n")[2]
    level = heading.partition(" ")[0]
    section = re.split(rf"^#{{2,{len(level)}}} ", section, flags=re.MULTILINE)[0]
    assert section, heading
    return set(re.findall(r"`([^`]+)`", section))


def general(key: str) -> str:
    return re.sub(r"sampled\d+", "sampledN", re.sub(r"@\d+$", "@K", key))


def keys(value) -> set[str]:
    """All keys of plain values but those that name what is the user's."""
    if isinstance(value, list):
        return set().union(*map(keys, value)) if value else set()
    if not isinstance(value, dict):
        return set()
    inner = [keys(below) for key, below in value.items() if key not in OPEN or isinstance(below, list)]
    return {general(key) for key in value}.union(*inner)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a small run, with weighted cases."""
    folder = tmp_path_factory.mktemp("files")
    config = write_shop(folder)
    lines = (folder / "interactions.csv").read_text().splitlines()
    weighted = [f"{line},{'price' if number == 0 else number % 7}" for number, line in enumerate(lines)]
    (folder / "interactions.csv").write_text("\n".join(weighted) + "\n")
    changes = ["data.columns.weight=price", "train.epochs=1", "model.name=branches"]
    fit(RunConfig.load(config, changes), folder / "run")
    return folder / "run"


def test_every_file_of_a_run_is_told(run):
    told = told_under("## A run's folder") | told_under("## The bundle")
    page = text_of("reference/files.md")
    for path in run.rglob("*"):
        below = path.relative_to(run).parts
        if path.is_file() and below[0] not in ("stages", "checkpoints") and not path.name.startswith("."):
            name = path.name if below[0] != "bundle" or len(below) < 3 else f"{below[1]}/"
            assert f"`{name}`" in page or f"### {name}\n" in page or name in told, path


@pytest.mark.parametrize("name", ["metrics.json", "audit.json", "stages.json"])
def test_every_key_of_a_runs_files_is_told(name, run):
    told = told_under(f"### {name}")
    if name == "metrics.json":
        told |= told_under("### Provenance")
    assert keys(json.loads((run / name).read_text())) <= told | {"full", "sampledN"}


def test_every_count_that_cleaning_may_report_is_told():
    sources = "".join(path.read_text() for path in (ROOT / "src" / "h2rec" / "data").glob("*.py"))
    named = {*re.findall(r'report\["(\w+)"\]', sources), *re.findall(r"report, \"(\w+)\"", sources)}
    assert len(named) > 15
    assert named <= told_under("### metrics.json")


def test_every_column_of_ranks_is_told(run):
    columns = set(map(general, pl.read_parquet(run / "ranks.parquet").columns))
    assert {"weight", "rank_sampledN"} <= columns <= told_under("### ranks.parquet")


def test_head_and_targets_are_numbered_as_told(run):
    """Entry 0 of the head is padding; rows of items and codes begin at item 1."""
    head = json.loads((run / "head.json").read_text())
    codes = json.loads((run / "semantic_ids.json").read_text())
    items = pl.read_parquet(run / "bundle" / "items.parquet")
    assert len(head) == len(codes) + 1 == len(items) + 1
    assert list(codes) == items["item_id"].to_list()
    ranks = pl.read_parquet(run / "ranks.parquet")
    interactions = pl.read_csv(run.parent / "interactions.csv").group_by("user_id", maintain_order=True)
    last = {user: rows["item_id"][-1] for (user,), rows in interactions}
    targets = ranks.filter(split="test").select("user_id", "target").iter_rows()
    assert all(items["item_id"][target - 1] == last[user] for user, target in targets)


def test_every_key_of_the_bundle_is_told(run):
    told = told_under("## The bundle") | told_under("### Provenance")
    assert keys(json.loads((run / "bundle" / "manifest.json").read_text())) <= told
    assert set(pl.read_parquet(run / "bundle" / "items.parquet").columns) - told == {"title"}


def test_every_key_of_an_answer_is_told(run):
    answer = h2rec.load(run / "bundle").recommend(["i1", "i5"], k=3, explain=True)
    assert keys(as_json(answer)) <= told_under("## Answers")


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks" / "suites" / "results").glob("*.parquet")))
def test_every_key_of_a_suites_results_is_told(path):
    told = told_under("## A suite's folder") | told_under("### metrics.json") | told_under("### Provenance")
    results = read_results(path)
    by_data = [record for table in ("data", "repeats") for record in results.pop(table, {}).values()]
    assert keys(results) | keys(by_data) <= told
    assert set(map(general, pl.read_parquet(path).columns)) <= told


def test_every_key_of_cold_start_is_told():
    kept = json.loads((ROOT / "benchmarks" / "cold_start" / "results" / "scientific.json").read_text())
    told = told_under("## Cold start") | told_under("## A suite's folder") | told_under("### Provenance")
    assert keys(kept) <= told


def test_every_key_of_a_trial_is_told():
    assert {field.name for field in fields(TrialRecord)} <= told_under("## A search's folder")
