"""The figures of the page on freshness are those of the results files."""

import json
import re
from pathlib import Path

from h2rec.research.replay.report import cost_of
from pages import text_of

RESULTS = Path(__file__).parents[1] / "benchmarks" / "freshness" / "results"


def test_the_table_of_the_replays_is_that_of_the_results():
    told = {
        cells[0]: cells[1:]
        for line in text_of("fresh.md").splitlines()
        if len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 6
    }
    found = [json.loads((RESULTS / f"replay-{name}.json").read_text()) for name in ("scientific", "ml-100k")]
    for name in found[0]["strategies"]:
        expected = []
        for results in found:
            overall = results["overall"][name]
            expected.append(f"{overall['all']['ndcg@100']:.4f}")
            if results["replay"] == "ml-100k":
                expected.append(f"{overall['new items']['ndcg@100']:.4f}")
            expected.append(re.sub(r"^0\.0$", "0", f"{cost_of(results, name):.1f}"))
        assert told[name] == expected


def test_the_table_of_times_is_that_of_the_results():
    results = json.loads((RESULTS / "time-ml-100k.json").read_text())
    rows = [
        [cell.strip() for cell in line.split("|")[2:-1]]
        for line in text_of("fresh.md").partition("| what time does")[2].splitlines()[2:]
        if line.startswith("|")
    ]
    parts = results["replay"], results["leave_one_out"]
    assert rows == [
        [text for part in parts for text in (f"{part[name]['ndcg@100']:.4f}", _p(part[name]))]
        for name in results["replay"]
    ]


def _p(row):
    return f"{row['p']:.{4 if row['p'] < 0.001 else 3}f}" if "p" in row else ""
