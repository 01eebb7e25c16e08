"""The search: first the given settings, then the sampler's; resumed, recorded, selected on validation."""

import json
import sys

import optuna
import pytest
import yaml

from h2rec.cli.main import main
from h2rec.errors import ConfigError, H2RecError, MissingExtraError
from h2rec.research.search import study
from h2rec.research.search.space import Range, default_space, read_space, value_at, with_values
from h2rec.research.search.study import tune
from h2rec.run.config import RunConfig
from h2rec.run.pipeline import Pipeline
from h2rec.run.presets import preset_names
from made_shop import write_shop

SPACE = {
    "train.learning_rate": Range(low=1e-3, high=3e-2, log=True),
    "model.dropout": Range(low=0.0, high=0.5),
    "loss.negatives.count": Range(choices=[10, 20]),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    config = RunConfig.load(write_shop(folder, users=40), ["model.name=sasrec_warm", "train.epochs=1"])
    return config, folder / "stages"


@pytest.fixture
def of_preset(shop):
    """The configuration of the shop with another preset."""

    def made(name, *overrides):
        return RunConfig.load(shop[1].parent / "shop.yaml", [f"model.name={name}", *overrides])

    return made


@pytest.fixture(scope="module")
def found(shop, tmp_path_factory):
    config, stages = shop
    out = tmp_path_factory.mktemp("tuned")
    return tune(config, 3, out, space=SPACE, stages=stages), out


def test_the_first_trial_is_the_configuration_as_it_is(shop, found):
    config, _ = shop
    first = found[0].trials[0].settings
    assert first == {key: value_at(config, key) for key in SPACE}


def test_trials_differ_and_stay_in_their_ranges(found):
    tried = [trial.settings for trial in found[0].trials]
    assert len({json.dumps(settings) for settings in tried}) == 3
    assert all(SPACE[key].holds(value) for settings in tried for key, value in settings.items())


def test_the_best_on_validation_is_the_result_and_the_record_says_so(shop, found):
    config, stages = shop
    result, out = found
    assert result.value == max(trial.value for trial in result.trials)
    best = RunConfig.load(out / "best.yaml")
    assert best == result.best
    assert Pipeline(best, out / "again", stages).validation_value() == result.value
    record = json.loads((out / "trials.json").read_text())
    assert record["selected_by"] == "valid full.overall.ndcg@100"
    assert [trial["value"] for trial in record["trials"]] == [trial.value for trial in result.trials]
    assert record["provenance"]["seed"] == config.train.seed


class Killed(BaseException):
    pass


def test_a_search_that_was_killed_in_a_training_ends_as_an_unbroken_one(shop, found, tmp_path, monkeypatch):
    config, stages = shop
    validation_value = Pipeline.validation_value
    seen = []

    def killed_in_the_second(self):
        seen.append(self)
        if len(seen) == 2:
            raise Killed
        return validation_value(self)

    monkeypatch.setattr(Pipeline, "validation_value", killed_in_the_second)
    with pytest.raises(Killed):
        tune(config, 3, tmp_path, space=SPACE, stages=stages)
    resumed = tune(config, 3, tmp_path, space=SPACE, stages=stages)
    key = [(trial.settings, trial.value) for trial in resumed.trials]
    assert key == [(trial.settings, trial.value) for trial in found[0].trials]
    # The killed training was begun once more, and the first one not.
    assert len(seen) == 4


def test_asking_again_trains_nothing_and_more_trials_add_to_the_record(shop, found, tmp_path, monkeypatch):
    config, stages = shop
    first = tune(config, 1, tmp_path, space=SPACE, stages=stages)
    count = []
    validation_value = Pipeline.validation_value
    monkeypatch.setattr(Pipeline, "validation_value", lambda self: count.append(1) or validation_value(self))
    assert tune(config, 1, tmp_path, space=SPACE, stages=stages).trials == first.trials
    assert not count
    more = tune(config, 2, tmp_path, space=SPACE, stages=stages)
    assert len(count) == 1
    assert more.trials == found[0].trials[:2]


def test_a_failed_training_is_on_record_and_the_search_goes_on(shop, tmp_path, monkeypatch):
    config, stages = shop
    validation_value = Pipeline.validation_value
    seen = []

    def diverges_once(self):
        seen.append(self)
        if len(seen) == 2:
            raise H2RecError("training diverged")
        return validation_value(self)

    monkeypatch.setattr(Pipeline, "validation_value", diverges_once)
    result = tune(config, 3, tmp_path, space=SPACE, stages=stages)
    assert [trial.error for trial in result.trials] == [None, "training diverged", None]
    assert result.trials[1].value is None


def test_a_training_that_falls_behind_is_stopped_and_is_on_record(shop, tmp_path, monkeypatch):
    config = with_values(shop[0], {"train.epochs": 6, "train.evaluate_every": 1})
    drawn = iter([3e-3, 5e-3, 8e-3, 1e-6, 1.2e-2])  # each of the others is ahead of those before it
    monkeypatch.setattr(study, "_suggest", lambda trial, key, space: next(drawn))
    space = {"train.learning_rate": Range(low=1e-7, high=3e-2, log=True)}
    result = tune(config, 5, tmp_path, space=space, stages=shop[1])
    # Until a third of the epochs nothing is stopped, and what learns nothing is stopped then.
    assert [trial.stopped_after for trial in result.trials] == [None, None, None, 2, None]
    assert result.trials[3].value is None
    assert result.best.train.learning_rate >= 3e-3


def test_what_lies_outside_the_ranges_is_not_tried_and_that_is_said(shop, tmp_path, caplog):
    config, stages = shop
    result = tune(config, 2, tmp_path, space=SPACE, also=[{"model.dropout": 0.9}], stages=stages)
    assert result.trials[1].settings["model.dropout"] <= 0.5
    assert "model.dropout lies outside the ranges" in caplog.text


def test_nothing_is_tried_twice_as_long_as_there_is_something_else(shop, tmp_path):
    config, stages = shop
    space = {"loss.negatives.count": Range(choices=[10, 20, 30])}
    config = with_values(config, {"loss.negatives.count": 20})
    also = [{"loss.negatives.count": 20}, {"loss.negatives.count": 30}]
    result = tune(config, 4, tmp_path, space=space, also=also, stages=stages)
    tried = [trial.settings["loss.negatives.count"] for trial in result.trials]
    assert tried[:2] == [20, 30]
    assert set(tried[:3]) == {10, 20, 30}
    assert len(tried) == 4


def test_what_a_killed_training_had_shown_still_counts(shop, tmp_path, monkeypatch):
    config = with_values(shop[0], {"train.epochs": 6, "train.evaluate_every": 1})
    space = {"train.learning_rate": Range(low=1e-4, high=3e-2, log=True)}
    reported = []
    report = optuna.trial.Trial.report

    def killed_at_the_third(self, value, step):
        report(self, value, step)
        reported.append((self.number, step))
        if len(reported) == 3:
            raise Killed

    monkeypatch.setattr(optuna.trial.Trial, "report", killed_at_the_third)
    with pytest.raises(Killed):
        tune(config, 1, tmp_path, space=space, stages=shop[1])
    tune(config, 1, tmp_path, space=space, stages=shop[1])
    study = optuna.load_study(study_name="h2rec", storage=f"sqlite:///{tmp_path / 'study.db'}")
    (whole,) = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    assert sorted(whole.intermediate_values) == [1, 2, 3, 4, 5, 6]


def test_another_search_in_the_same_folder_is_refused(shop, found):
    config, stages = shop
    with pytest.raises(ConfigError, match="search of another configuration"):
        tune(with_values(config, {"train.epochs": 2}), 3, found[1], space=SPACE, stages=stages)


def test_an_unknown_key_in_the_space_is_an_error(shop, tmp_path):
    with pytest.raises(ConfigError, match=r"no key 'train\.rate'"):
        tune(shop[0], 1, tmp_path, space={"train.rate": Range(low=0, high=1)})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train.learning_rate: {low: 2, high: 1}", "greater 'high'"),
        ("train.learning_rate: {low: 0, high: 1, log: true}", "'low' above zero"),
        ("train.learning_rate: {choices: [1], low: 1}", "goes without"),
        ("train.learning_rate: 3", "expected"),
        ("train.learning_rate: {lo: 1, high: 2}", "did you mean 'low'"),
    ],
)
def test_a_bad_range_is_named(tmp_path, text, message):
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_space(path)


@pytest.mark.parametrize("name", preset_names())
def test_the_default_space_fits_every_preset(of_preset, name):
    config = of_preset(name)
    space = default_space(config)
    assert bool(space) == (name != "transitions")  # which has nothing to search
    for key, among in space.items():
        ends = among.choices or [among.low, among.high]
        for value in ends:
            assert value_at(with_values(config, {key: value}), key) == value


def test_where_there_is_nothing_to_search_the_search_says_so(of_preset, tmp_path):
    with pytest.raises(ConfigError, match="transitions has no setting to search"):
        tune(of_preset("transitions"), 1, tmp_path)


def test_popularity_is_tuned_without_training(shop, of_preset, tmp_path):
    result = tune(of_preset("pop"), 2, tmp_path, stages=shop[1])
    assert all(trial.value > 0 for trial in result.trials)


def test_without_optuna_the_extra_is_named(shop, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"h2rec\[tune\]"):
        tune(shop[0], 1, tmp_path, space=SPACE)


def test_the_command_prints_the_best_and_leaves_the_files(tmp_path, capsys):
    config = write_shop(tmp_path, users=40)
    (tmp_path / "space.yaml").write_text("train.learning_rate: {low: 1.0e-3, high: 1.0e-2, log: true}")
    arguments = [
        "tune",
        str(config),
        "--set",
        "model.name=sasrec",
        "--set",
        "train.epochs=1",
        "--trials",
        "1",
    ]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--space", str(tmp_path / "space.yaml"), "--out", str(tmp_path / "out")])
    assert ended.value.code == 0
    assert "train.learning_rate=0.01" in capsys.readouterr().out
    assert yaml.safe_load((tmp_path / "out" / "best.yaml").read_text())["preset"] == "sasrec"
    assert (tmp_path / "out" / "trials.json").exists()


def test_what_is_drawn_is_rounded_to_what_a_person_would_write(found):
    for trial in found[0].trials[1:]:
        assert float(f"{trial.settings['model.dropout']:.3g}") == trial.settings["model.dropout"]


def test_the_default_space_knows_what_a_configuration_does_not_use(of_preset):
    inner = default_space(of_preset("h2rec", "model.temperature=null"))
    assert not [key for key in inner if key.endswith("temperature")]
    assert [key for key in default_space(of_preset("h2rec")) if key.endswith("temperature")]
    two, without = "h2rec_two_branches", "model.ties.alignment.beta=0.0"
    assert "model.ties.alignment.beta" in default_space(of_preset(two))
    assert "model.ties.alignment.beta" not in default_space(of_preset(two, without))
    assert "model.ties.alignment.beta" not in default_space(of_preset("h2rec"))
    assert "model.mask_share" in default_space(of_preset("h2rec", "model.backbone=bert4rec"))
    assert "model.mask_share" not in default_space(of_preset("h2rec"))
