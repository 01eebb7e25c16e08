"""What time gives the model: gaps and recency in the counts, counts that forget, an encoder that is told the gaps.

A model learned from what was there at a moment; each step's events are ranked with counts of the moment that the step
begins, as by the strategy "counts alone" of `h2rec replay`. The first steps choose constants and weights of the
branches, for the default too; the others are reported. Beside it leave-one-out in what the model learned from: weights
chosen on validation, figures of test. Tests are paired, over users.

python benchmarks/freshness/time_in_model.py REPLAY [--encoder] [--keep]      # folder of a finished replay
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from time_study import LEADING, Asked, Study, Variant
from timed_encoder import ASKED_AT_LEAST, model_of, read

from h2rec.evaluation.metrics import per_case
from h2rec.evaluation.paired_tests import paired_tests
from h2rec.files import read_json
from h2rec.research.replay.moments import moments
from h2rec.run.config import RunConfig
from h2rec.run.pipeline import Pipeline
from h2rec.run.provenance import origin
from keeping import without_paths

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
RESULTS = Path(__file__).parent / "results"
CHOOSING = 3
"""Steps that choose."""
ENCODERS = {"default": ("convolution", False), "encoder told gaps": ("timed", True)}
FLOOR = 1e-6
"""Least weight of a pair: one that nothing else competes with stays."""


def variants() -> list[Variant]:
    """The default first, then the candidates."""
    found = [Variant("default")]
    for name, tau in {"1h": HOUR, "7d": 7 * DAY}.items():
        found.append(Variant(f"pairs exp(-gap/{name})", "gap", gap=lambda g, t=tau: np.exp(-g / t) + FLOOR))
    for name, tau in {"5min": 5 * MINUTE, "1d": DAY, "7d": 7 * DAY}.items():
        found.append(Variant(f"pairs 1/(1+gap/{name})", "gap", gap=lambda g, t=tau: 1 / (1 + g / t)))

        def since_last(last: np.ndarray, asked: np.ndarray, t: float = tau) -> np.ndarray:
            return 1 / (1 + last / t)

        def since_asked(last: np.ndarray, asked: np.ndarray, t: float = tau) -> np.ndarray:
            return 1 / (1 + np.maximum(asked, ASKED_AT_LEAST) / t)

        found.append(Variant(f"latest q^m/(1+age/{name})", "recency", recent=since_last))
        found.append(Variant(f"latest 1/(1+age/{name})", "recency", recent=since_last, steady=False))
        found.append(Variant(f"latest q^m/(1+age when asked/{name})", "recency", recent=since_asked))
    for days in (14, 30, 90):
        half = days * DAY
        found.append(Variant(f"pairs halve in {days}d", "forgets", half_life=half))
        found.append(
            Variant(f"pairs, popularity halve in {days}d", "forgets", half_life=half, forgets_popularity=True)
        )
    found.append(Variant("popularity branch", "popularity", popularity=np.inf))
    late = "popularity branch halves in {}d", "late popularity"
    return found + [Variant(late[0].format(days), late[1], popularity=days * DAY) for days in (7, 30)]


def opened(folder: Path, most: int) -> tuple[Pipeline, Study, list[Asked], dict[str, Any]]:
    """The first training of a replay, its log in numbers, its steps, and what names it."""
    results = read_json(folder / "replay.json")
    config = RunConfig.load(folder / "data" / "config.yaml")
    dataset = Pipeline(config, folder / "data").begin().dataset
    days = moments(dataset, results["from"], results["every"], len(results["steps"]))
    run = folder / "full" / "0000" / "run"
    pipeline = Pipeline(RunConfig.load(run / "config.yaml"), run).begin()
    ids = pipeline.dataset.items["item_id"]
    index = dict(zip(ids, range(1, len(ids) + 1), strict=True))
    number = np.array([0, *(index.get(item, 0) for item in dataset.items["item_id"])], np.int64)
    items = number[np.asarray(dataset.histories.items)]
    user = np.repeat(np.arange(len(dataset.histories)), dataset.histories.lengths)
    codes = pipeline.semantic_ids.codes
    groups = {name: np.arange(len(index) + 1) for name in ("followers", "predecessors")}
    groups["kinds"] = np.concatenate([[0], codes[:, 0] + 1])
    # What the model of the beginning does not know, it never finds.
    known = items > 0
    study = Study(user[known], items[known], days.of_events[known], groups, results["repeats"])
    named = {"data": results["replay"], "repeats": results["repeats"], "dim": pipeline.config.model.dim}
    return (
        pipeline,
        study,
        study.steps(days.cuts, most),
        named | {"epochs": pipeline.config.train.epochs},
    )


def counted(folder: Path, most: int) -> dict[str, Any]:
    """Variants of the counts: chosen on the first steps of a replay and reported on the others; and leave-one-out."""
    pipeline, study, steps, figures = opened(folder, most)
    earlier, later = steps[:CHOOSING], steps[CHOOSING:]
    read(study, model_of(pipeline, study, steps[0].counted, "refit"), steps, told=False)
    tried = fitted(study, earlier, variants())
    picks = best_of_each(tried)
    ranks = {name: ranked(study, later, name, tried[name]["weights"]) for name in picks}
    print(json.dumps(compared(study, later, ranks), indent=1), flush=True)
    valid, test = (study.held_out(steps[0].now, back) for back in (1, 0))
    read(study, model_of(pipeline, study, valid[0].counted, "train"), valid + test, told=False)
    fits = fitted(study, valid, [one for one in variants() if one.name in picks])
    left_out = {name: ranked(study, test, name, fits[name]["weights"]) for name in picks}
    alone = compared(study, test, left_out)
    for name, row in alone.items():
        row["valid"] = fits[name][LEADING]
    figures |= summary(study, earlier, later) | {"tried": tried}
    return figures | {"replay": compared(study, later, ranks), "leave_one_out": alone}


def encoded(folder: Path, most: int) -> dict[str, Any]:
    """An encoder that is told the gaps, beside one that learned as long without; weights as the counts' study chose."""
    pipeline, study, steps, figures = opened(folder, most)
    weights = read_json(RESULTS / f"time-{figures['data']}.json")["tried"]["default"]["weights"]
    later = steps[CHOOSING:]
    counts = [study.scores(step, Variant("default")) for step in later]
    ranks = {}
    for name, (further, told) in ENCODERS.items():
        model = model_of(pipeline, study, steps[0].counted, "refit", further)
        read(study, model, later, told=told)
        ranks[name] = np.concatenate(
            [
                study.ranks(step, study.total(own | step.base, weights))
                for step, own in zip(later, counts, strict=True)
            ]
        )
    return figures | {"replay": compared(study, later, ranks)}


def fitted(study: Study, steps: Sequence[Asked], among: Sequence[Variant]) -> dict[str, dict[str, Any]]:
    """The best weights of every variant on some steps, and the value there."""
    found = {}
    for variant in among:
        weights, value = study.fit(steps, variant)
        found[variant.name] = {LEADING: value, "weights": weights}
        print(f"  {value:.4f} {variant.name} {weights}", flush=True)
    return found


def best_of_each(tried: dict[str, dict[str, Any]]) -> list[str]:
    """The variant of every family that chooses best."""
    best: dict[str, str] = {}
    for variant in variants():
        known = best.setdefault(variant.family, variant.name)
        if tried[variant.name][LEADING] > tried[known][LEADING]:
            best[variant.family] = variant.name
    return list(best.values())


def ranked(study: Study, steps: Sequence[Asked], name: str, weights: dict[str, float]) -> np.ndarray:
    """Ranks of all cases of some steps."""
    variant = next(one for one in variants() if one.name == name)
    return np.concatenate(
        [study.ranks(step, study.total(study.scores(step, variant), weights)) for step in steps]
    )


def summary(study: Study, earlier: Sequence[Asked], later: Sequence[Asked]) -> dict[str, Any]:
    """Sizes, and seconds between two events of a user."""
    same = study.user[1:] == study.user[:-1]
    gaps = np.diff(study.times)[same]
    shares = (25, 50, 75, 90, 95, 99)
    return {
        "events": len(study.items),
        "users": len(study.histories),
        "items": study.item_count,
        "gap_percentiles": {
            str(p): float(g) for p, g in zip(shares, np.percentile(gaps, shares), strict=True)
        },
        "cases": {
            "chosen_on": sum(len(s.places) for s in earlier),
            "reported": sum(len(s.places) for s in later),
        },
    }


def compared(
    study: Study, steps: Sequence[Asked], ranks: dict[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """Means, and each against the default: users are what is drawn, each with the mean of its cases."""
    _, of = np.unique(study.user[np.concatenate([step.places for step in steps])], return_inverse=True)
    out = {}
    for name, own in ranks.items():
        row = {metric: float(per_case(own, metric).mean()) for metric in (LEADING, "hit@100", "ndcg@10")}
        if name != "default":
            change = per_case(own, LEADING) - per_case(ranks["default"], LEADING)
            row["change"] = float(change.mean() / per_case(ranks["default"], LEADING).mean())
            each = np.bincount(of, change) / np.bincount(of)
            row |= {"change_per_user": float(each.mean()), "p": float(paired_tests(each[:, None]).p_t[0])}
        out[name] = row
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("replay", type=Path, help="Folder of a replay of data with times of a clock.")
    parser.add_argument("--encoder", action="store_true", help="The encoder instead of the counts.")
    parser.add_argument("--cases", type=int, default=1000, help="Events that are found in a step, at most.")
    parser.add_argument("--keep", action="store_true", help="Keep the figures beside this script.")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    figures = (encoded if asked.encoder else counted)(asked.replay, asked.cases)
    made = origin()
    figures |= made | {"command": without_paths(made["command"])}
    print(json.dumps(figures, indent=1))
    if asked.keep:
        path = RESULTS / f"time-{figures['data']}{'-encoder' if asked.encoder else ''}.json"
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
