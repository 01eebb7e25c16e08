import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import yaml
from rich.console import Console

import failing_runs
from h2rec.cli.main import main
from h2rec.errors import ConfigError
from h2rec.evaluation.significance import compare_models
from h2rec.experiments.config import RunConfig, key_of_settings, read_yaml
from h2rec.experiments.search.space import value_at
from h2rec.experiments.suite.comparison import changes_along, evidence
from h2rec.experiments.suite.evidence import _shares
from h2rec.experiments.suite.files import (
    flat,
    merged,
    read_suite,
    read_tuned,
    shipped_suites,
    suite_path,
    tuned_file,
)
from h2rec.experiments.suite.settings import SuiteSettings
from h2rec.experiments.suite.suite import Suite
from h2rec.experiments.suite.terminal import comparison_table, contrast_table
from h2rec.experiments.suite.tuning import tune_suite
from h2rec.experiments.workers import side_by_side
from made_shop import write_shop


@pytest.fixture
def suite_file(tmp_path):
    base = yaml.safe_load(write_shop(tmp_path, users=40).read_text())
    data = base.pop("data")
    suite = {
        "base": base,
        "data": {"shop": {"data": data}},
        "models": {
            "weak": {"model": {"name": "sasrec"}, "train": {"epochs": 1}},
            "H2Rec": {"train": {"epochs": 1}},
        },
        "seeds": [0],
        "metrics": ["hit@5", "ndcg@10"],
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(suite, sort_keys=False))
    return path


def rewritten(path, **changes):
    values = yaml.safe_load(path.read_text()) | changes
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def test_every_model_data_set_and_seed_is_a_run(tiny):
    found = {(job.data, job.model, job.seed) for job in tiny.finished()}
    rows = (
        "Pop",
        "SASRec, warm",
        "Two HID branches",
        "H2Rec, no alignment",
        "H2Rec, three branches",
        "H2Rec",
    )
    assert found == {("made-shop", model, seed) for model in rows for seed in (0, 1)}
    # Seeds differ in the training alone: codes and negatives are shared, though two runs asked for them at once.
    assert len(list((tiny.out / "stages").glob("semantic_ids-*"))) == 1
    assert len(list((tiny.out / "stages").glob("train-*"))) == 12


def test_records_are_means_over_seeds_with_tests_against_the_tested_row(tiny):
    found = evidence(tiny)
    by_key = {(r["protocol"], r["slice"], r["metric"], r["model"]): r for r in found["records"]}
    weak, strong = (by_key["full", "overall", "hit@10", name] for name in ("SASRec, warm", "H2Rec"))
    values = [
        json.loads((job.folder / "metrics.json").read_text())["test"]["full"]["overall"]["hit@10"]
        for job in tiny.finished()
        if job.model == "SASRec, warm"
    ]
    assert weak["mean"] == pytest.approx(sum(values) / 2)
    assert weak["spread"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert weak["difference"] == pytest.approx(strong["mean"] - weak["mean"])
    pop = by_key["full", "overall", "hit@10", "Pop"]
    assert pop["difference"] > 0.1
    assert pop["effect_size"] > 0.1
    assert max(pop["p_bootstrap"], pop["p_t"]) < 0.05
    assert "difference" not in strong
    assert json.loads((tiny.out / "results.json").read_text()) == json.loads(json.dumps(found))


def test_further_comparisons_are_tests_of_their_own(tiny):
    found = evidence(tiny)
    means = {
        (r["model"], r["slice"], r["metric"]): r["mean"]
        for r in found["records"]
        if r["protocol"] == "sampled100"
    }
    told = [r for r in found["contrasts"] if r["protocol"] == "sampled100"]
    assert {(r["model"], r["other"]) for r in told} == {("H2Rec, no alignment", "SASRec, warm")}
    assert {(r["slice"], r["metric"]) for r in told} == {(part, metric) for _, part, metric in means}
    for r in told:
        ours, theirs = (means[r[row], r["slice"], r["metric"]] for row in ("model", "other"))
        assert r["difference"] == pytest.approx(ours - theirs)
    # A family of one: nothing to correct for, while the tested row is compared with three.
    pair = ("H2Rec, no alignment", "SASRec, warm")
    ranks = {
        name: [
            pl.read_parquet(job.folder / "ranks.parquet").filter(pl.col("split") == "test")
            for job in tiny.finished()
            if job.model == name
        ]
        for name in pair
    }
    apart = compare_models(ranks, pair[0], ["ndcg@10"], protocol="sampled100")
    overall = next(r for r in told if (r["slice"], r["metric"]) == ("overall", "ndcg@10"))
    assert overall["p_bootstrap"] == pytest.approx(apart["p_bootstrap"][0])
    assert overall["p_t"] == pytest.approx(apart["p_t"][0])


def test_further_comparisons_of_a_slice_without_cases_are_left_out_of_the_table(tiny):
    found = evidence(tiny)
    found["contrasts"] = [r for r in found["contrasts"] if r["slice"] != "head"]
    told = contrast_table(found, "made-shop", "full")
    assert [column.header for column in told.columns] == ["row", "against", "overall ndcg@10", "tail ndcg@10"]
    assert contrast_table(found | {"contrasts": []}, "made-shop", "full") is None


def test_names_of_rows_stand_in_the_tables_as_they_are(tiny):
    found = json.loads(json.dumps(evidence(tiny)).replace('"SASRec, warm"', '"SASRec [bold]"'))
    console = Console(width=200, record=True, file=io.StringIO())
    for made in (comparison_table, contrast_table):
        console.print(made(found, "made-shop", "full"))
    assert console.export_text().count("SASRec [bold]") == 4


def test_contrasts_of_rows_without_figures_or_of_a_skipped_row_are_left_out(tiny, tmp_path):
    planned = {"H2Rec, no alignment": ["Pop", "SASRec, warm"], "SASRec, warm": ["Pop"]}
    settings = tiny.settings.model_copy(
        update={"contrasts": planned, "skip": {"made-shop": ["SASRec, warm"]}}
    )
    found = evidence(Suite(settings, tiny.out, tiny.stages))
    assert {(r["model"], r["other"]) for r in found["contrasts"]} == {("H2Rec, no alignment", "Pop")}


def test_the_weights_that_validation_chose_are_told_for_every_seed(tiny):
    blends = {of_row["model"]: of_row["weights"] for of_row in evidence(tiny)["blend"]}
    assert set(blends) == {"Two HID branches", "H2Rec, no alignment", "H2Rec, three branches", "H2Rec"}
    assert list(blends["H2Rec, three branches"]) == ["sid", "hybrid", "hid", "popularity"]
    runs = [
        json.loads((job.folder / "metrics.json").read_text())["blend"]["weights"]
        for job in tiny.finished()
        if job.model == "H2Rec"
    ]
    assert blends["H2Rec"] == {branch: [of_run[branch] for of_run in runs] for branch in runs[0]}
    assert len(runs) == 2


def test_shares_of_seeds_with_and_without_a_weight_of_popularity_are_averaged(tiny, tmp_path):
    of_seeds = [
        {"branches": ["sid", "hid"], "by_rank": {"1": [0.2, 0.8]}, "by_popularity": {"0": [0.5, 0.5]}},
        {
            "branches": ["sid", "hid", "popularity"],
            "by_rank": {"1": [0.4, 0.5, 0.1]},
            "by_popularity": {"0": [0.1, 0.7, 0.2], "1": [0.2, 0.2, 0.6]},
        },
    ]
    jobs = [job for job in tiny.finished() if job.model == "H2Rec"]
    moved = [replace(job, folder=tmp_path / str(job.seed)) for job in jobs]
    for job, shares in zip(moved, of_seeds, strict=True):
        job.folder.mkdir()
        (job.folder / "shares.json").write_text(json.dumps(shares))
    (found,) = _shares(moved)
    assert found["branches"] == ["sid", "hid", "popularity"]
    assert found["by_rank"]["1"] == pytest.approx([0.3, 0.65, 0.05])
    assert found["by_popularity"]["0"] == pytest.approx([0.3, 0.6, 0.1])
    assert found["by_popularity"]["1"] == pytest.approx([0.2, 0.2, 0.6])


def test_places_follow_the_means(tiny):
    records = evidence(tiny)["records"]
    for metric in ("hit@10", "ndcg@10"):
        column = [
            r for r in records if (r["protocol"], r["slice"], r["metric"]) == ("full", "overall", metric)
        ]
        ordered = sorted(column, key=lambda r: r["place"])
        # Equal but for the last bits is one place.
        means = sorted((r["mean"] for r in column), reverse=True)
        assert [r["mean"] for r in ordered] == pytest.approx(means)
        assert ordered[0]["place"] == 1
        assert ordered[-1]["model"] == "Pop"


def test_what_lies_beside_the_main_figures_is_collected(tiny):
    found = evidence(tiny)
    of_h2rec = {
        name: [r for r in found[name] if r["model"] == "H2Rec"] for name in ("intent", "codes", "curves")
    }
    assert len(of_h2rec["intent"][0]["alpha"]["last_tail"]) == 3
    assert sum(of_h2rec["intent"][0]["alpha"]["last_tail"]) == pytest.approx(1, abs=1e-5)
    assert not [r for r in found["intent"] if r["model"] in ("Pop", "SASRec, warm")]
    assert [level["codebook_size"] for level in of_h2rec["codes"][0]["levels"]] == [16, 16, 16]
    assert [epoch for epoch, _ in of_h2rec["curves"][0]["loss"]] == [1, 2, 3, 4]
    assert {g["kind"] for g in found["groups"]} >= {
        "popularity",
        "code_collision",
        "history_length",
        "target",
    }
    metrics = json.loads((tiny.finished()[0].folder / "metrics.json").read_text())
    assert found["repeats"][tiny.finished()[0].data] == metrics["repeats"]
    assert found["cost"]["cpu_hours"] > 0
    assert found["cost"]["cpu_hours"] == pytest.approx(sum(found["cost"]["cpu_hours_by_row"].values()))


def test_what_lies_beside_them_has_the_values_of_the_runs(tiny):
    found = evidence(tiny)
    jobs = [job for job in tiny.finished() if job.model == "H2Rec"]
    runs = [json.loads((job.folder / "metrics.json").read_text()) for job in jobs]
    tests = [of_run["test"] for of_run in runs]

    def mean(values):
        return pytest.approx(sum(values) / len(values))

    exposure = next(r for r in found["exposure"] if r["model"] == "H2Rec")
    assert exposure["gini@10"] == mean([test["full"]["exposure"]["gini@10"] for test in tests])
    assert exposure["tail_share@100"] == mean([test["full"]["exposure"]["tail_share@100"] for test in tests])
    for protocol in ("full", "sampled100"):
        groups = [r for r in found["groups"] if (r["model"], r["protocol"]) == ("H2Rec", protocol)]
        assert len(groups) == len(tests[0][protocol]["groups"])
        for told, *of_runs in zip(groups, *(test[protocol]["groups"] for test in tests), strict=True):
            assert {(told["kind"], told["name"])} == {(group["kind"], group["name"]) for group in of_runs}
            if told["cases"]:
                assert told["hit@10"] == mean([group["hit@10"] for group in of_runs])
        (head,) = [r for r in found["weighted_head"] if (r["model"], r["protocol"]) == ("H2Rec", protocol)]
        assert head["ndcg@10"] == mean([test[protocol]["head_by_popularity"]["ndcg@10"] for test in tests])
    keys = [of_run["provenance"]["stages"]["train"] for of_run in runs]
    logs = [json.loads((tiny.stages / f"train-{key}" / "training.json").read_text())["log"] for key in keys]
    signs = next(r for r in found["diagnosis"] if r["model"] == "H2Rec")
    assert signs["alpha_entropy"] == mean([log[-1]["alpha_entropy"] for log in logs])
    intents = [json.loads((job.folder / "intent.json").read_text()) for job in jobs]
    told = next(r for r in found["intent"] if r["model"] == "H2Rec")["alpha"]
    for part in ("last_head", "last_tail", "target_head", "target_tail"):
        assert told[part][0] == mean([of_run[part][0] for of_run in intents])


def test_the_command_prints_tables_of_what_is_finished(tiny, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["compare", "tiny", "--out", str(tiny.out), "--tables"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "made-shop, test, full" in said
    assert said.count("±0.0000 +") > said.count("±0.0000 -")  # Pop, whose seeds are equal, is mostly worse
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


def test_a_killed_suite_goes_on_where_it_was_and_leaves_nobody_at_work(tiny, tmp_path):
    out = tmp_path / "out"
    cache = {"H2REC_CACHE": str(tiny.out.parent / "cache")}
    words = [sys.executable, "-m", "h2rec", "-q", "compare", "tiny", "--out", str(out)]
    started = subprocess.Popen(words, env=os.environ | cache, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 240
    while len(list(out.glob("runs/*/*/*/metrics.json"))) < 3 and time.monotonic() < until:
        time.sleep(0.02)
    workers = children(started.pid)
    assert workers
    started.kill()
    started.wait()
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < until
        time.sleep(0.05)
    suite = Suite.load("tiny", out)
    assert 3 <= len(suite.finished()) < 12
    assert evidence(suite)["records"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("H2REC_CACHE", cache["H2REC_CACHE"])
        assert suite.run() == {}
    assert evidence(suite)["records"] == evidence(tiny)["records"]


def test_an_interrupted_suite_stops_at_once(suite_file, tmp_path):
    weak = yaml.safe_load(suite_file.read_text())["models"]["weak"]
    rewritten(suite_file, models={"slow": weak}, seeds=[0, 1, 2])
    out = tmp_path / "out"
    script = (
        "import signal, failing_runs, h2rec.experiments.suite.suite as suite; from h2rec.cli.main import main; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); "  # whoever starts the tests may ignore it
        f"suite._run = failing_runs.run; main(['compare', {str(suite_file)!r}, '--out', {str(out)!r}, '--jobs', '2'])"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[1],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 120
    while len(list(out.glob("runs/*/*/*/begun"))) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(started.pid, signal.SIGINT)  # as a terminal does: all of them are told
    _, said = started.communicate(timeout=60)
    assert started.returncode == 130
    assert "the same command goes on" in said
    # Nobody took up what was still to be done.
    assert len(list(out.glob("runs/*/*/*/begun"))) == 2


def children(process):
    """Living processes that a process started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[1]) == process and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


def test_a_failing_run_does_not_stop_the_others_and_only_what_is_asked_for_runs(suite_file, tmp_path):
    models = yaml.safe_load(suite_file.read_text())["models"]
    broken = {"semantic_ids": {"quantizer": str(tmp_path / "none.json")}}
    changed = {"broken": broken, "fine": models["weak"], "idle": models["weak"]}
    suite = Suite.load(rewritten(suite_file, models=changed), tmp_path / "out")
    failures = suite.run(cores=[0], only=["broken", "fine"])
    assert [job.model for job in failures] == ["broken"]
    assert [job.model for job in suite.finished()] == ["fine"]
    found = evidence(suite)
    assert [record["model"] for record in found["failures"]] == ["broken"]
    assert found["provenance"]["machines"][0]["cores"] == 1
    with pytest.raises(ConfigError, match="no row 'strong'"):
        suite.run(only=["strong"])


def test_figures_of_a_version_that_had_fewer_keys_are_taken(suite_file, tmp_path):
    suite = Suite.load(suite_file, tmp_path / "out")
    assert suite.run(only=["weak"]) == {}
    (job,) = suite.finished()
    config, metrics = job.folder / "config.yaml", job.folder / "metrics.json"
    written, figures = yaml.safe_load(config.read_text()), json.loads(metrics.read_text())
    del written["model"]["attention_dropout"]
    older = key_of_settings(written)
    assert older != job.config.key

    def finished(values, key):
        config.write_text(yaml.safe_dump(values))
        figures["provenance"]["settings"] = key
        metrics.write_text(json.dumps(figures))
        return suite.finished()

    assert finished(written, older) == [job]
    # An older version that left the sections of other models out of the key, as this one does.
    own = {name: value for name, value in written["model"].items() if name not in job.config.model.of_others}
    assert own.keys() < written["model"].keys()
    assert finished(written, key_of_settings({**written, "model": own})) == [job]
    # What belongs to another model may have had another default: weak is no PG-SID.
    assert written["model"]["name"] != "pg_sid"
    written["model"]["pg_sid"]["rows"] *= 2
    assert finished(written, key_of_settings(written)) == [job]
    # The file may be of a later run that did not come to its end, and the key that was left out may not be missed.
    assert finished(written, "another") == []
    written["model"]["dropout"] = 0.11
    assert finished(written, key_of_settings(written)) == []
    written["model"]["gone_since"] = 1
    assert finished(written, key_of_settings(written)) == []


def test_a_process_that_is_killed_or_fails_oddly_does_not_stop_the_others(suite_file, tmp_path, monkeypatch):
    weak = yaml.safe_load(suite_file.read_text())["models"]["weak"]
    rows = {"killed": weak, "odd": weak, "bare": weak, "one": weak, "two": weak}
    suite = Suite.load(rewritten(suite_file, models=rows), tmp_path / "out")
    monkeypatch.setattr("h2rec.experiments.suite.suite._run", failing_runs.run)
    failures = {job.model: error for job, error in suite.run(jobs=2).items()}
    assert set(failures) == {"killed", "odd", "bare"}
    assert "its process was killed" in failures["killed"]
    assert failures["odd"] == "ValueError: nobody expected this"
    # What to do about it is told, wherever it was found out.
    assert "pip install 'h2rec[tune]'" in failures["bare"]
    assert {job.model for job in suite.finished()} == {"one", "two"}
    assert {job.model for job in suite.failed()} == {"killed", "odd", "bare"}
    # With other settings they may do better.
    assert Suite.load(suite_file, tmp_path / "out", overrides=["model.dropout=0.2"]).failed() == {}


def test_figures_made_with_other_settings_are_left_out(suite_file, tmp_path, capsys):
    out = tmp_path / "out"
    assert Suite.load(suite_file, out).run() == {}
    changed = ["train.learning_rate=0.02"]
    suite = Suite.load(suite_file, out, overrides=changed)
    assert suite.finished() == []
    assert {job.model for job in suite.stale()} == {"weak", "H2Rec"}
    assert suite.run(only=["weak"]) == {}
    with pytest.raises(SystemExit):
        main(["compare", str(suite_file), "--out", str(out), "--tables", "--set", changed[0]])
    assert {r["model"] for r in json.loads((out / "results.json").read_text())["records"]} == {"weak"}
    assert "left out, made with other settings: 1 runs" in capsys.readouterr().out
    # Nor are figures of what the files held once; where they are not at hand, nobody can tell.
    (tmp_path / "interactions.csv").write_text((tmp_path / "interactions.csv").read_text() + "u0,i1,99\n")
    of_more = Suite.load(suite_file, out, overrides=changed)
    assert of_more.finished() == []
    assert {job.model for job in of_more.stale()} == {"weak", "H2Rec"}
    (tmp_path / "interactions.csv").unlink()
    assert {job.model for job in Suite.load(suite_file, out, overrides=changed).finished()} == {"weak"}
    # Where files lie, and how many threads work on them, makes no other experiment.
    elsewhere = suite.jobs[0].config
    assert elsewhere.data.interactions is not None
    moved = Path("/elsewhere") / elsewhere.data.interactions.name
    data = elsewhere.data.model_copy(update={"interactions": moved})
    runtime = elsewhere.runtime.model_copy(update={"threads": 7})
    assert elsewhere.model_copy(update={"data": data, "runtime": runtime}).key == elsewhere.key


def test_a_figure_comes_from_the_command_that_trained_and_costs_what_that_cost(
    suite_file, tmp_path, monkeypatch
):
    stages = tmp_path / "stages"
    monkeypatch.setattr(sys, "argv", ["h2rec", "compare", "first"])
    assert Suite.load(suite_file, tmp_path / "one", stages=stages).run() == {}
    monkeypatch.setattr(sys, "argv", ["h2rec", "compare", "second"])
    again = Suite.load(suite_file, tmp_path / "other", stages=stages)
    assert again.run() == {}
    first, other = evidence(Suite.load(suite_file, tmp_path / "one", stages=stages)), evidence(again)
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
    suite_file, tmp_path, monkeypatch
):
    models = yaml.safe_load(suite_file.read_text())["models"]
    ranked = models["H2Rec"] | {"model": {"score": {"popularity": 0.3}}}
    rewritten(suite_file, models={"H2Rec": models["H2Rec"], "H2Rec, ranked": ranked, "weak": models["weak"]})
    suite = Suite.load(suite_file, tmp_path / "out")
    begun = []
    monkeypatch.setattr(
        "h2rec.experiments.suite.suite.side_by_side",
        lambda work, tasks, jobs, cores: (
            begun.append([job.model for job in tasks]) or side_by_side(work, tasks, jobs)
        ),
    )
    assert suite.run() == {}
    assert len(list(suite.stages.glob("train-*"))) == 2
    assert suite.run() == {}
    (tmp_path / "out/runs/shop/weak/seed-0/shares.json").unlink()
    assert suite.run() == {}
    assert begun == [["H2Rec", "weak", "H2Rec, ranked"], [], ["weak"]]


def test_a_wrong_key_names_the_run(suite_file, tmp_path):
    path = rewritten(suite_file, models={"weak": {"trian": {}}})
    with pytest.raises(ConfigError, match=r"shop, weak: unknown key 'trian', did you mean 'train'"):
        Suite.load(path, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference": "none"}, "reference 'none' is none of the rows"),
        ({"contrasts": {"none": ["weak"]}}, "contrasts: 'none' is none of the rows"),
        ({"contrasts": {"weak": ["none"]}}, "contrasts: 'none' is none of the rows"),
        ({"contrasts": {"weak": ["H2Rec", "H2Rec"]}}, r"contrasts\.weak: expected other rows, each once"),
        ({"contrasts": {"weak": ["weak"]}}, r"contrasts\.weak: expected other rows, each once"),
        ({"contrasts": {"weak": "H2Rec"}}, r"contrasts\.weak"),
        ({"contrasts": ["weak"]}, "contrasts"),
        ({"tuned_as": "none"}, "tuned_as: 'none' is none of the rows"),
        ({"tuned_as": ["weak"]}, "tuned_as"),
        ({"unswept": "weak"}, "unswept"),
        ({"unswept": ["none"]}, "unswept: 'none' is none of the models"),
        ({"tuned_as": {"weak": "none"}}, "tuned_as: 'none' is none of the rows"),
        ({"tuned_as": {"none": "weak"}}, "tuned_as: 'none' is none of the rows"),
        ({"tuned_as": {"weak": "weak"}}, r"tuned_as\.weak: 'weak' has no search of its own either"),
        ({"skip": {"shop": ["none"]}}, r"skip\.shop: 'none' is none of the models"),
        ({"models": ["weak"]}, "models: expected keys and values"),
        ({"models": {"weak": "x"}}, r"models\.weak: expected the keys of a run's configuration, found x"),
        (
            {"data": {"shop": "a.csv"}},
            r"data\.shop: expected the keys of a run's configuration, found a\.csv",
        ),
        ({"data": {"../shop": {}}}, "'../shop' can't be the name of a data set's folder"),
        ({"base": {"train": 5}}, "train: expected keys and values, found 5"),
        ({"seeds": [0, 0]}, r"\[0, 0\] names something twice"),
        ({"seeds": [True]}, "seeds"),
        ({"metrics": ["ndgc@10"]}, "unknown metric 'ndgc@10'"),
        ({"metrics": ["hit@10", "recall@10"]}, "names something twice"),
        ({"metrics": ["hit@7"]}, "shop: hit@7 is measured nowhere"),
        ({"sweep": {"loss.beta": []}}, r"sweep\.loss\.beta"),
        ({"sweep": {"loss.beta": [0.5, 0.5]}}, r"loss\.beta: \[0\.5, 0\.5\] names a value twice"),
        ({"sweep": {"train.seed": [1, 2]}}, r"train\.seed: the suite's own seeds"),
        ({"skip": {"shop": ["weak", "H2Rec"]}}, "the suite has no runs"),
        ({"models": {"a/b": {}, "a-b": {}}}, "rows 'a/b' and 'a-b' would lie in one folder"),
        (
            {"models": {"a + b": {}, "a, b": {}}},
            "rows 'a \\+ b' and 'a, b' would have one file of tuned settings",
        ),
        (
            {"models": {"weak": {}, "H2Rec": {"evaluate": {"ks": [5, 10]}}}},
            "shop: rows 'weak' and 'H2Rec' differ in 'evaluate'",
        ),
        ({"sweep": {"data.head_share": [0.1, 0.2]}}, "differ in 'data'"),
        (
            {
                "base": {"semantic_ids": {"quantizer": "x.index.json"}},
                "sweep": {"semantic_ids.levels": [2, 3]},
            },
            r"shop: sweeping semantic_ids\.levels changes nothing",
        ),
        ({"models": {2018: {}}}, r"models\.2018: a name is text, found int"),
        ({"data": {2018: {}}}, r"data\.2018: a name is text, found int"),
        ({"models": {"H2Rec": None}}, r"models\.H2Rec: null drops a row of a suite that is extended"),
        ({"models": {" ": {}}}, "' ' can't be the name of a row"),
        ({"models": {"a\0b": {}}}, r"can't be the name of a row"),
        (
            {"models": {"weak": {"model": {"name": "sasrek"}}}},
            "shop, weak: model.name: unknown model 'sasrek'",
        ),
        ({"unswept": [["weak"]]}, "unswept"),
        ({"skip": {"shoop": ["weak"]}}, r"skip\.shoop is none of the data sets shop"),
        ({"extends": "small.yaml"}, "extends itself"),
        ({"extends": "nothing"}, "no such file, and no suite of that name"),
    ],
)
def test_suites_that_fit_nothing(suite_file, tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        Suite.load(rewritten(suite_file, **changes), tmp_path)


def test_a_key_that_stands_twice_is_an_error_with_its_line(suite_file, tmp_path):
    text = suite_file.read_text()
    line = len(text.splitlines()) + 2
    suite_file.write_text(f"{text}title: a\ntitle: b\n")
    with pytest.raises(ConfigError, match=f"small.yaml:{line}: .*the key 'title' stands twice"):
        Suite.load(suite_file, tmp_path)
    # To win over what is merged in is none.
    suite_file.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n")
    assert read_yaml(suite_file)["b"] == {"x": 3, "y": 2}


def test_what_can_not_be_used_is_told_before_anything_runs(suite_file, tmp_path, capsys, monkeypatch):
    def said(*words):
        with pytest.raises(SystemExit) as ended:
            main(["compare", str(suite_file), "--out", str(tmp_path / "out"), *words])
        assert ended.value.code != 0
        assert not (tmp_path / "out").exists()
        told = " ".join(capsys.readouterr().err.split())
        assert "Traceback" not in told
        return told

    (tmp_path / "file").touch()
    assert "file: is no folder" in said("--stages", str(tmp_path / "file"))
    assert "no row 'nope'" in said("--only", "nope", "--tables")
    for seeds in ("²", "0-", "-1"):
        assert f"--seeds {seeds}: expected numbers" in said("--seeds", seeds)
    other = tmp_path / "other.yaml"
    other.write_text("extends: small.yaml\nmodels: {weak: }\n")
    assert "no row 'weak'" in said(str(other), "--only", "weak")
    assert "no run of small, other is finished" in said(str(other), "--tables")
    monkeypatch.setenv("H2REC_DATASETS", str(tmp_path / "nowhere"))
    assert "H2REC_DATASETS names" in said("--data", "beauty")
    (tmp_path / "interactions.csv").unlink()
    assert "interactions.csv: no such file" in said()


def test_a_sweep_makes_a_row_of_each_value(suite_file, tmp_path):
    swept = {"loss.beta": [0.0, 0.5], "loss.alignment.window": [2]}
    suite = Suite.load(rewritten(suite_file, models={"H2Rec": {}}, sweep=swept), tmp_path)
    found = {job.model: (job.config.loss.beta, job.config.loss.alignment.window) for job in suite.jobs}
    assert found == {"H2Rec, beta 0.0": (0.0, 1), "H2Rec, beta 0.5": (0.5, 1), "H2Rec, window 2": (0.5, 2)}
    assert suite.settings.tested == "H2Rec, window 2"
    # Files are looked for beside the suite, wherever it is started.
    (tmp_path / "fine.index.json").write_text("{}")
    files = {"semantic_ids.quantizer": ["fine.index.json", "rqkmeans"]}
    swept = Suite.load(rewritten(suite_file, sweep=files), tmp_path)
    found = {job.config.semantic_ids.quantizer for job in swept.jobs}
    assert found == {str(tmp_path / "fine.index.json"), "rqkmeans"}
    # A key's name is as long as it must be to tell it from others.
    alike = {"loss.alignment.every": [1, 2], "loss.masking.every": [1]}
    rows = Suite.load(rewritten(suite_file, sweep=alike), tmp_path).settings.rows
    assert list(rows) == ["H2Rec, alignment every 1", "H2Rec, alignment every 2", "H2Rec, masking every 1"]
    assert tuned_file(tmp_path, "shop", "H2Rec, popularity -0.5") != tuned_file(
        tmp_path, "shop", "H2Rec, popularity 0.5"
    )


def test_what_the_command_sets_wins_over_all_but_what_is_swept(suite_file, tmp_path):
    folder = tmp_path / "tuned"
    (folder / "shop").mkdir(parents=True)
    (folder / "shop" / "weak.yaml").write_text("train: {learning_rate: 0.5}")
    rewritten(suite_file, sweep={"loss.beta": [0.0, 0.5]}, unswept=["weak"])
    asked = ["train.learning_rate=0.25", "train.epochs=7", "loss.beta=0.75"]
    suite = Suite.load(suite_file, tmp_path / "out", tuned=folder, overrides=asked)
    assert {(job.config.train.learning_rate, job.config.train.epochs) for job in suite.jobs} == {(0.25, 7)}
    assert [job.config.loss.beta for job in suite.jobs] == [0.75, 0.0, 0.5]
    with pytest.raises(ConfigError, match=r"train\.seed: a suite trains with seeds of its own"):
        Suite.load(suite_file, tmp_path / "out", overrides=["train.seed=5"])


def test_a_protocol_that_has_none_of_the_metrics_gets_no_table(suite_file, tmp_path):
    weak = yaml.safe_load(suite_file.read_text())["models"]["weak"]
    values = {"models": {"weak": weak, "Pop": {"model": {"name": "pop"}}}, "metrics": ["recall@50"]}
    rewritten(suite_file, **values)
    suite = Suite.load(suite_file, tmp_path / "out", overrides=["evaluate.ks=[50]"])
    assert suite.run() == {}
    assert {(r["protocol"], r["metric"]) for r in evidence(suite)["records"]} == {("full", "hit@50")}


def test_a_sweep_stands_on_what_was_searched_for_its_model_and_beside_models_that_are_not_swept(
    suite_file, tmp_path
):
    folder = tmp_path / "tuned"
    (folder / "shop").mkdir(parents=True)
    (folder / "shop" / "h2rec.yaml").write_text("{model: {dropout: 0.25}, loss: {beta: 0.9}}")
    (folder / "shop" / "h2rec-beta-0-5.yaml").write_text("model: {dropout: 0.35}")
    changes = {"sweep": {"loss.beta": [0.0, 0.5]}, "unswept": ["weak"]}
    suite = Suite.load(rewritten(suite_file, **changes), tmp_path / "out", tuned=folder)
    found = {job.model: (job.config.loss.beta, job.config.model.dropout) for job in suite.jobs}
    # The swept value wins over what was searched; what was searched for a row of the sweep wins over its model's.
    assert found == {"weak": (0.5, 0.3), "H2Rec, beta 0.0": (0.0, 0.25), "H2Rec, beta 0.5": (0.5, 0.35)}
    rows = suite.settings.rows
    assert (rows["weak"].key, rows["H2Rec, beta 0.5"].value) == (None, 0.5)


def test_changes_along_a_sweep_are_those_of_each_model_from_its_first_value():
    rows = {
        f"{model}, share {share}": {"model": model, "key": "text.noise.share", "value": share}
        for model in ("one", "other")
        for share in (0.0, 0.2, 0.4)
    }
    means = dict(zip(rows, [0.4, 0.3, 0.1, 0.0, 0.2, 0.1], strict=True))
    place = {"data": "shop", "protocol": "full", "slice": "tail", "metric": "hit@5"}
    records = [place | {"model": row, "mean": mean} for row, mean in means.items()]
    records += [record | {"metric": "mrr", "mean": 9.0} for record in records]
    changes = changes_along({"rows": rows, "records": records}, "hit@5")
    told = {(c["model"], c["value"]): c["relative"] for c in changes}
    assert [told["one", share] for share in (0.0, 0.2, 0.4)] == pytest.approx([0, -0.25, -0.75])
    assert [told["other", share] for share in (0.0, 0.2, 0.4)] == [None] * 3
    # Without its first value nothing can be told of a model.
    without = [record for record in records if record["model"] != "one, share 0.0"]
    told = changes_along({"rows": rows, "records": without}, "hit@5")
    assert [c["relative"] for c in told if c["model"] == "one"] == [None] * 2
    plain = {row: facts | {"key": None} for row, facts in rows.items()}
    assert changes_along({"rows": plain, "records": records}, "hit@5") == []


def test_skipped_rows_are_not_run(suite_file, tmp_path):
    suite = Suite.load(rewritten(suite_file, skip={"shop": ["weak"]}), tmp_path)
    assert {job.model for job in suite.jobs} == {"H2Rec"}


def test_extending_adds_replaces_and_drops_rows(suite_file, tmp_path):
    (tmp_path / "sub").mkdir()
    child = tmp_path / "sub" / "child.yaml"
    child.write_text("extends: ../small.yaml\nmodels: {weak: , more: {loss: {beta: 0.1}}}\nseeds: [5]\n")
    suite = Suite.load(child, tmp_path)
    assert [(job.model, job.seed) for job in suite.jobs] == [("H2Rec", 5), ("more", 5)]
    # A dropped row is dropped wherever it is named, and what is said of a row may be dropped by itself.
    rewritten(tmp_path / "small.yaml", skip={"shop": ["weak"]}, sweep={"loss.beta": [1.0]})
    rewritten(child, sweep={"loss.beta": None})
    found = Suite.load(child, tmp_path).settings
    assert (found.skip, found.sweep) == ({"shop": []}, {})
    rewritten(tmp_path / "small.yaml", contrasts={"H2Rec": ["weak"], "weak": ["H2Rec"]}, skip={}, sweep={})
    assert Suite.load(child, tmp_path).settings.contrasts == {"H2Rec": []}
    rewritten(child, contrasts={"H2Rec": None, "more": ["H2Rec"]})
    assert Suite.load(child, tmp_path).settings.contrasts == {"more": ["H2Rec"]}
    rewritten(tmp_path / "small.yaml", tuned_as={"H2Rec": "weak"}, unswept=["weak", "H2Rec"])
    found = Suite.load(child, tmp_path).settings
    assert (found.tuned_as, found.unswept) == ({}, ["H2Rec"])
    rewritten(child, models={"more": {}}, tuned_as={"H2Rec": None, "more": "weak"})
    assert Suite.load(child, tmp_path).settings.tuned_as == {"more": "weak"}
    # Paths are those of the file that they stand in.
    assert suite.jobs[0].config.data.interactions == tmp_path / "interactions.csv"


def test_contrasts_of_a_sweep_go_with_its_rows(suite_file, tmp_path):
    planned = {"H2Rec, beta 0.5": ["weak, beta 0.5", "H2Rec, beta 0.0"], "weak, beta 0.5": ["weak, beta 0.0"]}
    rewritten(suite_file, sweep={"loss.beta": [0.0, 0.5]}, contrasts=planned, reference="H2Rec, beta 0.5")
    child = tmp_path / "child.yaml"
    child.write_text("extends: small.yaml\n")
    assert Suite.load(child, tmp_path).settings.contrasts == planned
    rewritten(child, models={"weak": None})
    assert Suite.load(child, tmp_path).settings.contrasts == {"H2Rec, beta 0.5": ["H2Rec, beta 0.0"]}
    # A model whose name begins like a dropped one's stays.
    models = yaml.safe_load(suite_file.read_text())["models"]
    rewritten(suite_file, models=models | {"weak, warm": models["weak"]})
    rewritten(suite_file, contrasts={"weak, warm, beta 0.5": ["weak, warm, beta 0.0", "weak, beta 0.0"]})
    assert Suite.load(child, tmp_path).settings.contrasts == {
        "weak, warm, beta 0.5": ["weak, warm, beta 0.0"]
    }
    rewritten(suite_file, contrasts=planned)
    # Other values make other rows: what is planned of the old ones is no mistake of the suite that extends.
    rewritten(child, models={}, sweep={"loss.beta": [0.1, 0.5]})
    assert Suite.load(child, tmp_path).settings.contrasts == {}
    rewritten(child, contrasts={"H2Rec, beta 0.5": ["weak, beta 0.1"], "weak, beta 0.0": []})
    with pytest.raises(ConfigError, match=r"'weak, beta 0\.0' is none of the rows"):
        Suite.load(child, tmp_path)


@pytest.fixture
def data_sets(monkeypatch, tmp_path):
    """Files where the shipped suites look for their data sets, with nothing in them."""
    for name in ("yelp", "beauty", "scientific"):
        (tmp_path / name).mkdir()
        for ending in (".inter", ".item"):
            (tmp_path / name / f"{name}{ending}").touch()
    (tmp_path / "instruments").mkdir()
    (tmp_path / "instruments" / "instruments.inter").touch()
    (tmp_path / "instruments" / "instruments.index.json").touch()
    monkeypatch.setenv("H2REC_DATASETS", str(tmp_path))


def test_the_settings_that_were_searched_are_those_of_rows_of_the_main_suite(data_sets, tmp_path):
    tuned = Path(__file__).parents[2] / "configs" / "tuned"
    for folder in tuned.iterdir():
        suite = Suite.load("main", tmp_path / "out", data=[folder.name], tuned=tuned)
        as_other = suite.settings.tuned_as
        files = {tuned_file(tuned, data, as_other.get(row, row)) for data, row in suite.searched}
        assert files == set(folder.iterdir())
        for job in suite.jobs:
            searched = read_tuned(tuned, job.data, as_other.get(job.model, job.model))
            found = {key: value_at(job.config, key) for key in flat(searched)}
            assert found == flat(searched)


def test_every_shipped_suite_is_valid(data_sets, tmp_path):
    names = [
        "main",
        "ablation",
        "ablation_hybrid",
        "sweep_beta",
        "sweep_gamma",
        "sweep_p",
        "sweep_w",
        "sweep_codes",
        "quantizers",
    ]
    names += [
        "seesaw",
        "backbones",
        "popularity",
        "text_noise",
        "text_noise_drop",
        "text_noise_replace",
        "tiny",
    ]
    assert set(shipped_suites()) == set(names)
    for name in names:
        suite = Suite.load(name, tmp_path / "out")
        assert suite.settings.tested in {job.model for job in suite.jobs}
        # No two rows are the same experiment, but for the two sweeps of the codes that cross.
        configs = [job.config.model_dump_json() for job in suite.jobs if job.seed == 0]
        assert len(set(configs)) == len(configs) - (3 if name == "sweep_codes" else 0)
    main_rows = {job.model for job in Suite.load("main", tmp_path).jobs if job.data == "instruments"}
    assert "LLM-ESR" not in main_rows
    codes = Suite.load("main", tmp_path).jobs
    chosen = next(job for job in codes if job.data == "instruments")
    assert chosen.config.semantic_ids.quantizer == str(tmp_path / "instruments" / "instruments.index.json")


def test_the_suites_of_the_benchmarks_are_valid(data_sets, tmp_path):
    files = (Path(__file__).parents[2] / "benchmarks" / "suites").glob("*.yaml")
    suites = [path for path in files if "models:" in path.read_text()]
    assert "paper_form.yaml" in {path.name for path in suites}
    for path in suites:
        suite = Suite.load(str(path), tmp_path / "out", data=["scientific"])
        assert suite.settings.tested in {job.model for job in suite.jobs}


def test_rows_that_the_benchmarks_share_with_the_main_suite_are_its_rows(data_sets, tmp_path):
    ours = Path(__file__).parents[2] / "benchmarks" / "suites"

    def rows(suite):
        jobs = Suite.load(suite, tmp_path / "out", data=["scientific"], seeds=[0]).jobs
        return {job.model: job.config for job in jobs}

    steps, seeds, main = (
        rows(suite) for suite in (ours / "paper_form.yaml", ours / "paper_seeds.yaml", "main")
    )
    assert seeds == {name: main[name] for name in ("SASRec, warm", "H2Rec, as in the paper")}
    # The steps from the paper's form to the default begin and end at rows of the main suite.
    assert steps["as in the paper"] == main["H2Rec, as in the paper"]
    assert steps["6 every position a target"] == main["H2Rec, two branches"]
    assert steps["7 the hybrid branch"] == main["H2Rec"]
    assert steps["SASRec, warm"] == main["SASRec, warm"]


def test_data_sets_from_the_command_line(suite_file, tmp_path, monkeypatch):
    config = tmp_path / "shop.yaml"
    path = suite_path("sweep_beta")
    assert list(read_suite(path, ["mine=" + str(config), str(config), "made-shop"])["data"]) == [
        "mine",
        "shop",
        "made-shop",
    ]
    values = read_suite(path, [f"mine={config}"])
    job = Suite(SuiteSettings.parse(values), tmp_path).jobs[0]
    assert job.config.data.interactions == tmp_path / "interactions.csv"
    assert job.config.model.dim == 16
    monkeypatch.delenv("H2REC_DATASETS", raising=False)
    with pytest.raises(ConfigError, match="data set 'beauty' is not to be found"):
        read_suite(path, ["beauty"])
    monkeypatch.setenv("H2REC_DATASETS", str(tmp_path))
    (tmp_path / "shop.v2").mkdir()
    (tmp_path / "shop.v2" / "shop.v2.inter").touch()
    found = read_suite(path, ["shop.v2"])["data"]["shop.v2"]["data"]
    assert found == {"interactions": str(tmp_path / "shop.v2" / "shop.v2.inter")}
    monkeypatch.delenv("H2REC_DATASETS")
    with pytest.raises(ConfigError, match="two data sets of one name"):
        read_suite(path, [f"mine={config}", f"mine={config}"])
    with pytest.raises(ConfigError, match="shipped are: ablation"):
        suite_path("sweep_delta")


def test_later_parts_win_key_by_key():
    parts = {"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"d": 4}
    assert merged(*parts) == {"a": {"b": 1, "c": 3}, "d": 4}
    assert parts[0] == {"a": {"b": 1, "c": 2}}


def test_every_trained_row_is_searched_and_compare_takes_what_was_found(suite_file, tmp_path, monkeypatch):
    popular = {"model": {"name": "pop"}}
    models = yaml.safe_load(suite_file.read_text())["models"] | {"Pop, recent": popular}
    rewritten(suite_file, models=models, seeds=[0, 1])
    out = tmp_path / "tune"
    command = ["tune-suite", str(suite_file), "--out", str(out), "--trials", "2", "--jobs", "2"]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 0
    found = sorted(path.name for path in (out / "tuned" / "shop").iterdir())
    assert found == ["h2rec.yaml", "weak.yaml"]
    trials = json.loads((out / "search/shop/weak/trials.json").read_text())["trials"]
    best = max(trials, key=lambda trial: trial["value"])
    suite = Suite.load(suite_file, tmp_path / "out", tuned=out / "tuned")
    tuned = {job.seed: job.config for job in suite.jobs if job.model == "weak"}
    assert {seed: value_at(tuned[seed], "model.dropout") for seed in (0, 1)} == dict.fromkeys(
        (0, 1), best["settings"]["model.dropout"]
    )
    assert tuned[1].train.seed == 1
    # What was not searched stays the suite's, and a row without a file stays as it is.
    assert tuned[0].train.epochs == 1
    (recent,) = {job.config.model.dropout for job in suite.jobs if job.model == "Pop, recent"}
    assert recent == RunConfig.parse({"data": tuned[0].data.model_dump()}).model.dropout


def test_a_row_may_take_what_was_searched_for_another_one(suite_file, tmp_path):
    folder = tmp_path / "tuned"
    (folder / "shop").mkdir(parents=True)
    (folder / "shop" / "h2rec.yaml").write_text("{model: {dropout: 0.25}, loss: {beta: 0.9}}")
    less, trained = {"loss": {"beta": 0.1}}, {"train": {"epochs": 1}}
    models = {"weak": less | trained, "H2Rec": less | trained, "other": less}
    rewritten(suite_file, models=models, tuned_as={"weak": "H2Rec"})
    suite = Suite.load(suite_file, tmp_path / "out", tuned=folder)
    # What was searched for a row wins over its own keys; a row that takes it keeps what it differs by.
    assert {job.model: job.config.loss.beta for job in suite.jobs} == {
        "weak": 0.1,
        "H2Rec": 0.9,
        "other": 0.1,
    }
    assert {job.model: job.config.model.dropout for job in suite.jobs} == {
        "weak": 0.25,
        "H2Rec": 0.25,
        "other": 0.3,
    }
    assert suite.searched == [("shop", "weak"), ("shop", "H2Rec")]
    assert tune_suite(suite, 1, only=["weak"]) == {}
    assert not (tmp_path / "out" / "search").exists()
    # So do all rows of a model that is swept.
    rewritten(suite_file, models=models, tuned_as={"weak": "H2Rec"}, sweep={"loss.beta": [0.0, 0.5]})
    swept = Suite.load(suite_file, tmp_path / "swept", tuned=folder)
    assert {job.config.model.dropout for job in swept.jobs if job.model.startswith("weak")} == {0.25}
    assert tune_suite(swept, 1, only=["weak, beta 0.0"]) == {}
    assert not (tmp_path / "swept" / "search").exists()
    # The name of one row stands for all others.
    rewritten(suite_file, models=models, tuned_as="H2Rec", sweep={})
    assert Suite.load(suite_file, tmp_path).settings.tuned_as == {"weak": "H2Rec", "other": "H2Rec"}
    rewritten(suite_file, models=models, tuned_as={"weak": "H2Rec"})
    # Rows that a suite drops are no longer named.
    child = tmp_path / "child.yaml"
    child.write_text("{extends: small.yaml, models: {weak: }}")
    assert Suite.load(child, tmp_path).settings.tuned_as == {}
    child.write_text("{extends: small.yaml, models: {H2Rec: }}")
    assert Suite.load(child, tmp_path).settings.tuned_as == {}


def test_a_search_tries_what_was_found_elsewhere(suite_file, tmp_path):
    elsewhere = tmp_path / "tuned" / "other"
    elsewhere.mkdir(parents=True)
    (elsewhere / "weak.yaml").write_text("{model: {dropout: 0.25}, train: {learning_rate: 0.005, epochs: 7}}")
    third = tmp_path / "third.yaml"
    third.write_text("{model: {dropout: 0.35}}")
    suite = Suite.load(suite_file, tmp_path / "out")
    assert tune_suite(suite, 3, only=["weak"], also=[elsewhere, third]) == {}
    trials = json.loads((tmp_path / "out/search/shop/weak/trials.json").read_text())["trials"]
    settings = [trial["settings"] for trial in trials]
    assert settings[0]["model.dropout"] == 0.3
    assert (settings[1]["model.dropout"], settings[1]["train.learning_rate"]) == (0.25, 0.005)
    assert "train.epochs" not in settings[1]
    # What is not named stays as it is in the row.
    assert settings[2] == settings[0] | {"model.dropout": 0.35}
    with pytest.raises(ConfigError, match="holds no settings of a row"):
        tune_suite(suite, 2, only=["weak"], also=[elsewhere, tmp_path / "tuned" / "mistyped"])


def test_several_suites_share_their_stages_and_an_index(suite_file, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other.yaml"
    other.write_text("extends: small.yaml\ntitle: A < B\nmodels: {H2Rec: {loss: {beta: 0.1}}}\n")
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


def test_a_folder_without_tuned_settings_is_an_error(suite_file, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["compare", str(suite_file), "--tuned", str(tmp_path / "nothing")])
    assert "holds no tuned settings" in capsys.readouterr().err
