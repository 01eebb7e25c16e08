"""Settings that are searched for every row, and rows that take them."""

import json

import pytest
import yaml

from h2rec.cli.main import main
from h2rec.errors import ConfigError
from h2rec.research.search.space import value_at
from h2rec.research.suite.suite import Suite
from h2rec.research.suite.tuning import tune_suite
from made_suite import rewritten


def test_every_trained_row_is_searched_and_compare_takes_what_was_found(
    suite_file, tmp_path, in_this_process
):
    popular = {"preset": "pop"}
    models = yaml.safe_load(suite_file.read_text())["models"] | {"Pop, recent": popular}
    rewritten(suite_file, models=models, seeds=[0, 1])
    out = tmp_path / "tune"
    command = ["tune-suite", str(suite_file), "--out", str(out), "--trials", "2"]
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
    untuned = Suite.load(suite_file, tmp_path / "out")
    assert recent == next(job.config.model.dropout for job in untuned.jobs if job.model == "Pop, recent")


def test_a_row_may_take_what_was_searched_for_another_one(suite_file, tmp_path):
    folder = tmp_path / "tuned"
    (folder / "shop").mkdir(parents=True)
    (folder / "shop" / "h2rec.yaml").write_text("{model: {dropout: 0.25, ties: {alignment: {beta: 0.9}}}}")
    less, trained = {"model": {"ties": {"alignment": {"beta": 0.1}}}}, {"train": {"epochs": 1}}
    models = {"weak": less | trained, "H2Rec": less | trained, "other": less}
    rewritten(suite_file, models=models, tuned_as={"weak": "H2Rec"})
    suite = Suite.load(suite_file, tmp_path / "out", tuned=folder)
    # What was searched for a row wins over its own keys; a row that takes it keeps what it differs by.
    assert {job.model: job.config.model.ties.alignment.beta for job in suite.jobs} == {
        "weak": 0.1,
        "H2Rec": 0.9,
        "other": 0.1,
    }
    assert {job.model: job.config.model.dropout for job in suite.jobs} == {
        "weak": 0.25,
        "H2Rec": 0.25,
        "other": 0.5,
    }
    assert suite.searched == [("shop", "weak"), ("shop", "H2Rec")]
    assert tune_suite(suite, 1, only=["weak"]) == {}
    assert not (tmp_path / "out" / "search").exists()
    # So do all rows of a model that is swept.
    rewritten(
        suite_file, models=models, tuned_as={"weak": "H2Rec"}, sweep={"model.ties.alignment.beta": [0.0, 0.5]}
    )
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


def test_a_search_tries_what_was_found_elsewhere(suite_file, tmp_path, in_this_process):
    elsewhere = tmp_path / "tuned" / "other"
    elsewhere.mkdir(parents=True)
    (elsewhere / "weak.yaml").write_text("{model: {dropout: 0.25}, train: {learning_rate: 0.005, epochs: 7}}")
    third = tmp_path / "third.yaml"
    third.write_text("{model: {dropout: 0.35}}")
    suite = Suite.load(suite_file, tmp_path / "out")
    assert tune_suite(suite, 3, only=["weak"], also=[elsewhere, third]) == {}
    trials = json.loads((tmp_path / "out/search/shop/weak/trials.json").read_text())["trials"]
    settings = [trial["settings"] for trial in trials]
    assert settings[0]["model.dropout"] == 0.5
    assert (settings[1]["model.dropout"], settings[1]["train.learning_rate"]) == (0.25, 0.005)
    assert "train.epochs" not in settings[1]
    # What is not named stays as it is in the row.
    assert settings[2] == settings[0] | {"model.dropout": 0.35}
    with pytest.raises(ConfigError, match="holds no settings of a row"):
        tune_suite(suite, 2, only=["weak"], also=[elsewhere, tmp_path / "tuned" / "mistyped"])


def test_a_folder_without_tuned_settings_is_an_error(suite_file, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["compare", str(suite_file), "--tuned", str(tmp_path / "nothing")])
    assert "holds no tuned settings" in capsys.readouterr().err
