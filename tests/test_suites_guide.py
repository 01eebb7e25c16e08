"""The guide to suites names what there is, and its example is a suite."""

import re
from pathlib import Path

from h2rec.research.suite.files import shipped_suites
from h2rec.research.suite.suite import Suite

GUIDE = (Path(__file__).parents[1] / "docs" / "suites.md").read_text(encoding="utf-8")


def test_the_table_names_every_shipped_suite():
    table = "".join(line.split("|")[1] for line in GUIDE.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`([a-z_]+)`", table)) == set(shipped_suites())


def test_the_example_is_a_suite(tmp_path):
    example = re.search(r"```yaml\n(# my_suite.*?)```", GUIDE, re.DOTALL)[1]
    (tmp_path / "my_suite.yaml").write_text(example)
    suite = Suite.load(tmp_path / "my_suite.yaml", tmp_path / "out")
    assert [job.model for job in suite.jobs if job.seed == 0] == ["SASRec", "hash IDs alone", "H2Rec"]
    assert suite.settings.tested == "H2Rec"
    assert suite.jobs[0].config.train.epochs == 40
    assert suite.jobs[0].config.data.interactions == tmp_path / "purchases.parquet"


def test_rows_of_other_systems_fit_into_the_example(tmp_path):
    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    (tmp_path / "my_suite.yaml").write_text("".join(blocks[:2]))
    suite = Suite.load(tmp_path / "my_suite.yaml", tmp_path / "out")
    assert {job.model: job.answers.path for job in suite.jobs if job.answers is not None} == {
        "our ALS": tmp_path / "als.parquet",
        "old shop": tmp_path / "old_ranks.csv",
    }
