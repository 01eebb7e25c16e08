"""Write the tables of docs/semantic_ids.md from the results files.

Run: python benchmarks/semantic_ids/table.py [--check]
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from h2rec.files import read_json, write_text

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "semantic_ids.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="Only tell whether the page is up to date.")
    check = parser.parse_args().check
    old = PAGE.read_text(encoding="utf-8")
    new = old
    for name, table in TABLES.items():
        new = replaced(new, name, table(read_json(HERE / "results" / f"{name}.json")))
    if check:
        sys.exit(
            0 if new == old else f"{PAGE.name} is not what the results files give: run {Path(__file__).name}"
        )
    write_text(PAGE, new)


def replaced(page: str, name: str, table: str) -> str:
    """Put a table between its two marks."""
    start, end = f"<!-- results: {name} -->\n", f"<!-- end: {name} -->"
    before, _, rest = page.partition(start)
    _, mark, after = rest.partition(end)
    if not mark:
        raise SystemExit(f"{PAGE.name} has no marks for '{name}'")
    return f"{before}{start}{table}{mark}{after}"


def bar(found: dict[str, Any]) -> str:
    rows = []
    for row in found["rows"]:
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
    return markdown(heads, rows) + origin(found)


def quantizers(found: dict[str, Any]) -> str:
    rows = []
    for row in found["rows"]:
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
    return markdown(heads, rows) + origin(found)


def peers(found: dict[str, Any]) -> str:
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
        for row in found["rows"]
    ]
    heads = ("catalogue", "tokenizer", "error", "least used", "perplexity", "colliding", "avoidable", "CPU s")
    packages = ", ".join(f"{name} {number}" for name, number in found["provenance"]["packages"].items())
    return markdown(heads, rows) + f"\nWith {packages}." + origin(found)


def scale(found: dict[str, Any]) -> str:
    rows = [
        (
            row["quantizer"],
            f"{row['items']:,}",
            f"{row['seconds']:.0f}",
            f"{row['peak_gib']:.2f}",
            f"{row['error']:.4f}",
            f"{min(row['utilisation']):.1%}",
        )
        for row in found["rows"]
    ]
    return markdown(
        ("quantizer", "items", "seconds", "peak GiB", "error", "least used level"), rows
    ) + origin(found)


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def origin(found: dict[str, Any]) -> str:
    made = found["provenance"]
    machine = made["machine"]
    commits = list(dict.fromkeys(row.get("commit", made["commit"]) for row in found["rows"]))
    commit = ("commit " if len(commits) == 1 else "commits ") + ", ".join(f"`{name}`" for name in commits)
    return (
        f"\n`{made['command']}`, {commit}, seed {made['seed']}, {made['date'][:10]}, "
        f"{machine['platform']}, {machine['threads']} of {machine['cores']} cores, torch {machine['torch']}.\n"
    )


TABLES = {"bar": bar, "quantizers": quantizers, "peers": peers, "scale": scale}

if __name__ == "__main__":
    main()
