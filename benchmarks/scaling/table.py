"""Write the tables of docs/scaling.md from the cost model and what was measured.

Run:  python -m benchmarks.scaling.table [--check]
"""

from collections.abc import Callable
from typing import Any

from benchmarks.pages import cores, markdown, update
from benchmarks.scaling.model import BLIND, PROBES, RESULTS, STAGES, Costs, checked, codes_count, lists_count

from h2rec.files import read_json

CATALOGUES = (10_000, 1_000_000, 100_000_000, 1_000_000_000)
WIDTH, PROJECTED = 256, 199
"""Width of the default preset, and the columns that an index of a million items kept of it."""
ROOM = 48e9
"""Bytes of item data for a machine of 64 GB."""


def check() -> str:
    """How well each stage is predicted where it was not fitted, and where nobody had looked."""
    record, blind = read_json(RESULTS), read_json(BLIND)
    unseen = checked(record["measured"], blind["measured"])
    rows = []
    for name, stage in STAGES.items():
        points = [row for row in checked(record["measured"]) if row["stage"] == name]
        others = [row for row in points if not row["fitted"]]
        never_seen = [row for row in unseen if row["stage"] == name]
        sizes = sorted({row["items"] for row in points})
        rows.append(
            [
                name,
                stage.unit,
                f"{sizes[0]:,} to {sizes[-1]:,}",
                str(len(points) - len(others)),
                str(len(others)),
                worst_of(others),
                str(len(never_seen)),
                worst_of(never_seen),
            ]
        )
    heads = [
        "stage",
        "what",
        "items",
        "fitted on",
        "checked on",
        "worst of these",
        "other sizes",
        "worst of these",
    ]
    sources = [
        f"`{of['command']}`, commit {of['commit']}, {cores(of['machine'])}, one thread."
        for of in (*record["origins"], *blind["origins"])
    ]
    close = sum(abs(row["error"]) <= 0.25 for row in unseen)
    told = f"{close} of {len(unseen)} points of other sizes are within 25%."
    return markdown(heads, rows) + "\n" + "\n".join([told, *dict.fromkeys(sources)]) + "\n"


def worst_of(rows: list[dict[str, Any]]) -> str:
    """The largest error, and where."""
    worst = max(rows, key=lambda row: abs(row["error"]))
    return f"{worst['error']:+.0%} ({worst['items']:,} x {worst['width']})"


def sizes() -> str:
    """Every stage at four sizes."""
    cost = Costs(read_json(RESULTS)["measured"]).of
    lines: list[tuple[str, Callable[[int], str]]] = [
        ("training state (weights, two moments), d = 256", lambda n: told_bytes(12.0 * n * WIDTH)),
        ("training step of 2,048 tokens", lambda n: told_seconds(cost("training step", n, WIDTH))),
        ("a case of a full ranking", lambda n: told_seconds(cost("full ranking", n, WIDTH))),
        ("bundle on disk", lambda n: told_bytes(cost("bundle size", n, WIDTH))),
        ("bundle loaded and checked", lambda n: told_seconds(cost("bundle load", n, WIDTH))),
        ("new items added: a bundle written", lambda n: told_seconds(cost("bundle write", n, WIDTH))),
        ("item vectors, 256 columns", lambda n: told_bytes(4.0 * n * WIDTH)),
        ("exact scan, one question", lambda n: told_seconds(cost("exact scan, alone", n, WIDTH))),
        ("exact scan, of 32 each", lambda n: told_seconds(cost("exact scan, 32 at once", n, WIDTH))),
        (
            "lists (ivf), memory",
            lambda n: told_bytes(n * (codes_count(PROJECTED) / 2 + 8) + 4.0 * lists_count(n) * PROJECTED),
        ),
        ("lists, built in", lambda n: told_seconds(cost("ivf build", n, PROJECTED))),
        (
            f"lists, a question that looks into {PROBES}",
            lambda n: told_seconds(cost("ivf search", n, PROJECTED)),
        ),
        (
            "nightly lists of a million users, scanned",
            lambda n: told_seconds(1e6 * cost("nightly list", n, WIDTH)),
        ),
        ("machines of 64 GB: vectors as they are", lambda n: f"{machines(4.0 * n * WIDTH):,}"),
        ("machines of 64 GB: 8 bits a number", lambda n: f"{machines(1.0 * n * WIDTH):,}"),
    ]
    heads = ["one core, one thread", *(f"{count:,}" for count in CATALOGUES)]
    return markdown(heads, [[name, *(of(count) for count in CATALOGUES)] for name, of in lines]) + "\n"


def indexes() -> str:
    """Recall and throughput of every index, from `benchmarks/serving/indexes.py`."""
    rows = []
    for name in ("indexes", "indexes_rest", "indexes_30k"):
        record = read_json(RESULTS.parents[2] / "serving" / "results" / f"{name}.json")
        # The files have a graph (hnsw), too, which the library has no more.
        for row in (row for row in record["measured"] if row["index"] != "hnsw"):
            own = {k: v for k, v in row.items() if k in ("probes", "search")}
            how = " ".join(f"{key} {value}" for key, value in own.items())
            rates = [
                f"{row['recall']:.3f}",
                f"{row['users_a_cpu_second']:.0f}",
                f"{row['users_a_second']:.0f}",
            ]
            rows.append([f"{record['items']:,}", f"{row['index']} {how}".strip(), *rates])
    return markdown(["items", "index", "recall@100", "users a CPU second", "users a second"], rows) + "\n"


def machines(held: float) -> int:
    """How many machines it takes to hold so many bytes."""
    return max(1, -int(-held // ROOM))


def told_bytes(count: float) -> str:
    """For people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def told_seconds(seconds: float) -> str:
    """For people."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60), ("s", 1), ("ms", 1e-3)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:,.0f} {unit}" if seconds >= 10 * size else f"{seconds / size:.2g} {unit}"
    return f"{seconds * 1e6:.0f} µs"


if __name__ == "__main__":
    update({"scaling.md": {"check": check, "sizes": sizes, "indexes": indexes}})
