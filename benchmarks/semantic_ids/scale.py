"""One million clustered 384-d vectors, mapped from disk, tokenized within 6 GiB: time and peak memory.

Each quantizer runs in a process of its own, so that the peak is its own.

Run: python benchmarks/semantic_ids/scale.py
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from catalogues import RESULTS

from h2rec.files import write_json
from h2rec.run.provenance import provenance
from h2rec.runtime import set_threads
from h2rec.semantic_ids.audit.levels import level_use
from h2rec.semantic_ids.embeddings import variance
from h2rec.semantic_ids.settings import SemanticIdSettings
from h2rec.semantic_ids.tokenize import tokenize

SEED, ITEMS, DIMENSION, BLOCK = 0, 1_000_000, 384, 50_000
LIMIT_GIB = 6.0


def make_vectors(path: Path, items: int) -> None:
    """Unit vectors in 200 clusters of Zipf-like sizes, each with 40 smaller ones within."""
    stream = np.random.default_rng(SEED)
    coarse = stream.normal(size=(200, DIMENSION)).astype(np.float32)
    fine = stream.normal(size=(200 * 40, DIMENSION)).astype(np.float32) * 0.6
    sizes = 1 / np.arange(1, 201)
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(items, DIMENSION))
    for start in range(0, items, BLOCK):
        count = min(BLOCK, items - start)
        cluster = stream.choice(200, size=count, p=sizes / sizes.sum())
        within = cluster * 40 + stream.integers(40, size=count)
        rows = coarse[cluster] + fine[within]
        rows += 0.5 * stream.standard_normal((count, DIMENSION), dtype=np.float32)
        out[start : start + count] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    out.flush()


def measure(path: Path, quantizer: str) -> dict[str, object]:
    set_threads(1)
    embeddings = np.load(path, mmap_mode="r")
    item_ids = [f"i{row}" for row in range(len(embeddings))]
    started = time.perf_counter()
    settings = SemanticIdSettings(quantizer=quantizer, levels=4, codebook_size=128)
    tokenized = tokenize(embeddings, item_ids, settings, seed=SEED)
    seconds = time.perf_counter() - started
    # Linux counts in KiB; pages of the mapped file that are in memory count too.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    part = embeddings[:BLOCK]
    error = float(tokenized.quantizer.squared_errors(part).mean()) / variance(part)
    used = [level.utilisation for level in level_use(tokenized.semantic_ids)]
    return {
        "quantizer": quantizer,
        "items": len(embeddings),
        "seconds": seconds,
        "peak_gib": peak,
        "within_limit": peak < LIMIT_GIB,
        "error": error,
        "utilisation": used,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--measure", nargs=2, metavar=("PATH", "QUANTIZER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(Path(options.measure[0]), options.measure[1])))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.npy"
        make_vectors(path, options.items)
        for quantizer in ("rqkmeans", "rqvae"):
            command = [sys.executable, __file__, "--measure", str(path), quantizer]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            rows.append(json.loads(done.stdout))
            print(rows[-1], flush=True)
    write_json(RESULTS / "scale.json", {"provenance": provenance(SEED), "limit_gib": LIMIT_GIB, "rows": rows})


if __name__ == "__main__":
    main()
