"""Write the suites' part of docs/results.md from the results files that `keep` left.

Run:  python -m benchmarks.suites.table [--check]
"""

from pathlib import Path
from typing import Any

from benchmarks.pages import markdown, update

from h2rec.experiments.comparison import blocks_of, column_of, significant, verdicts
from h2rec.experiments.tables import SLICES
from h2rec.files import read_json

RESULTS = Path(__file__).parent / "results"
ORDER = (
    "main",
    "backbones",
    "ablation",
    "popularity",
    "quantizers",
    "sweep_codes",
    "sweep_beta",
    "sweep_gamma",
)


def suites() -> str:
    """All kept suites, those that are read first in front."""
    found = [read_json(path) for path in sorted(RESULTS.glob("*.json"))]
    found.sort(key=lambda f: ORDER.index(f["suite"]) if f["suite"] in ORDER else len(ORDER))
    return "\n".join(section(of_suite) for of_suite in found)


def section(found: dict[str, Any]) -> str:
    """One suite: what it says in sentences, its tables, what it cost and where it comes from."""
    parts = [f"## {found['title'] or found['suite']}\n\n"]
    parts += [f"- {sentence}.\n" for sentence in verdicts(found)]
    for data, protocol in blocks_of(found):
        parts.append(f"\n### {found['suite']}: {data}, {protocol}\n\n{table(found, data, protocol)}")
    for failure in found["failures"]:
        parts.append(
            f"\nNot there: {failure['model']} on {failure['data']}, seed {failure['seed']}: {failure['error']}\n"
        )
    return "".join(parts) + f"\n{source(found)}\n"


def table(found: dict[str, Any], data: str, protocol: str) -> str:
    """Rows of one data set and protocol; bold the best, italic the second, + and - against the tested row."""
    columns = [
        (part, metric, {r["model"]: r for r in column})
        for part in SLICES
        for metric in found["metrics"]
        if (column := column_of(found, data, protocol, part, metric))
    ]
    names = list(dict.fromkeys(name for _, _, column in columns for name in column))
    heads = ["row", *(f"{part} {metric}" for part, metric, _ in columns)]
    return markdown(heads, [[name, *(_cell(column[name]) for _, _, column in columns)] for name in names])


def _cell(record: dict[str, Any]) -> str:
    if record["mean"] is None:
        return "–"
    text = f"{record['mean']:.4f}"
    text = {1: f"**{text}**", 2: f"*{text}*"}.get(record["place"], text)
    if significant(record):
        text += " +" if record["difference"] > 0 else " -"
    return text


def source(found: dict[str, Any]) -> str:
    """Command, commit, seeds, machine and cost."""
    origin, cost = found["provenance"], found["cost"]
    machine = origin["machines"][0]
    commands = ", ".join(f"`{command}`" for command in origin["commands"])
    return (
        f"{cost['runs_finished']} of {cost['runs']} runs, {cost['cpu_hours']:.1f} CPU hours; all against "
        f"{found['tested']}. {commands}, commit {', '.join(origin['commits'])}, "
        f"seeds {', '.join(map(str, origin['seeds']))}, {machine['cores']} cores, torch {machine['torch']}."
    )


if __name__ == "__main__":
    update("results.md", {"suites": suites})
