"""Write the first look's tables of docs/results.md from the results files.

Run:  python -m benchmarks.first_look.table [--check]
"""

from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.pages import cores, markdown, update

from h2rec.files import read_json

RESULTS = Path(__file__).parent / "results"
ORDER = ("sasrec-cold", "h2rec-cold", "sasrec-warm", "h2rec-warm-no-alignment", "h2rec-warm")
DEPTHS = ("ndcg@10", "hit@100", "hit@500")
FIGURES = [("overall", "hit@10"), *((part, name) for part in ("overall", "head", "tail") for name in DEPTHS)]


def found(data: str) -> list[dict[str, Any]]:
    paths = [RESULTS / f"{data}-{slug}.json" for slug in ORDER]
    return [read_json(path) for path in paths if path.exists()]


def full(data: str) -> str:
    runs = found(data)
    heads = ["model", *(f"{part} {name}" for part, name in FIGURES)]
    rows = [
        [run["model"], *(f"{run['test']['full'][part][name]:.4f}" for part, name in FIGURES)] for run in runs
    ]
    return markdown(heads, rows) + f"\n{source(runs)}\n"


def sampled(data: str) -> str:
    runs = found(data)
    rows = [
        [run["model"], *(f"{run['test']['sampled100'][part][name]:.4f}" for part, name in SAMPLED)]
        for run in runs
    ]
    return markdown(["model", *(f"{part} {name}" for part, name in SAMPLED)], rows)


SAMPLED = tuple((part, name) for part in ("overall", "head", "tail") for name in ("hit@10", "ndcg@10"))


def source(runs: list[dict[str, Any]]) -> str:
    origins = [run["provenance"] for run in runs]
    commits = ", ".join(sorted({str(origin["commit"]) for origin in origins}))
    machine = origins[0]["machine"]
    return (
        f"`{origins[0]['command']}`, commit {commits}, seed {origins[0]['seed']}, {cores(machine)}, "
        f"{machine['threads']} thread, torch {machine['torch']}."
    )


if __name__ == "__main__":
    update(
        "results.md",
        {
            f"first look {data} {kind.__name__}": partial(kind, data)
            for data in ("scientific", "beauty")
            for kind in (full, sampled)
        },
    )
