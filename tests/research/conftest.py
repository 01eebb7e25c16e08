"""A small suite, run once for all tests that look at what suites leave."""

import fcntl
import json
import os
import random
import shutil
import sys
from itertools import product

import pytest

from h2rec.research.columns import mark_places
from h2rec.research.suite.evidence import evidence
from h2rec.research.suite.report import write_suite_report
from h2rec.research.suite.suite import Suite
from h2rec.research.suite.tables import blocks_of, column_of
from h2rec.run.tables import SLICES
from made_suite import one_by_one, write_suite

ROOMS_WITH_WORKERS = ("h2rec.research.suite.suite", "h2rec.research.suite.tuning")


@pytest.fixture
def in_this_process(monkeypatch):
    """Suites and searches run in this process: a worker of their own takes seconds to begin."""
    for room in ROOMS_WITH_WORKERS:
        monkeypatch.setattr(f"{room}.side_by_side", one_by_one)


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """The folder of a small suite that is finished: its file is `small.yaml`, its runs and stages are in `out`."""
    folder = tmp_path_factory.mktemp("small")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{ROOMS_WITH_WORKERS[0]}.side_by_side", one_by_one)
        patch.setattr(sys, "argv", ["h2rec", "compare", "first"])
        assert Suite.load(write_suite(folder), folder / "out").run() == {}
    return folder


@pytest.fixture
def finished_suite(small, tmp_path):
    """The file of a suite that is finished, with all its folder a copy that a test may change."""
    shutil.copytree(small, tmp_path, dirs_exist_ok=True)
    return tmp_path / "small.yaml"


@pytest.fixture
def suite_file(tmp_path):
    """The file of a suite of two rows on a small shop."""
    return write_suite(tmp_path)


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory):
    """Where the data of `tiny` lies: the user's own cache may hold what another version made."""
    own = tmp_path_factory.getbasetemp()
    # One for all workers.
    folder = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own / "run"
    folder.mkdir(exist_ok=True)
    return folder / "cache"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, tiny_cache):
    """The shipped suite `tiny`, finished."""
    own, folder = tmp_path_factory.getbasetemp(), tiny_cache.parent
    # Workers that come later wait, and take a copy of their own.
    with pytest.MonkeyPatch.context() as patch, (folder / "tiny.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        patch.setenv("H2REC_CACHE", str(tiny_cache))
        patch.setattr(f"{ROOMS_WITH_WORKERS[0]}.side_by_side", one_by_one)
        assert Suite.load("tiny", folder / "tiny").run(jobs=1) == {}
        shutil.copytree(folder / "tiny", own / "tiny")
    return Suite.load("tiny", own / "tiny")


@pytest.fixture(scope="session")
def found(tiny):
    return evidence(tiny)


@pytest.fixture(scope="session")
def wide(found):
    """Evidence of the same form, as of a sweep on two data sets, with a failure and without the last run.

    Its figures, counts apart, are made up and no two are alike: what stands in another one's place is seen.
    """
    other = json.loads(json.dumps(found))
    other["data"]["other shop"] = other["data"]["made-shop"]
    for name in (
        "records",
        "contrasts",
        "groups",
        "weighted_head",
        "exposure",
        "intent",
        "shares",
        "codes",
        "curves",
    ):
        other[name] += [entry | {"data": "other shop"} for entry in other[name]]
    numbers = random.Random(0).sample(range(1000, 10000), 9000)
    other = redrawn(other, numbers)
    made_up_tests(other, numbers)
    # Rows on the same codes are told once: all are on the first one's, but for the tested row.
    half = len(other["codes"]) // 2
    for *same, own in (other["codes"][:half], other["codes"][half:]):
        for row in same[1:]:
            row["levels"] = same[0]["levels"]
        for level in same[0]["levels"] + own["levels"]:
            level["used"] = numbers.pop() % 15 + 1
    for curve in other["curves"]:
        curve["selected_by"] = "full.overall.hit@10"
        # The same for all seeds of a row.
        curve["parameters"] += len(curve["data"] + curve["model"])
    for value, name in enumerate(("H2Rec, no alignment", "H2Rec")):
        other["rows"][name] |= {"model": "H2Rec", "key": "model.ties.alignment.beta", "value": value / 2}
    other["failures"] = [{"data": "other shop", "model": "<Pop>", "seed": 3, "error": "a & b <script>"}]
    other["cost"]["runs"] += 1
    return other


def redrawn(value, numbers):
    """A value with another number, below one and of four digits, for every float in it."""
    if isinstance(value, dict):
        return {name: redrawn(part, numbers) for name, part in value.items()}
    if isinstance(value, list):
        return [redrawn(part, numbers) for part in value]
    return numbers.pop() / 10000 if isinstance(value, float) else value


def made_up_tests(found, numbers):
    """Tests and places that fit the means, about half of them significant."""
    names = ("data", "protocol", "slice", "metric")
    means = {(*map(r.get, names), r["model"]): r["mean"] for r in found["records"]}
    for r in found["records"] + found["contrasts"]:
        place = tuple(map(r.get, names))
        rows = (r["model"], r["other"]) if "other" in r else (found["tested"], r["model"])
        if len(set(rows)) == 1:
            continue
        ours, theirs = (means[*place, row] for row in rows)
        difference = ours - theirs
        low, high, one_p, other_p, effect = (numbers.pop() / 10000 for _ in range(5))
        r |= {"difference": difference, "relative": difference / theirs, "effect_size": effect}
        r |= {
            "low": difference - low,
            "high": difference + high,
            "p_bootstrap": one_p / 15,
            "p_t": other_p / 15,
        }
    for (data, protocol), part, metric in product(blocks_of(found), SLICES, found["metrics"]):
        mark_places(list(column_of(found, data, protocol, part, metric).values()))


@pytest.fixture(scope="session")
def page(wide, tmp_path_factory):
    """The report of `wide`."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_suite_report(path, wide)
    return path
