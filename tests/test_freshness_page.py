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
