"""What it costs to list 100 items for a user by decoding, against looking them up by vector, side by side in one run.

Random weights, codes of 4 levels of 128 (of TIGER 3 of 256 and a suffix), histories of ten items, one thread. A way is
measured in turns with all others, and its least time counts: on a shared machine others only ever add.

    python benchmarks/serving/decoding.py --items 4000 12000 100000
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from provenance import load_average, write_results

from h2rec.data.histories import Histories
from h2rec.models.build import build_model
from h2rec.models.features import ItemFeatures
from h2rec.models.protocol import SequenceModel
from h2rec.models.scorer import CatalogueScorer
from h2rec.models.settings import parse_model
from h2rec.runtime import set_threads
from h2rec.semantic_ids.codes import SemanticIds

K, HISTORY, TURNS = 100, 10, 5
USERS = (1, 64)
Way = Callable[[torch.Tensor], object]


def made_codes(count: int, levels: int, size: int, random: np.random.Generator) -> SemanticIds:
    """Codes whose first levels are used unevenly, as those of texts are."""
    share = random.dirichlet(np.full(size, 1.0), levels)
    codes = np.stack([random.choice(size, count, p=of) for of in share], axis=1).astype(np.int32)
    return SemanticIds(codes, (size,) * levels)


def with_suffix(ids: SemanticIds) -> SemanticIds:
    """Items of one tuple numbered by a further code."""
    order = np.lexsort(ids.codes.T[::-1])
    ordered = ids.codes[order]
    fresh = np.flatnonzero(np.append(True, (ordered[1:] != ordered[:-1]).any(1)))
    suffix = np.empty(len(ordered), np.int32)
    suffix[order] = np.arange(len(ordered)) - np.repeat(fresh, np.diff(fresh, append=len(ordered)))
    return SemanticIds(np.column_stack([ids.codes, suffix]), (*ids.codebook_sizes, int(suffix.max()) + 1))


def built(values: dict[str, object], ids: SemanticIds) -> SequenceModel:
    return build_model(parse_model(values), ItemFeatures(len(ids), ids), seed=0).eval()


def ways(count: int, random: np.random.Generator) -> dict[str, Way]:
    """Ways to list items for the latest items `[n, m]` of histories."""
    plain = {"name": "branches", "dim": 64, "layers": 1, "warm_start": False}
    codes = made_codes(count, 4, 128, random)
    dense = CatalogueScorer(built({"branches": {"ids": {"kind": "ids"}}} | plain, codes))
    (decoding,) = built({"branches": {"codes": {"kind": "generative"}}} | plain, codes).branch_list()
    suffixed = with_suffix(made_codes(count, 3, 256, random))
    tiger = built({"name": "tiger"}, suffixed)
    small = built({"name": "tiger", "dim": 64, "layers": 2, "heads": 2}, suffixed)

    def looked_up(recent: torch.Tensor) -> object:
        histories = Histories.from_lists(recent.flip(1).tolist())
        return dense.score(histories, np.arange(len(recent))).topk(K)

    def exact(recent: torch.Tensor) -> object:
        return decoding.counted(recent).add_to(torch.zeros(len(recent), count + 1)).topk(K)

    return {
        "hash IDs, all vectors": looked_up,
        "decoded, all items": exact,
        "decoded, beam 100": lambda recent: decoding.beams(recent, 100),
        "decoded, beam 500": lambda recent: decoding.beams(recent, 500),
        "TIGER, small, beam 100": lambda recent: small.beams(recent, 100),
        "TIGER, beam 100": lambda recent: tiger.beams(recent, 100),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, nargs="+", default=[4000, 12000, 100_000])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="decoding")
    arguments = parser.parse_args()
    set_threads(1)
    random = np.random.default_rng(arguments.seed)
    measured = []
    for count in arguments.items:
        chosen = ways(count, random)
        for users in USERS:
            recent = torch.from_numpy(random.integers(1, count + 1, (users, HISTORY)))
            least = dict.fromkeys(chosen, np.inf)
            with torch.inference_mode():
                for _ in range(TURNS + 1):  # the first one warms up
                    for name, way in chosen.items():
                        start = time.process_time()
                        way(recent)
                        least[name] = min(least[name], (time.process_time() - start) / users)
            measured += [
                {"items": count, "users_at_once": users, "way": name, "cpu_ms_per_user": 1000 * seconds}
                for name, seconds in least.items()
            ]
            print(*measured[-len(least) :], sep="\n", flush=True)
    values = {"k": K, "history": HISTORY, "load_average": load_average(), "measured": measured}
    write_results(arguments.name, arguments.seed, values)


if __name__ == "__main__":
    main()
