import json

import pytest
import yaml

from h2rec.cli.main import main
from h2rec.errors import ConfigError
from h2rec.experiments.comparison import compare
from h2rec.experiments.suite import Suite, merged
from made_shop import write_shop


@pytest.fixture(scope="module")
def suite_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite")
    base = yaml.safe_load(write_shop(folder, users=150).read_text())
    data = base.pop("data")
    suite = {
        "base": base,
        "data": {"shop": {"data": data}},
        "models": {
            "weak": {"model": {"name": "sasrec"}, "train": {"epochs": 1, "learning_rate": 1e-5}},
            "H2Rec": {"train": {"epochs": 12}},
        },
        "seeds": [0, 1],
        "metrics": ["hit@5", "ndcg@10"],
    }
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(suite, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def finished(suite_file, tmp_path_factory):
    suite = Suite.load(suite_file, tmp_path_factory.mktemp("out"))
    assert suite.run(jobs=2) == {}
    return suite


def test_every_model_data_set_and_seed_is_a_run(finished):
    found = {(job.data, job.model, job.seed) for job in finished.finished()}
    assert found == {("shop", model, seed) for model in ("weak", "H2Rec") for seed in (0, 1)}
    # Seeds differ in the training alone: codes and negatives are shared.
    assert len(list((finished.out / "stages").glob("semantic_ids-*"))) == 1
    assert len(list((finished.out / "stages").glob("train-*"))) == 4


def test_records_are_means_over_seeds_with_tests_against_the_last_row(finished):
    records = compare(finished)
    by_key = {(r["protocol"], r["slice"], r["metric"], r["model"]): r for r in records}
    weak, strong = (by_key["full", "overall", "hit@5", name] for name in ("weak", "H2Rec"))
    values = [
        json.loads((job.folder / "metrics.json").read_text())["test"]["full"]["overall"]["hit@5"]
        for job in finished.finished()
        if job.model == "weak"
    ]
    assert weak["mean"] == pytest.approx(sum(values) / 2)
    assert weak["spread"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert weak["difference"] == pytest.approx(strong["mean"] - weak["mean"])
    assert weak["difference"] > 0
    assert max(weak["p_bootstrap"], weak["p_t"]) < 0.05
    assert "difference" not in strong
    assert json.loads((finished.out / "results.json").read_text())["records"] == records


def test_the_command_prints_tables_of_what_is_finished(finished, suite_file, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(suite_file), "--out", str(finished.out), "--tables"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "shop, test, full" in said
    assert " +" in said


def test_a_failing_run_does_not_stop_the_others(suite_file, tmp_path):
    values = yaml.safe_load(suite_file.read_text())
    values["models"] = {
        "broken": {"model": {"name": "sasrec", "dim": 4096}},
        "fine": values["models"]["weak"],
    }
    values["seeds"] = [0]
    path = suite_file.with_name("broken.yaml")
    path.write_text(yaml.safe_dump(values))
    suite = Suite.load(path, tmp_path)
    failures = suite.run()
    assert [job.model for job in failures] == ["broken"]
    assert [job.model for job in suite.finished()] == ["fine"]


def test_a_wrong_key_names_the_run(suite_file, tmp_path):
    values = yaml.safe_load(suite_file.read_text())
    values["models"]["weak"]["trian"] = {}
    path = suite_file.with_name("wrong.yaml")
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match=r"shop, weak: unknown key 'trian', did you mean 'train'"):
        Suite.load(path, tmp_path)


def test_the_reference_must_be_a_row(suite_file, tmp_path):
    values = yaml.safe_load(suite_file.read_text()) | {"reference": "none"}
    path = suite_file.with_name("reference.yaml")
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match="none of the models"):
        Suite.load(path, tmp_path)


def test_later_parts_win_key_by_key():
    parts = {"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"d": 4}
    assert merged(*parts) == {"a": {"b": 1, "c": 3}, "d": 4}
    assert parts[0] == {"a": {"b": 1, "c": 2}}
