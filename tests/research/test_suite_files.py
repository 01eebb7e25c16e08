"""Shipped suites and those of the benchmarks, and where data sets are found."""

from pathlib import Path

import pytest

from h2rec.errors import ConfigError
from h2rec.research.search.space import value_at
from h2rec.research.suite.files import flat, read_suite, read_tuned, shipped_suites, suite_path, tuned_file
from h2rec.research.suite.settings import SuiteSettings
from h2rec.research.suite.suite import Suite


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
        "parts",
        "sizes",
        "ablation",
        "sweep_beta",
        "sweep_gamma",
        "sweep_p",
        "sweep_w",
        "sweep_codes",
        "quantizers",
    ]
    names += [
        "text_noise",
        "text_noise_drop",
        "text_noise_replace",
        "tiny",
    ]
    assert set(shipped_suites()) == set(names)
    for name in names:
        # Of the shipped ones that of the quick try alone has data of its own.
        suite = Suite.load(name, tmp_path / "out", data=[] if name == "tiny" else ["scientific"])
        assert suite.settings.tested in {job.model for job in suite.jobs}
        # No two rows are the same experiment, but for the two sweeps of the codes that cross.
        keys = [job.config.key for job in suite.jobs if job.seed == 0]
        assert len(set(keys)) == len(keys) - (1 if name == "sweep_codes" else 0)
    with pytest.raises(ConfigError, match=r"main: the suite names no data set of its own\n.*--data"):
        Suite.load("main", tmp_path / "out")


def test_a_data_set_without_text_is_read_from_published_codes(data_sets, tmp_path):
    ours = Path(__file__).parents[2] / "benchmarks" / "suites" / "main_instruments.yaml"
    suite = Suite.load(ours, tmp_path / "out")
    rows, every = (
        {job.model for job in suite.jobs},
        set(Suite.load("main", tmp_path, data=["scientific"]).settings.rows),
    )
    assert {job.data for job in suite.jobs} == {"instruments"}
    # What can't be made without text is not run.
    assert every - rows == set(suite.settings.skip["instruments"])
    assert "LLM-ESR" not in rows
    files = {job.config.semantic_ids.quantizer.name for job in suite.jobs}
    assert files == {str(tmp_path / "instruments" / "instruments.index.json")}


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
    last, ours = (flat(config.model_dump()) for config in (steps["7 the branch of prefixes"], main["H2Rec"]))
    differing = {key.rpartition(".")[2] for key in {*last, *ours} if last.get(key) != ours.get(key)}
    # It keeps the learning settings of the steps before it.
    assert differing == {"learning_rate", "batch_tokens", "temperature", "dropout"}
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
    # Which model it is of is the rows' to say, however the configuration names one.
    assert job.config.preset == "h2rec_two_branches"
    light = tmp_path / "light.yaml"
    light.write_text(config.read_text().replace("name: h2rec, ", "") + "preset: light\n")
    values = read_suite(path, [f"mine={light}"])
    assert Suite(SuiteSettings.parse(values), tmp_path).jobs[0].config == job.config
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
