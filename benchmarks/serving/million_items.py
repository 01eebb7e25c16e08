"""Top-100 from a million items: the approximate index against the exact scan, recall and throughput in one run.

The catalogue is made, in the form that the model serves: four code vectors and one identity vector of 64
numbers each, all of unit length; codes from a tree of clusters, identities near their codes. Users lie near an
item, as after training. One thread.

    python benchmarks/serving/million_items.py
"""

import argparse
import time

import faiss
import numpy as np
import torch
from provenance import load_average, write_results

from h2rec.retrieval.index import IndexSettings, ItemIndex
from h2rec.retrieval.scoring import ItemScorer
from h2rec.runtime import set_threads

LEVELS, SIZE, DIM = 4, 256, 64
TEMPERATURE = 0.08
SWEEP = {
    "ivf": [
        {"probes": probes, "oversample": oversample}
        for probes, oversample in ((48, 6.0), (48, 12.0), (96, 6.0), (64, 10.0), (96, 12.0))
    ],
    "hnsw": [{"search_width": width} for width in (128, 256, 512)],
}


def made_catalogue(items: int, users: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Item vectors `[N + 1, 320]` and user vectors `[n, 320]`."""
    random = np.random.default_rng(seed)
    tables = [unit(random.normal(size=(SIZE, DIM)).astype(np.float32)) for _ in range(LEVELS)]
    # Codes of a level are as uneven as real ones, and depend on the level above.
    shares = random.dirichlet(np.full(SIZE, 0.3), size=(LEVELS, SIZE))
    codes = np.zeros((items + 1, LEVELS), np.int64)
    codes[:, 0] = random.choice(SIZE, items + 1, p=random.dirichlet(np.full(SIZE, 2.0)))
    for level in range(1, LEVELS):
        steps = shares[level].cumsum(axis=1)
        draw = random.random(items + 1)
        for above in range(SIZE):
            rows = codes[:, level - 1] == above
            codes[rows, level] = np.minimum(np.searchsorted(steps[above], draw[rows]), SIZE - 1)
    vectors = np.empty((items + 1, (LEVELS + 1) * DIM), np.float32)
    total = np.zeros((items + 1, DIM), np.float32)
    for level, table in enumerate(tables):
        chosen = table[codes[:, level]]
        vectors[:, level * DIM : (level + 1) * DIM] = chosen
        total += chosen * 0.7**level
    noise = random.standard_normal((items + 1, DIM), dtype=np.float32)
    vectors[:, LEVELS * DIM :] = unit(unit(total) + 0.6 * noise / np.sqrt(DIM))
    near = random.integers(1, items + 1, users)
    alpha = random.dirichlet(np.full(LEVELS, 5.0), users).astype(np.float32)
    taste = unit(
        unit(total[near]) + 0.7 * random.standard_normal((users, DIM), dtype=np.float32) / np.sqrt(DIM)
    )
    identity = unit(
        vectors[near, LEVELS * DIM :] + random.standard_normal((users, DIM), dtype=np.float32) / np.sqrt(DIM)
    )
    fused = (alpha[:, :, None] * taste[:, None]).reshape(users, -1)
    return vectors, (np.concatenate([fused, identity], axis=1) / TEMPERATURE).astype(np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def timed(search, users: torch.Tensor, at_once: int) -> tuple[np.ndarray, float]:
    """Items found, and users a second."""
    search(users[:at_once])
    started = time.perf_counter()
    found = [search(users[start : start + at_once]) for start in range(0, len(users), at_once)]
    return np.concatenate(found), len(users) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=512)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=["ivf"])
    arguments = parser.parse_args()
    set_threads(1)
    faiss.omp_set_num_threads(1)
    vectors, queries = made_catalogue(arguments.items, arguments.users, arguments.seed)
    users = torch.from_numpy(queries)
    scorer = ItemScorer(vectors, (LEVELS * DIM, DIM))
    k = arguments.k

    def searching(index: ItemIndex):
        return lambda rows: index.search(rows, k)[0].numpy()

    exact = searching(ItemIndex(scorer, IndexSettings(kind="exact")))
    few = users[: min(128, len(users))]
    truth, exact_rate = timed(exact, few, 32)
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors[1:])
    _, flat_rate = timed(lambda rows: flat.search(rows.numpy(), k)[1] + 1, few, 32)
    _, exact_alone = timed(exact, few[:16], 1)
    results = {
        "items": arguments.items,
        "k": k,
        "columns": vectors.shape[1],
        "item_vectors_mb": round(vectors.nbytes / 1e6),
        "load_average_before": load_average(),
        "exact": {"users_a_second_in_32s": exact_rate, "users_a_second_one_by_one": exact_alone},
        "faiss_flat": {"users_a_second_in_32s": flat_rate},
    }
    for kind in arguments.kinds:
        started = time.perf_counter()
        index = ItemIndex(scorer, IndexSettings(kind=kind))
        built = time.perf_counter() - started
        searched = searching(index)
        measured = []
        for change in SWEEP[kind]:
            index._approximate.settings = index._approximate.settings.model_copy(update=change)
            found, rate = timed(searched, users, 32)
            recalls = [len(set(a) & set(b)) / k for a, b in zip(found, truth, strict=False)]
            measured.append(
                {
                    **change,
                    f"recall@{k}": float(np.mean(recalls)),
                    "users_a_second_in_32s": rate,
                    "times_the_best_exact_scan": rate / max(exact_rate, flat_rate),
                }
            )
        _, alone = timed(searched, users[:64], 1)
        results[kind] = {
            "measured": measured,
            "users_a_second_one_by_one": alone,
            "times_the_exact_scan_one_by_one": alone / exact_alone,
            "seconds_to_build": built,
            "index_mb": round(len(faiss.serialize_index(index._approximate.index)) / 1e6),
        }
    results["load_average_after"] = load_average()
    write_results("million_items", arguments.seed, results)


if __name__ == "__main__":
    main()
