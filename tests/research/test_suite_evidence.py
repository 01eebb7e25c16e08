"""What a finished suite tells of its runs, against the runs' own files."""

import io
import json

import polars as pl
import pytest
from rich.console import Console

from h2rec.evaluation.significance import compare_models
from h2rec.research.suite.evidence import evidence, mean_shares
from h2rec.research.suite.results import RESULTS_FILE, read_results
from h2rec.research.suite.suite import Suite
from h2rec.research.suite.terminal import comparison_table, contrast_table
from h2rec.run.presets import preset_values


def test_every_model_data_set_and_seed_is_a_run(tiny):
    found = {(job.data, job.model, job.seed) for job in tiny.finished()}
    rows = (
        "Pop",
        "SASRec, warm",
        "Two HID branches",
        "H2Rec, no alignment",
        "H2Rec, all branches",
        "H2Rec",
    )
    assert found == {("made-shop", model, seed) for model in rows for seed in (0, 1)}
    # Seeds differ in the training alone: codes and negatives are shared, though two runs asked for them at once.
    assert len(list((tiny.out / "stages").glob("semantic_ids-*"))) == 1
    assert len(list((tiny.out / "stages").glob("train-*"))) == 12
    # A suite has rows of its own to stand beside.
    assert not list((tiny.out / "stages").glob("baseline_*"))


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
    assert read_results(tiny.out / RESULTS_FILE) == json.loads(json.dumps(found))


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
    assert set(blends) == {"Two HID branches", "H2Rec, no alignment", "H2Rec, all branches", "H2Rec"}
    assert list(blends["H2Rec, all branches"]) == [*preset_values("h2rec")["model"]["branches"], "popularity"]
    # What is configured to weigh nothing stays so.
    assert blends["H2Rec, all branches"]["popularity"] == [0.0, 0.0]
    runs = [
        json.loads((job.folder / "metrics.json").read_text())["blend"]["weights"]
        for job in tiny.finished()
        if job.model == "H2Rec"
    ]
    assert blends["H2Rec"] == {branch: [of_run[branch] for of_run in runs] for branch in runs[0]}
    assert len(runs) == 2


def test_shares_of_seeds_with_and_without_a_weight_of_popularity_are_averaged():
    of_seeds = [
        {"branches": ["codes", "ids"], "by_rank": {"1": [0.2, 0.8]}, "by_popularity": {"0": [0.5, 0.5]}},
        {
            "branches": ["codes", "ids", "popularity"],
            "by_rank": {"1": [0.4, 0.5, 0.1]},
            "by_popularity": {"0": [0.1, 0.7, 0.2], "1": [0.2, 0.2, 0.6]},
        },
    ]
    found = mean_shares(of_seeds)
    assert found["branches"] == ["codes", "ids", "popularity"]
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


def test_every_curve_has_the_validation_value_of_what_was_chosen(tiny):
    values = {(c["model"], c["seed"]): c["selected_value"] for c in evidence(tiny)["curves"]}
    raised = 0
    for job in tiny.finished():
        metrics = json.loads((job.folder / "metrics.json").read_text())
        of_epoch = metrics["training"]["best_value"]
        chosen = metrics["blend"]["value"] if "blend" in metrics else of_epoch
        assert values[job.model, job.seed] == chosen
        assert (chosen is None) == (job.model == "Pop")
        raised += chosen != of_epoch
    assert raised


def test_without_the_stages_of_trainings_the_values_of_what_was_chosen_stay(tiny, monkeypatch):
    values = [curve["selected_value"] for curve in evidence(tiny)["curves"]]
    monkeypatch.setattr(tiny, "stages", tiny.out / "nowhere")
    curves = evidence(tiny)["curves"]
    assert [curve["loss"] for curve in curves] == [[]] * len(curves)
    assert [curve["selected_value"] for curve in curves] == values


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
