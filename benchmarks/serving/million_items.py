"""Top-100 from a million items: the approximate index against the exact scan, recall and throughput in one run.

The catalogue is grown from a trained one (`grown_catalogue.py`), the users are real histories of its data set,
encoded by its model. What the index is built for is what the recommender takes: users who saw one item. One thread.
With `--transitions`, the counted branches of the preset `h2rec` are in every score, counted from real histories that
run through grown items; a question then costs its counts, too.

    h2rec run shop.yaml --set preset=h2rec --set train.epochs=6 --out runs/shop
    python benchmarks/serving/million_items.py runs/shop
    python benchmarks/serving/million_items.py runs/shop --transitions 10 --name million_items_transitions
"""

import argparse
import resource
import time
from pathlib import Path

import faiss
import numpy as np
import torch
from grown_catalogue import LIKENESS, GrownCatalogue, grown_catalogue, with_grown_likeness
from provenance import load_average, write_results

from h2rec.data.histories import Histories
from h2rec.models.build import build_model
from h2rec.models.features import ItemFeatures
from h2rec.models.scorer import counted
from h2rec.models.settings import parse_model
from h2rec.retrieval.bundle import Bundle
from h2rec.retrieval.index import IndexSettings, ItemIndex
from h2rec.retrieval.recommender import Recommender
from h2rec.retrieval.scoring import ItemScorer
from h2rec.retrieval.users import UserEncoder
from h2rec.run.presets import preset_values
from h2rec.runtime import set_threads

PROBES = (32, 64, 96, 128, 192)
SINGLE = 64


def real_histories(run: Path) -> Histories:
    """Histories of the run's data set."""
    (data,) = run.glob("stages/data-*")
    return Histories(np.load(data / "offsets.npy"), np.load(data / "items.npy"))


def timed(search, users: range, at_once: int) -> tuple[np.ndarray, float]:
    """Scores of what is found for some of the users, and users a second."""
    search(users[:at_once])
    started = time.perf_counter()
    answers = [search(users[start : start + at_once]) for start in range(0, len(users), at_once)]
    return np.concatenate(answers), len(users) / (time.perf_counter() - started)


def faiss_flat_rate(vectors: np.ndarray, users: torch.Tensor, k: int) -> float:
    """Users a second of faiss' own exact scan."""
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors[1:])
    few = users[:64].numpy()
    return timed(lambda rows: flat.search(few[rows.start : rows.stop], k)[1], range(len(few)), 32)[1]


def counting_model(bundle: Bundle, grown: GrownCatalogue, train: Histories):
    """A model of the branches alone that the default preset has beside hash IDs."""
    settings = parse_model(preset_values("h2rec")["model"], default="branches")
    kinds = ("transitions", "code_transitions", *LIKENESS)
    counting = settings.only_branches([n for n, branch in settings.branches.items() if branch.kind in kinds])
    count = len(grown.base)
    features = ItemFeatures(count, grown.ids, train_counts=train.counts(count), train=train)
    model = build_model(counting, features, seed=0)
    return with_grown_likeness(model, bundle, grown)


def quantiles(users: torch.Tensor, vectors: np.ndarray) -> list[float]:
    scores = users[:64].numpy() @ vectors[1:200_001].T
    return [round(float(value), 3) for value in np.quantile(scores, (0.5, 0.9, 0.99, 0.999))]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path, help="folder of a finished run of H2Rec")
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=512)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--transitions", type=int, default=0, metavar="TIMES", help="count each real history this often"
    )
    parser.add_argument("--name", default="million_items")
    arguments = parser.parse_args()
    k = arguments.k
    set_threads(1)
    faiss.omp_set_num_threads(1)
    bundle = Bundle.load(arguments.run / "bundle")
    recommender = Recommender(bundle)
    grown = grown_catalogue(bundle, arguments.items, arguments.seed)
    vectors, histories, counting = grown.vectors, real_histories(arguments.run), None
    rows = np.random.default_rng(arguments.seed).choice(len(histories), arguments.users, replace=False)
    users = UserEncoder(bundle.model).encode(histories.select(rows)).vectors.clone()
    if arguments.transitions:
        walks = grown.histories(histories, arguments.transitions, arguments.seed)
        counting, asked = counting_model(bundle, grown, walks), walks.select(rows)
    scorer = ItemScorer(vectors, (vectors.shape[1],))

    def searching(index: ItemIndex):
        def search(rows: range) -> np.ndarray:
            of_counts = counted(counting, asked.select(np.asarray(rows))) if counting else {}
            return index.search(users[rows.start : rows.stop], k, counted=list(of_counts.values()))[1].numpy()

        return search

    exact = searching(ItemIndex(scorer, IndexSettings(kind="exact")))
    everyone = range(len(users))
    few = everyone[:256]
    truth, exact_rate = timed(exact, few, 32)
    _, exact_alone = timed(exact, few[:SINGLE], 1)
    flat_rate = faiss_flat_rate(vectors, users, k)
    results = {
        "items": arguments.items,
        "k": k,
        "columns": vectors.shape[1],
        "transitions": sum(len(branch.values) for branch in counting.branch_list()) if counting else 0,
        "item_vectors_mb": round(vectors.nbytes / 1e6),
        "score_quantiles": {
            "real catalogue": quantiles(users, np.asarray(bundle.item_vectors)),
            "grown catalogue": quantiles(users, vectors),
        },
        "load_average_before": load_average(),
        "exact": {"users_a_second_in_32s": exact_rate, "users_a_second_one_by_one": exact_alone},
        "faiss_flat": {"users_a_second_in_32s": flat_rate},
    }

    def sweep(sample, values: tuple[int, ...]) -> dict:
        started = time.perf_counter()
        index = ItemIndex(scorer, IndexSettings(kind="ivf"), sample)
        built = time.perf_counter() - started
        approximate, measured = index.vector_index, []
        chosen = approximate.probes if sample else None
        for probes in sorted({*values, *([chosen] if chosen else [])}):
            approximate.probes = probes
            answers, rate = timed(searching(index), everyone, 32)
            _, alone = timed(searching(index), few, 1)
            # By score: grown items may be the same, and then any of them will do.
            recalls = [np.mean(a >= b.min() - 1e-4) for a, b in zip(answers, truth, strict=False)]
            measured.append(
                {
                    "probes": probes,
                    f"recall@{k}": float(np.mean(recalls)),
                    "users_a_second_in_32s": rate,
                    "times_the_exact_scan": rate / max(exact_rate, flat_rate),
                    "users_a_second_one_by_one": alone,
                    "times_the_exact_scan_one_by_one": alone / exact_alone,
                }
            )
            print(measured[-1], flush=True)
        return {
            "columns": approximate.columns,
            "chosen_probes": chosen,
            "seconds_to_build": built,
            "index_mb": round(len(faiss.serialize_index(approximate.index)) / 1e6),
            "measured": measured,
        }

    results["ivf"] = sweep(recommender.sample_users, PROBES)
    if not counting:
        results["ivf_without_users"] = sweep(None, PROBES[:1])
    results["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    results["load_average_after"] = load_average()
    write_results(arguments.name, arguments.seed, results)


if __name__ == "__main__":
    main()
