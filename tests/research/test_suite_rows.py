"""Rows: sweeps, suites that extend others, and what is set for all."""

import pytest
import yaml

from h2rec.errors import ConfigError
from h2rec.research.suite.files import tuned_file
from h2rec.research.suite.suite import Suite
from made_suite import rewritten


def test_a_sweep_makes_a_row_of_each_value(suite_file, tmp_path):
    swept = {"model.ties.alignment.beta": [0.0, 0.5], "model.ties.alignment.window": [2]}
    suite = Suite.load(rewritten(suite_file, models={"H2Rec": {}}, sweep=swept), tmp_path)
    ties = {job.model: job.config.model.ties.alignment for job in suite.jobs}
    found = {row: (alignment.beta, alignment.window) for row, alignment in ties.items()}
    assert found == {"H2Rec, beta 0.0": (0.0, 1), "H2Rec, beta 0.5": (0.5, 1), "H2Rec, window 2": (0.5, 2)}
    assert suite.settings.tested == "H2Rec, window 2"
    # Files are looked for beside the suite, wherever it is started.
    (tmp_path / "fine.index.json").write_text("{}")
    files = {"semantic_ids.quantizer": ["fine.index.json", "rqkmeans"]}
    swept = Suite.load(rewritten(suite_file, sweep=files), tmp_path)
    found = {job.config.semantic_ids.quantizer.name for job in swept.jobs}
    assert found == {str(tmp_path / "fine.index.json"), "rqkmeans"}
    # A key's name is as long as it must be to tell it from others.
    alike = {"model.ties.temperature": [1, 2], "model.temperature": [1]}
    rows = Suite.load(rewritten(suite_file, sweep=alike), tmp_path).settings.rows
    assert list(rows) == [
        "H2Rec, model ties temperature 1",
        "H2Rec, model ties temperature 2",
        "H2Rec, model temperature 1",
    ]
    assert tuned_file(tmp_path, "shop", "H2Rec, weight -0.5") != tuned_file(
        tmp_path, "shop", "H2Rec, weight 0.5"
    )


def test_what_the_command_sets_wins_over_all_but_what_is_swept(suite_file, tmp_path):
    folder = tmp_path / "tuned"
    (folder / "shop").mkdir(parents=True)
    (folder / "shop" / "weak.yaml").write_text("train: {learning_rate: 0.5}")
    rewritten(suite_file, sweep={"model.temperature": [0.05, 0.06]}, unswept=["weak"])
    asked = ["train.learning_rate=0.25", "train.epochs=7", "model.temperature=0.1"]
    suite = Suite.load(suite_file, tmp_path / "out", tuned=folder, overrides=asked)
    assert {(job.config.train.learning_rate, job.config.train.epochs) for job in suite.jobs} == {(0.25, 7)}
    assert [job.config.model.temperature for job in suite.jobs] == [0.1, 0.05, 0.06]
    with pytest.raises(ConfigError, match=r"train\.seed: a suite trains with seeds of its own"):
        Suite.load(suite_file, tmp_path / "out", overrides=["train.seed=5"])


def test_a_sweep_stands_on_what_was_searched_for_its_model_and_beside_models_that_are_not_swept(
    suite_file, tmp_path
):
    folder = tmp_path / "tuned"
    (folder / "shop").mkdir(parents=True)
    (folder / "shop" / "h2rec.yaml").write_text("{model: {dropout: 0.25, ties: {alignment: {beta: 0.9}}}}")
    (folder / "shop" / "h2rec-beta-0-5.yaml").write_text("model: {dropout: 0.35}")
    changes = {"sweep": {"model.ties.alignment.beta": [0.0, 0.5]}, "unswept": ["weak"]}
    suite = Suite.load(rewritten(suite_file, **changes), tmp_path / "out", tuned=folder)
    found = {
        job.model: (job.config.model.ties.alignment.beta, job.config.model.dropout) for job in suite.jobs
    }
    # The swept value wins over what was searched; what was searched for a row of the sweep wins over its model's.
    assert found == {"weak": (0.5, 0.5), "H2Rec, beta 0.0": (0.0, 0.25), "H2Rec, beta 0.5": (0.5, 0.35)}
    rows = suite.settings.rows
    assert (rows["weak"].key, rows["H2Rec, beta 0.5"].value) == (None, 0.5)


def test_extending_adds_replaces_and_drops_rows(suite_file, tmp_path):
    (tmp_path / "sub").mkdir()
    child = tmp_path / "sub" / "child.yaml"
    child.write_text("extends: ../small.yaml\nmodels: {weak: , more: {model: {dropout: 0.1}}}\nseeds: [5]\n")
    suite = Suite.load(child, tmp_path)
    assert [(job.model, job.seed) for job in suite.jobs] == [("H2Rec", 5), ("more", 5)]
    # A dropped row is dropped wherever it is named, and what is said of a row may be dropped by itself.
    rewritten(tmp_path / "small.yaml", skip={"shop": ["weak"]}, sweep={"model.dropout": [0.5]})
    rewritten(child, sweep={"model.dropout": None})
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
    rewritten(
        suite_file,
        sweep={"model.ties.alignment.beta": [0.0, 0.5]},
        contrasts=planned,
        reference="H2Rec, beta 0.5",
    )
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
    rewritten(child, models={}, sweep={"model.ties.alignment.beta": [0.1, 0.5]})
    assert Suite.load(child, tmp_path).settings.contrasts == {}
    rewritten(child, contrasts={"H2Rec, beta 0.5": ["weak, beta 0.1"], "weak, beta 0.0": []})
    with pytest.raises(ConfigError, match=r"'weak, beta 0\.0' is none of the rows"):
        Suite.load(child, tmp_path)
