"""The cost model holds what its page says: points that it was not fitted on within 25%."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.scaling.model import BLIND, RESULTS, STAGES, Costs, checked  # noqa: E402

from h2rec.files import read_json  # noqa: E402

MEASURED, UNSEEN = (read_json(path)["measured"] for path in (RESULTS, BLIND))


@pytest.mark.parametrize("name", STAGES)
def test_what_was_not_fitted_on_is_predicted_within_a_quarter(name):
    points = [row for row in checked(MEASURED) if row["stage"] == name]
    others = [row for row in points if not row["fitted"]]
    assert len(others) >= 3
    assert len(points) - len(others) == len(STAGES[name].fitted)
    unseen = [row for row in checked(MEASURED, UNSEEN) if row["stage"] == name]
    assert len(unseen) >= 2
    seen = {(row["items"], row["width"]) for row in points}
    assert not seen & {(row["items"], row["width"]) for row in unseen}
    assert not [row for row in [*others, *unseen] if abs(row["error"]) > 0.25]


@pytest.mark.parametrize("name", STAGES)
def test_constants_know_nothing_of_the_points_that_check_them(name):
    falsified = [
        row if (row["items"], row["width"]) in STAGES[row["stage"]].fitted else row | {"value": 1e9}
        for row in MEASURED
    ]
    assert Costs(MEASURED).constants[name] == Costs(falsified).constants[name]


def test_the_page_has_what_the_model_says():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scaling.table", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
