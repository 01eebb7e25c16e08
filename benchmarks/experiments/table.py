"""Write the tables of docs/experiments.md and docs/offline_estimates.md from the results files.

Run:  python -m benchmarks.experiments.table [--check]
"""

from pathlib import Path
from typing import Any

from benchmarks.pages import command_in, cores, markdown, update

from h2rec.files import read_json

RESULTS = Path(__file__).parent / "results"


def error_rates() -> str:
    results = read_json(RESULTS / "error_rates.json")
    first, second, lifted, split = (v for v in results.values() if isinstance(v, dict) and "machine" not in v)
    rows = []
    for name in first:
        if name.startswith(("covers", "day of the end")):
            continue
        method, _, metric = name.rpartition(", ")
        covers = lifted.get(f"covers: {'at all looks' if method == 'a look every day' else method}, {metric}")
        if method.startswith(("without", "confidence")):
            covers = None
        rows.append(
            [method, metric, told(first[name]), told(second[name]), found(lifted[name]), told(covers)]
        )
    heads = ["method", "metric"]
    heads += [
        f"false alarms, {name.removeprefix('no lift, ')}"
        for name in list(results)
        if name.startswith("no lift")
    ]
    heads += [f"a lift of {results['lift']:.0%} found (expected)", "interval covers the lift"]
    checks = [[name, told(row), f"{row['expected']:.3f}"] for name, row in split.items()]
    return (
        markdown(heads, rows, text_columns=2)
        + f"\nThe check of the split, of 20,000 users, {results['experiments']:,} times:\n\n"
        + markdown(["the arms", "found", "expected"], checks)
        + f"\nIn brackets the exact 95% interval of the rate. {origin(results)}"
    )


def open_bandit() -> str:
    results = read_json(RESULTS / "open_bandit.json")
    rows = [
        [
            row["campaign"],
            f"{row['logged']}, of {row['asked']}",
            f"{row['true']:.4f}",
            *(
                f"{row[name]['value']:.4f} ({row[name]['z']:+.1f})"
                for name in ("ips", "snips", "doubly_robust")
            ),
            f"{row['effective_rows']:,}",
            str(len(row["warnings"])),
        ]
        for row in results["rows"]
    ]
    heads = [
        "Open Bandit, campaign",
        "log, of policy",
        "its own clicks",
        "inverse propensities",
        "self-normalised",
    ]
    heads += ["doubly robust", "effective rows of 10,000", "warnings"]
    return (
        markdown(heads, rows, text_columns=2)
        + f"\nIn brackets the distance to its own clicks in standard errors of both. {origin(results)}"
    )


def told(row: dict[str, float] | None) -> str:
    return "" if row is None else f"{row['rate']:.3f} ({row['low']:.3f} to {row['high']:.3f})"


def found(row: dict[str, float]) -> str:
    return f"{row['rate']:.3f}" + (f" ({row['expected']:.3f})" if "expected" in row else "")


def origin(results: dict[str, Any]) -> str:
    from_ = results["provenance"]
    return (
        f"`{command_in('experiments', from_['command'])}`, commit `{from_['commit']}`, seed {from_['seed']}, "
        f"{from_['date'][:10]}, {cores(from_['machine'])}.\n"
    )


if __name__ == "__main__":
    update(
        {"experiments.md": {"error_rates": error_rates}, "offline_estimates.md": {"open_bandit": open_bandit}}
    )
