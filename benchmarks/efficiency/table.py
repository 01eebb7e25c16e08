"""Write the efficiency table of docs/results.md from its results file.

Run:  python -m benchmarks.efficiency.table [--check]
"""

from pathlib import Path
from typing import Any

from benchmarks.pages import cores, markdown, update

from h2rec.files import read_json

RESULTS = Path(__file__).parent / "results" / "efficiency.json"
TEXT = """## What the models cost

Made catalogues and histories of one length; every model with the same sizes, 512 shared negatives, one thread. Times
are CPU seconds. Peak memory is that of the whole process, Python and torch included. Codes are drawn at random, so that
items share fewer prefixes than real ones do: H2Rec's tables of prefixes are larger here.
"""
NAMES = {
    "sasrec": "SASRec",
    "llm_esr": "LLM-ESR",
    "two_hid": "Two HID branches",
    "h2rec": "H2Rec, two branches",
    "h2rec_hybrid": "H2Rec",
}


def efficiency() -> str:
    """One row a catalogue size, history length and model; ratios to SASRec of the same size and length."""
    if not RESULTS.exists():
        return ""
    results = read_json(RESULTS)
    cells = sorted(results["cells"], key=lambda c: (c["items"], c["length"], list(NAMES).index(c["model"])))
    plain = {(c["items"], c["length"]): c for c in cells if c["model"] == "sasrec"}
    heads = [
        "items",
        "history",
        "model",
        "parameters",
        "peak memory, GiB",
        "CPU s per 100,000 targets",
        "ratio",
    ]
    heads += ["CPU s per 1,000 users ranked", "ratio"]
    rows = [_row(cell, plain.get((cell["items"], cell["length"]))) for cell in cells]
    origin = results["provenance"]
    machine = origin["machine"]
    # The cells import from the benchmarks' folder: the script is run as a module.
    modules = (
        command.replace("run.py", "python -m benchmarks.efficiency.run", 1) for command in results["commands"]
    )
    commands = ", ".join(f"`{command}`" for command in modules)
    commits = ", ".join(dict.fromkeys(cell.get("commit", origin["commit"]) for cell in cells))
    origin_text = (
        f"{commands}, commit {commits}, seed {origin['seed']}, {cores(machine)}, torch {machine['torch']}."
    )
    return f"{TEXT}\n{markdown(heads, rows, text_columns=0)}\n{origin_text}\n"


def _row(cell: dict[str, Any], plain: dict[str, Any] | None) -> list[str]:
    training, ranking = _training(cell), cell["ranking_seconds_per_1000_users"]
    row = [f"{cell['items']:,}", str(cell["length"]), NAMES[cell["model"]], f"{cell['parameters']:,}"]
    row += [f"{cell['peak_bytes'] / 2**30:.2f}", f"{training:.1f}"]
    row.append("–" if plain is None else f"{training / _training(plain):.2f}")
    row.append(f"{ranking:.2f}")
    return [*row, "–" if plain is None else f"{ranking / plain['ranking_seconds_per_1000_users']:.2f}"]


def _training(cell: dict[str, Any]) -> float:
    return float(cell["epoch_seconds"] * 100_000 / cell["targets"])


if __name__ == "__main__":
    update({"results_tables.md": {"efficiency": efficiency}})
