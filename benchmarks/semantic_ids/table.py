"""Write the tables of docs/semantic_ids_tables.md from the results files.

Run:  python -m benchmarks.semantic_ids.table [--check]
"""

from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.pages import command_in, markdown, update

from h2rec.files import read_json

RESULTS = Path(__file__).parent / "results"


def bar(results: dict[str, Any]) -> str:
    rows = []
    for row in results["rows"]:
        for quantizer in ("rqvae", "rqkmeans"):
            one = row[quantizer]
            rows.append(
                (
                    f"{row['data']} ({row['items']:,})",
                    quantizer,
                    f"{one['seconds']:.1f}",
                    f"{one['cpu_seconds']:.1f}",
                    f"{min(one['utilisation']):.1%}",
                    f"{one['error']:.4f}",
                    f"{one['avoidable']:,}",
                )
            )
    heads = (
        "catalogue (items)",
        "quantizer",
        "seconds",
        "CPU s",
        "least used level",
        "error",
        "avoidable collisions",
    )
    return markdown(heads, rows, text_columns=2) + origin(results)


def quantizers(results: dict[str, Any]) -> str:
    rows = []
    for row in results["rows"]:
        unseen = row.get("unseen_error")
        rows.append(
            (
                row["data"],
                f"{row['levels']}x{row['codebook_size']}",
                row["quantizer"],
                f"{row['error']:.4f}",
                "" if unseen is None else f"{unseen:.4f}",
                f"{min(row['utilisation']):.1%}",
                f"{min(row['perplexity']):.0f} to {max(row['perplexity']):.0f}",
                f"{row['colliding']:,}",
                f"{row['avoidable']:,}",
                f"{row['cpu_seconds']:.1f}",
            )
        )
    heads = (
        "catalogue", "size", "quantizer", "error", "unseen", "least used", "perplexity", "colliding", "avoidable",
        "CPU s",
    )  # fmt: skip
    return markdown(heads, rows, text_columns=3) + origin(results)


def peers(results: dict[str, Any]) -> str:
    rows = [
        (
            row["data"],
            row["tokenizer"],
            f"{row['error']:.4f}",
            f"{min(row['utilisation']):.1%}",
            f"{min(row['perplexity']):.0f} to {max(row['perplexity']):.0f}",
            f"{row['colliding']:,}",
            f"{row['avoidable']:,}",
            f"{row['cpu_seconds']:.1f}",
        )
        for row in results["rows"]
    ]
    heads = ("catalogue", "tokenizer", "error", "least used", "perplexity", "colliding", "avoidable", "CPU s")
    packages = ", ".join(f"{name} {number}" for name, number in results["provenance"]["packages"].items())
    return markdown(heads, rows, text_columns=2) + f"\nWith {packages}." + origin(results)


def scale(results: dict[str, Any]) -> str:
    rows = [
        (
            row["quantizer"],
            f"{row['items']:,}",
            f"{row['seconds']:.0f}",
            f"{row['peak_gib']:.2f}",
            f"{row['error']:.4f}",
            f"{min(row['utilisation']):.1%}",
        )
        for row in results["rows"]
    ]
    return markdown(
        ("quantizer", "items", "seconds", "peak GiB", "error", "least used level"), rows
    ) + origin(results)


def origin(results: dict[str, Any]) -> str:
    provenance = results["provenance"]
    machine = provenance["machine"]
    commits = list(dict.fromkeys(row.get("commit", provenance["commit"]) for row in results["rows"]))
    commit = ("commit " if len(commits) == 1 else "commits ") + ", ".join(f"`{name}`" for name in commits)
    return (
        f"\n`{command_in('semantic_ids', provenance['command'])}`, {commit}, seed {provenance['seed']}, "
        f"{provenance['date'][:10]}, {machine['platform']}, "
        f"{machine['threads']} of {machine['cores']} cores, torch {machine['torch']}.\n"
    )


def written(name: str) -> str:
    """The table of one results file."""
    return TABLES[name](read_json(RESULTS / f"{name}.json"))


TABLES = {"bar": bar, "quantizers": quantizers, "peers": peers, "scale": scale}

if __name__ == "__main__":
    update({"semantic_ids_tables.md": {name: partial(written, name) for name in TABLES}})
