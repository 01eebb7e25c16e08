"""Write the comparison with the peers into docs/results_tables.md from the results files.

Run:  python -m benchmarks.parity.table [--check]
"""

from pathlib import Path
from typing import Any

from benchmarks.pages import command_in, cores, markdown, update
from benchmarks.parity.keep import title_of

from h2rec.files import read_json

RESULTS = Path(__file__).parent / "results"
TITLE = """## Beside RecBole and RecTools

The same training sequences, sizes, learning rate, epochs and loss (full softmax), no text, no warm start, inner
products, nothing selected: the state after the last epoch, by its test ranks in the full protocol. `+` marks
metrics in which ours is better than the row, `-` in which it is worse, at p < 0.05 in both the paired bootstrap over
users and the paired t test. What can't be made equal stands in `benchmarks/parity/README.md`. Seconds are those of an
epoch, one thread; wall time is told where nothing else kept the process waiting.
"""
NAMES = {
    "sasrec": "SASRec",
    "gru4rec": "GRU4Rec",
    "bert4rec": "BERT4Rec",
    "h2rec": "h2rec",
    "h2rec_bucketed": "h2rec, like lengths",
    "recbole": "RecBole",
    "rectools": "RecTools",
}
UNDISTURBED = 1.2
"""A process of one thread that took more wall time than this times its CPU time shared its core or was stopped."""
METRICS = ("hit@10", "ndcg@10", "hit@100", "hit@500")


def parity() -> str:
    """All kept comparisons, one table a data set and seed."""
    paths = sorted(RESULTS.glob("*.json"), key=lambda path: path.stem)
    sections = [section(read_json(path)) for path in paths]
    return "\n".join([TITLE, *sections]) if sections else ""


def section(record: dict[str, Any]) -> str:
    """One data set and seed: a row for each model and library."""
    heads = ["model", "library", *METRICS, "CPU s", "wall s"]
    settings, origin = record["settings"], record["provenance"]
    shown = ("dim", "layers", "max_length", "dropout", "learning_rate", "batch_targets", "epochs")
    described = ", ".join(f"{name.replace('_', ' ')} {settings[name]}" for name in shown)
    if settings.get("bucketed", True):
        described += ", ours in batches of like length"
    machine, seed = origin["machine"], settings["seed"]
    title = ", ".join(NAMES.get(part, part) for part in title_of(record))
    return (
        f"### {title}\n\n{markdown(heads, [_row(row) for row in record['rows']], text_columns=2)}\n{described}. "
        f"`{command_in('parity', origin['command'])}`, commit {origin['commit']}, seed {seed}, "
        f"{cores(machine)}, "
        f"torch {machine['torch']}.\n"
    )


def _row(row: dict[str, Any]) -> list[str]:
    library = NAMES[row["library"]] + (f" {row['versions'][row['library']]}" if "versions" in row else "")
    cells = [NAMES[row["model"]], library]
    for metric in METRICS:
        test = row.get("ours_minus_theirs", {}).get(metric)
        mark = "" if test is None or test["p"] >= 0.05 else " +" if test["difference"] > 0 else " -"
        cells.append(f"{row[metric]:.4f}{mark}")
    cpu, wall = row["cpu_seconds_per_epoch"], row["seconds_per_epoch"]
    return [*cells, f"{cpu:.1f}", f"{wall:.1f}" if wall < UNDISTURBED * cpu else "–"]


if __name__ == "__main__":
    update({"results_tables.md": {"parity": parity}})
