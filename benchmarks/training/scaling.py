"""Targets per second of CPU against the number of users, of items, and the length of histories, on made-up data.

Sampled softmax with the default losses, one thread, CPU. A cost that grows linearly shows as a level line. Writes
`results/scaling.json` and `docs/scaling.svg`.

Run: python benchmarks/training/scaling.py
"""

import argparse
import time
from typing import Any

import numpy as np
from beauty import RESULTS, ROOT, SEED
from synthetic import Shop, make_codes, make_histories, one_epoch, power_law_lengths

from h2rec.files import write_json, write_text
from h2rec.run.provenance import provenance
from h2rec.runtime import set_threads

MODELS = {"sasrec": "sasrec_warm", "h2rec": "h2rec_two_branches"}
"""Presets by the names that the results have."""
USERS, ITEMS, MEAN_LENGTH = 10_000, 20_000, 10.0
SWEEPS: dict[str, tuple[int, ...]] = {
    "users": (2_500, 5_000, 10_000, 20_000, 40_000),
    "items": (5_000, 20_000, 80_000, 320_000),
    "length": (10, 25, 50, 100, 200),
}
TOKENS = 100_000
"""Tokens of an epoch where the length varies."""


def point(sweep: str, value: int, model: str) -> dict[str, Any]:
    users, items, longest = USERS, ITEMS, 50
    if sweep == "length":
        users, longest = TOKENS // value, value
        lengths = np.full(users, value + 1, dtype=np.int64)
    else:
        users, items = (value, ITEMS) if sweep == "users" else (USERS, value)
        lengths = power_law_lengths(users, MEAN_LENGTH, longest, SEED)
    shop = Shop(make_histories(users, items, lengths, SEED), items, make_codes(items, SEED))
    trainer = one_epoch(shop, MODELS[model], max_length=longest, seed=SEED)
    cpu = time.process_time()
    record = trainer.fit().progress.log[-1]
    cpu = time.process_time() - cpu
    return {
        "sweep": sweep,
        "value": value,
        "model": model,
        "targets": record["targets"],
        "cpu_seconds": cpu,
        "targets_per_cpu_second": record["targets"] / cpu,
    }


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    set_threads(1)
    point("users", 500, "h2rec")  # warms up
    rows = []
    for sweep, values in SWEEPS.items():
        for value in values:
            for model in MODELS:
                rows.append(point(sweep, value, model))
                print(rows[-1], flush=True)
    write_json(RESULTS / "scaling.json", {"provenance": provenance(SEED), "rows": rows})
    write_text(ROOT / "docs" / "scaling.svg", drawn(rows))


COLOURS = {"sasrec": "#888888", "h2rec": "#0b6e4f"}
WIDTH, HEIGHT, LEFT, BOTTOM = 260, 220, 52, 40


def drawn(rows: list[dict[str, Any]]) -> str:
    """Three small charts side by side, logarithmic to the right and linear from zero upwards."""
    top = 1.1 * max(row["targets_per_cpu_second"] for row in rows)
    chunks = []
    for number, (sweep, values) in enumerate(SWEEPS.items()):
        left, plot = number * (WIDTH + 20) + LEFT, HEIGHT - BOTTOM - 20
        span = np.log(values[-1] / values[0])

        def at(value: int, speed: float, left: int = left, plot: int = plot, low: int = values[0]) -> str:
            right = left + (WIDTH - LEFT) * float(np.log(value / low)) / float(span)  # noqa: B023
            return f"{right:.1f},{20 + plot * (1 - speed / top):.1f}"

        chunks.append(f'<path d="M{left},20v{plot}h{WIDTH - LEFT}" fill="none" stroke="#444"/>')
        chunks.append(f'<text x="{left + 80}" y="{HEIGHT - 4}">{sweep}</text>')
        for speed in np.arange(0, top, 10_000):
            where = at(values[0], speed).split(",")[1]
            chunks.append(f'<text x="{left - 4}" y="{where}" text-anchor="end">{speed / 1000:.0f}k</text>')
        for value in values:
            where = at(value, 0).split(",")[0]
            says = f"{value / 1000:g}k" if value >= 1000 else str(value)
            chunks.append(f'<text x="{where}" y="{HEIGHT - 22}" text-anchor="middle">{says}</text>')
        for model, colour in COLOURS.items():
            points = [
                at(row["value"], row["targets_per_cpu_second"])
                for row in rows
                if (row["sweep"], row["model"]) == (sweep, model)
            ]
            chunks.append(
                f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2"/>'
            )
            chunks += [
                f'<circle cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="3" fill="{colour}"/>'
                for p in points
            ]
    for place, (model, colour) in enumerate(COLOURS.items()):
        chunks.append(f'<text x="{LEFT + 10 + 70 * place}" y="12" fill="{colour}">{model}</text>')
    size = f'width="{3 * (WIDTH + 20)}" height="{HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">'
    title = "<title>Training targets per second of CPU against users, items and length</title>"
    return "\n".join([head, title, '<rect width="100%" height="100%" fill="white"/>', *chunks, "</svg>\n"])


if __name__ == "__main__":
    main()
