"""Every quantizer at every size on every catalogue: error, use, collisions, time.

Rows that the results file has are kept, each with the commit that it was measured at; `--again` measures the
quantizers anew.

Run: python benchmarks/semantic_ids/quantizers.py [--only rqkmeans ..] [--again]
"""

import argparse
import time

import numpy as np
from catalogues import NAMES, RESULTS, Catalogue, catalogue, figures

from h2rec.files import read_json, write_json
from h2rec.run.provenance import provenance
from h2rec.runtime import set_threads
from h2rec.semantic_ids.embeddings import variance
from h2rec.semantic_ids.quantizers import create
from h2rec.semantic_ids.settings import SemanticIdSettings

SEED = 0
SIZES = ((4, 128), (4, 64), (4, 256), (3, 256), (8, 128))
QUANTIZERS = ("rqvae", "rqkmeans", "pq", "opq")


def measure(data: Catalogue, name: str, levels: int, codebook_size: int) -> dict[str, object]:
    """Fit one quantizer on a whole catalogue; at 4x128 also on nine tenths, judged on the tenth it never saw."""
    settings = SemanticIdSettings(quantizer=name, levels=levels, codebook_size=codebook_size)
    wall, processor = time.perf_counter(), time.process_time()
    quantizer = create(settings).fit(data.embeddings, seed=SEED)
    codes = quantizer.encode(data.embeddings)
    took = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - processor}
    record = figures(data, codes, quantizer.decode(codes), codebook_size) | took
    if (levels, codebook_size) == (4, 128):
        unseen = np.random.default_rng(SEED).random(len(codes)) < 0.1
        partly = create(settings).fit(data.embeddings[~unseen], seed=SEED)
        errors = partly.squared_errors(data.embeddings[unseen])
        record["unseen_error"] = float(errors.mean()) / variance(data.embeddings)
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=QUANTIZERS, default=QUANTIZERS)
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    set_threads(1)
    origin = provenance(SEED)  # before the results file changes: it belongs to the state of the code
    path = RESULTS / "quantizers.json"
    kept = read_json(path)["rows"] if path.exists() else []
    rows = {place(row): row for row in kept if not (options.again and row["quantizer"] in options.only)}
    catalogues = [catalogue(name) for name in NAMES]
    wanted = [(size, data, label) for size in SIZES for data in catalogues for label in options.only]
    for (levels, codebook_size), data, label in wanted:
        row = {
            "data": data.name,
            "items": len(data.texts),
            "quantizer": label,
            "levels": levels,
            "codebook_size": codebook_size,
        }
        if place(row) in rows:
            continue
        row |= measure(data, label, levels, codebook_size) | {"commit": origin["commit"]}
        rows[place(row)] = row
        print(row, flush=True)
        order = sorted(rows.values(), key=position)
        write_json(path, {"provenance": origin, "rows": order})


def place(row: dict) -> tuple:
    """Tell one row from another."""
    return row["levels"], row["codebook_size"], row["data"], row["quantizer"]


def position(row: dict) -> tuple[int, int, int]:
    """Order rows by size, catalogue and quantizer as they are listed above, whenever they were measured."""
    size = SIZES.index((row["levels"], row["codebook_size"]))
    return size, NAMES.index(row["data"]), QUANTIZERS.index(row["quantizer"])


if __name__ == "__main__":
    main()
