"""Shipped suites and those of the benchmarks, and where data sets are found."""

from pathlib import Path

import pytest

from h2rec.errors import ConfigError
from h2rec.research.suite.files import read_suite, shipped_suites, suite_path
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
        if suite.settings.base.get("preset") == "h2rec_two_branches":  # as in the paper
            assert {job.config.text.encoder for job in suite.jobs} == {"minilm"}
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


def test_model_folders_in_lists_of_encoders_are_taken_from_the_suites_folder(data_sets, tmp_path):
    (tmp_path / "model").mkdir()
    file = tmp_path / "own.yaml"
    file.write_text(
        "extends: base\ntitle: Texts\nbase: {text: {encoder: [model, tfidf]}}\ndata: {scientific: }\n"
        "models: {joined: {preset: h2rec}}\nsweep: {text.encoder: [minilm, [tfidf, model], model]}\n"
        "reference: 'joined, encoder minilm'\n"
    )
    values = read_suite(file, [])
    model = str(tmp_path / "model")
    assert values["base"]["text"]["encoder"] == [model, "tfidf"]
    assert values["sweep"]["text.encoder"] == ["minilm", ["tfidf", model], model]


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
