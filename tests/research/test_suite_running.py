"""Suites at work: killed, interrupted, failing, resumed, and what of it counts."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from h2rec.cli.main import main
from h2rec.errors import ConfigError, MissingExtraError
from h2rec.research.suite.evidence import evidence
from h2rec.research.suite.results import RESULTS_FILE, read_results
from h2rec.research.suite.runs import carry_out, write_hashes
from h2rec.research.suite.suite import Suite
from h2rec.run.config import key_of_settings
from made_suite import one_by_one, rewritten


def test_the_command_prints_tables_of_what_is_finished(tiny, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["compare", "tiny", "--out", str(tiny.out), "--tables"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "made-shop, test, full" in said
    assert said.count("±0.0000 -") > said.count("±0.0000 +")  # Pop, whose seeds are equal, is mostly worse
    assert "made-shop, full, overall: H2Rec is" in said
    assert "made-shop, test, full, gains of a row over another one" in said
    assert "12 of 12 runs finished" in said


def test_tables_of_an_unfinished_suite(tiny, tmp_path):
    partial = Suite(tiny.settings.model_copy(update={"seeds": [0, 1, 2]}), tiny.out, name="tiny")
    found = evidence(partial)
    assert found["cost"]["runs"] == 18
    assert found["cost"]["runs_finished"] == 12
    assert {r["seeds"] for r in found["records"]} == {2}
    evidence(tiny)


def test_a_killed_suite_goes_on_where_it_was_and_leaves_nobody_at_work(
    suite_file, small, tmp_path, in_this_process
):
    out = tmp_path / "out"
    script = (
        "import unending_runs, h2rec.research.suite.suite as suite; from h2rec.cli.main import main; "
        "suite.carry_out = unending_runs.stop_at_h2rec; "
        f"main(['compare', {str(suite_file)!r}, '--out', {str(out)!r}])"
    )
    words = [sys.executable, "-c", script]
    process = subprocess.Popen(words, cwd=Path(__file__).parents[1], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 240
    while not (begun := list(out.glob("runs/*/*/*/begun"))) or not begun[0].read_text().endswith("\n"):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.05)
    process.kill()
    process.communicate()
    while Path(f"/proc/{begun[0].read_text().strip()}").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    suite = Suite.load(suite_file, out)
    (done,) = suite.finished()
    assert done.model == "weak"
    assert evidence(suite)["records"]
    before = (done.folder / "hashes.json").stat().st_mtime_ns
    assert suite.run() == {}
    assert (done.folder / "hashes.json").stat().st_mtime_ns == before
    unbroken = Suite.load(small / "small.yaml", small / "out")
    assert evidence(suite)["records"] == evidence(unbroken)["records"]


def interrupted(*_):
    raise KeyboardInterrupt


def test_of_an_interrupted_suite_it_is_told_how_it_goes_on(
    suite_file, tmp_path, monkeypatch, capsys, in_this_process
):
    monkeypatch.setattr("h2rec.research.suite.suite.carry_out", interrupted)
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(suite_file), "--out", str(tmp_path / "out")])
    assert ended.value.code == 130
    assert "the same command goes on" in capsys.readouterr().err


def failing(job, *arguments):
    """Carry a run out, unless its row is one that ends badly."""
    if job.model == "odd":
        raise ValueError("nobody expected this")
    if job.model == "bare":
        raise MissingExtraError("tune", "tune")
    carry_out(job, *arguments)


def test_a_failing_run_does_not_stop_the_others_and_only_what_is_asked_for_runs(
    suite_file, tmp_path, monkeypatch, in_this_process
):
    models = yaml.safe_load(suite_file.read_text())["models"]
    weak, broken = models["weak"], models["H2Rec"] | {"semantic_ids": {"quantizer": "gone.index.json"}}
    rows = {"odd": weak, "bare": weak, "broken": broken, "fine": weak, "idle": weak}
    suite = Suite.load(rewritten(suite_file, models=rows), tmp_path / "out")
    monkeypatch.setattr("h2rec.research.suite.suite.carry_out", failing)
    failures = suite.run(cores=[0], only=[name for name in rows if name != "idle"])
    failures = {job.model: error for job, error in failures.items()}
    assert set(failures) == {"odd", "bare", "broken"}
    assert failures["odd"] == "ValueError: nobody expected this"
    # What to do about it is told, wherever it was found out.
    assert "pip install 'h2rec[tune]'" in failures["bare"]
    assert [job.model for job in suite.finished()] == ["fine"]
    assert {job.model for job in suite.failed()} == set(failures)
    found = evidence(suite)
    assert {record["model"] for record in found["failures"]} == set(failures)
    assert found["provenance"]["machines"][0]["cores"] == 1
    # With other settings they may do better.
    assert Suite.load(suite_file, tmp_path / "out", overrides=["model.dropout=0.2"]).failed() == {}
    with pytest.raises(ConfigError, match="no row 'strong'"):
        suite.run(only=["strong"])


def test_figures_of_another_key_are_not_taken_whatever_settings_lie_beside_them(finished_suite, tmp_path):
    suite = Suite.load(finished_suite, tmp_path / "out")
    job = suite.finished()[0]
    config, metrics = job.folder / "config.yaml", job.folder / "metrics.json"
    written, figures = yaml.safe_load(config.read_text()), json.loads(metrics.read_text())
    assert figures["provenance"]["settings"] == key_of_settings(written) == job.config.key

    def finished(values, key):
        config.write_text(yaml.safe_dump(values))
        figures["provenance"]["settings"] = key
        metrics.write_text(json.dumps(figures))
        write_hashes(job.folder)
        return [other for other in suite.finished() if other is job]

    # The file may be of a later run that did not come to its end: the figures' own key counts.
    assert finished(written, "another") == []
    other = written | {"model": written["model"] | {"dropout": 0.11}}
    assert finished(other, key_of_settings(other)) == []
    assert finished(other, job.config.key) == [job]
    # What a version had that this one has not.
    older = written | {"model": written["model"] | {"gone_since": 1}}
    assert finished(older, key_of_settings(older)) == []
    # A preset is known by its values.
    assert key_of_settings(written | {"preset": "another"}) == job.config.key


def test_figures_made_with_other_settings_are_left_out(finished_suite, tmp_path, capsys, in_this_process):
    out = tmp_path / "out"
    changed = ["train.learning_rate=0.02"]
    suite = Suite.load(finished_suite, out, overrides=changed)
    assert suite.finished() == []
    assert {job.model for job in suite.stale()} == {"weak", "H2Rec"}
    assert suite.run(only=["weak"]) == {}
    with pytest.raises(SystemExit):
        main(["compare", str(finished_suite), "--out", str(out), "--tables", "--set", changed[0]])
    assert {r["model"] for r in read_results(out / RESULTS_FILE)["records"]} == {"weak"}
    assert "left out, made with other settings: 1 runs" in capsys.readouterr().out
    # Nor are figures of what the files held once; where they are not at hand, nobody can tell.
    (tmp_path / "interactions.csv").write_text((tmp_path / "interactions.csv").read_text() + "u0,i1,99\n")
    of_more = Suite.load(finished_suite, out, overrides=changed)
    assert of_more.finished() == []
    assert {job.model for job in of_more.stale()} == {"weak", "H2Rec"}
    (tmp_path / "interactions.csv").unlink()
    assert {job.model for job in Suite.load(finished_suite, out, overrides=changed).finished()} == {"weak"}
    # Where files lie, and how many threads work on them, makes no other experiment.
    elsewhere = suite.jobs[0].config
    assert elsewhere.data.interactions is not None
    moved = Path("/elsewhere") / elsewhere.data.interactions.name
    data = elsewhere.data.model_copy(update={"interactions": moved})
    runtime = elsewhere.runtime.model_copy(update={"threads": 7})
    assert elsewhere.model_copy(update={"data": data, "runtime": runtime}).key == elsewhere.key


def test_a_figure_comes_from_the_command_that_trained_and_costs_what_that_cost(
    finished_suite, tmp_path, monkeypatch, in_this_process
):
    first = Suite.load(finished_suite, tmp_path / "out")
    stages = first.stages
    monkeypatch.setattr(sys, "argv", ["h2rec", "compare", "second"])
    again = Suite.load(finished_suite, tmp_path / "other", stages=stages)
    assert again.run() == {}
    first, other = evidence(first), evidence(again)
    assert other["provenance"]["commands"] == ["h2rec compare first"]
    assert other["cost"] == first["cost"]
    shared = {
        path.name: json.loads((path / "stage.json").read_text()) for path in stages.iterdir() if path.is_dir()
    }
    spent = {
        name: stage["made"]["cpu_seconds"]
        for name, stage in shared.items()
        if not name.startswith(("tests", "intent", "shares"))
    }
    assert other["cost"]["cpu_hours"] == pytest.approx(sum(spent.values()) / 3600)
    assert min(spent.values()) > 0
    # What two rows share is counted once.
    assert len([name for name in spent if name.startswith("data-")]) == 1


def test_what_is_done_is_not_opened_again_and_rows_of_one_training_come_last(
    finished_suite, tmp_path, monkeypatch
):
    suite_file, stages = finished_suite, tmp_path / "out" / "stages"
    models = yaml.safe_load(suite_file.read_text())["models"]
    ranked = models["H2Rec"] | {"model": {"branches": {"popularity": {"kind": "popularity", "weight": 0.3}}}}
    rewritten(suite_file, models={"H2Rec": models["H2Rec"], "H2Rec, ranked": ranked, "weak": models["weak"]})
    suite = Suite.load(suite_file, tmp_path / "other", stages=stages)
    begun = []
    monkeypatch.setattr(
        "h2rec.research.suite.suite.side_by_side",
        lambda work, tasks, jobs, cores: (
            begun.append([job.model for job in tasks]) or one_by_one(work, tasks, jobs)
        ),
    )
    assert suite.run() == {}
    assert len(list(suite.stages.glob("train-*"))) == 2
    assert suite.run() == {}
    (tmp_path / "other/runs/shop/weak/seed-0/shares.json").unlink()
    assert Suite.load(suite_file, tmp_path / "other", stages=stages).run() == {}
    assert begun == [["H2Rec", "weak", "H2Rec, ranked"], [], ["weak"]]


def test_a_protocol_that_has_none_of_the_metrics_gets_no_table(suite_file, tmp_path, in_this_process):
    weak = yaml.safe_load(suite_file.read_text())["models"]["weak"]
    values = {"models": {"weak": weak, "Pop": {"preset": "pop"}}, "metrics": ["recall@50"]}
    rewritten(suite_file, **values)
    suite = Suite.load(suite_file, tmp_path / "out", overrides=["evaluate.ks=[50]"])
    assert suite.run() == {}
    assert {(r["protocol"], r["metric"]) for r in evidence(suite)["records"]} == {("full", "hit@50")}


def test_several_suites_share_their_stages_and_an_index(
    suite_file, tmp_path, capsys, monkeypatch, in_this_process
):
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other.yaml"
    other.write_text(
        "extends: small.yaml\ntitle: A < B\nmodels: {H2Rec: {model: {ties: {alignment: {beta: 0.1}}}}}\n"
    )
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(suite_file), str(other), "--out", "all", "--seeds", "4"])
    assert ended.value.code == 0
    assert {path.name for path in Path("all").glob("*/runs/shop/*/*")} == {"seed-4"}
    assert "all suites: all/index.html" in capsys.readouterr().out
    # The row that both have was trained once.
    assert len(list((tmp_path / "all" / "stages").glob("train-*"))) == 3
    page = (tmp_path / "all" / "index.html").read_text()
    for name in ("small", "other"):
        assert f'href="{name}/report.html"' in page
        assert (tmp_path / "all" / name / "report.html").exists()
    assert "A &lt; B" in page
    assert "shop, full, tail: H2Rec is" in page
    with pytest.raises(SystemExit):
        main(["compare", str(suite_file), str(suite_file)])
    assert "called alike" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["compare", str(suite_file), "--seeds", "1,two"])
    assert "--seeds 1,two: expected numbers" in capsys.readouterr().err
