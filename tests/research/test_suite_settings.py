"""What a suite's file may ask for, and mistakes in it."""

import pytest

from h2rec.cli.main import main
from h2rec.errors import ConfigError
from h2rec.files import read_yaml
from h2rec.research.suite.files import merged
from h2rec.research.suite.suite import Suite
from made_suite import rewritten


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
        ({"base": {"loss": 5}}, "loss"),
        ({"seeds": [0, 0]}, r"\[0, 0\] names something twice"),
        ({"seeds": [True]}, "seeds"),
        ({"metrics": ["ndgc@10"]}, "unknown metric 'ndgc@10'"),
        ({"metrics": ["hit@10", "recall@10"]}, "names something twice"),
        ({"metrics": ["hit@7"]}, "shop: hit@7 is measured nowhere"),
        ({"sweep": {"model.ties.alignment.beta": []}}, r"sweep\.model\.ties\.alignment\.beta"),
        (
            {"sweep": {"model.ties.alignment.beta": [0.5, 0.5]}},
            r"model\.ties\.alignment\.beta: \[0\.5, 0\.5\] names a value twice",
        ),
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
        ({"models": {"weak": {"preset": "sasrek"}}}, "shop, weak: preset: unknown preset 'sasrek'"),
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


def test_skipped_rows_are_not_run(suite_file, tmp_path):
    suite = Suite.load(rewritten(suite_file, skip={"shop": ["weak"]}), tmp_path)
    assert {job.model for job in suite.jobs} == {"H2Rec"}


def test_later_parts_win_key_by_key():
    parts = {"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"d": 4}
    assert merged(*parts) == {"a": {"b": 1, "c": 3}, "d": 4}
    assert parts[0] == {"a": {"b": 1, "c": 2}}
