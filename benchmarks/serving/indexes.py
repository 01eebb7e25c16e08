"""Recall and throughput of every index on one set of vectors, against the exact scan in the same run.

Items lie around 2,000 centres, their lengths differ, and a user is the mean of three items with noise. One thread.
CPU seconds stand beside the wall's: on a shared machine they are what compares.

    python benchmarks/serving/indexes.py --items 1000000 --kinds flat ivf
    python benchmarks/serving/indexes.py --items 100000 --kinds flat ivf milvus --name indexes_100k
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np
import torch
from provenance import load_average, write_results

from h2rec.retrieval.index import IndexSettings, ItemIndex
from h2rec.retrieval.scoring import ItemScorer
from h2rec.runtime import set_threads

MILVUS = {"index_type": "HNSW", "build": {"M": 32, "efConstruction": 100}, "timeout": 600}
SWEEP = {
    "flat": [{}],
    "ivf": [{"probes": probes} for probes in (8, 32, 64, 128, 256)],
    "milvus": [{"search": {"ef": width}} for width in (160, 320)],
}
CENTRES, NOISE = 2000, 0.6


def made_vectors(
    count: int, width: int, users: int, seed: int
) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """Items `[count + 1, width]`, users, and users to build an index for."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(CENTRES, width)).astype(np.float32)
    items = centres[random.integers(0, CENTRES, count + 1)]
    items += NOISE * random.standard_normal(items.shape, np.float32)
    items *= random.uniform(0.7, 1.3, (count + 1, 1)).astype(np.float32)

    def drawn(number: int) -> torch.Tensor:
        means = items[random.integers(1, count + 1, (number, 3))].mean(axis=1)
        return torch.from_numpy(means + 0.2 * random.standard_normal(means.shape, np.float32))

    return items, drawn(users), drawn(4096)


def timed(index: ItemIndex, users: torch.Tensor, k: int, at_once: int) -> tuple[np.ndarray, float, float]:
    """Items found, users a second of the clock, and of the processor."""
    index.search(users[:at_once], k)
    clock, processor = time.perf_counter(), time.process_time()
    found = [index.search(some, k)[0].numpy() for some in users.split(at_once)]
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    return np.concatenate(found), len(users) / clock, len(users) / processor


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--users", type=int, default=256)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=[*SWEEP], default=["flat", "ivf"])
    parser.add_argument("--name", default="indexes")
    arguments = parser.parse_args()
    set_threads(1)
    faiss.omp_set_num_threads(1)
    k = arguments.k
    vectors, users, sample = made_vectors(arguments.items, arguments.width, arguments.users, arguments.seed)
    scorer = ItemScorer(vectors, (arguments.width,))
    exact = ItemIndex(scorer, IndexSettings(kind="exact"))
    truth, clock, processor = timed(exact, users, k, 32)
    measured = [{"index": "exact", "recall": 1.0, "users_a_second": clock, "users_a_cpu_second": processor}]
    built = {}
    with tempfile.TemporaryDirectory() as scratch:
        for kind in arguments.kinds:
            own = MILVUS | {"uri": f"milvus:{scratch}/lite.db/items"} if kind == "milvus" else {}
            memory, started, busy = resident(), time.perf_counter(), time.process_time()
            index = ItemIndex(scorer, IndexSettings.parse({"kind": {"name": kind, **own}}), lambda: sample)
            built[kind] = {
                "seconds": time.perf_counter() - started,
                "cpu_seconds": time.process_time() - busy,
                "resident_mb": resident() - memory,
            }
            print(kind, built[kind], flush=True)
            for values in SWEEP[kind]:
                index.vector_index.settings = index.kind.model_copy(update=values)
                if "probes" in values:
                    index.vector_index.probes = values["probes"]
                found, clock, processor = timed(index, users[: 64 if kind == "milvus" else None], k, 32)
                recall = np.mean([len(set(a) & set(b)) / k for a, b in zip(found, truth, strict=False)])
                _, alone, _ = timed(index, users[:16], k, 1)
                row = {"index": kind, **values, "recall": float(recall)}
                row |= {"users_a_second": clock, "users_a_cpu_second": processor, "one_by_one": alone}
                measured.append(row)
                print(row, flush=True)
    results = {name: vars(arguments)[name] for name in ("items", "width", "users", "k")}
    results |= {"built": built, "measured": measured, "load_average": load_average()}
    results["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    write_results(arguments.name, arguments.seed, results)


def resident() -> int:
    """Megabytes that this process has in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1_000_000


if __name__ == "__main__":
    main()
