"""How often each method is wrong: experiments that are made, with and without a true lift.

Users differ in taste and activity, both last, and they come over days; bids are log-normal. Every rate is given with
the ends of its exact binomial interval (95%).

Run:  python -m benchmarks.experiments.error_rates [--experiments 1000]
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from h2rec.experiments.estimates import Sums, bootstrap, estimate, two_sided
from h2rec.experiments.looks import looks_of
from h2rec.experiments.metrics import Metric
from h2rec.experiments.plan import Plan
from h2rec.experiments.power import power_of
from h2rec.experiments.sample_ratio import MISMATCH, sample_ratio
from h2rec.files import write_json
from h2rec.run.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "error_rates.json"
ALPHA, DAYS, BEFORE, RESAMPLES = 0.05, 14, 14, 400
CTR = Metric("ctr", "clicks", "impressions", "CTR")
ADVV = Metric("advv", "advv", None, "ADVV")
ARMS = {"1,000 and 1,000 users": (1000, 1000), "1,800 and 200 users": (1800, 200)}
LIFT = 0.12


def made(random: np.random.Generator, users: int, lift: float) -> list[tuple[int, Sums]]:
    """An arm's users after each day: user-days, and the sums of those that have come by then."""
    taste = random.gamma(3, 0.03, users)
    activity = random.beta(1.5, 3, users)
    comes = np.where(random.random(users) < 0.6, 0, random.integers(0, DAYS, users))
    known = comes == 0  # those who come at once were mostly there before
    before = random.binomial(BEFORE, activity) * 10 * known * (random.random(users) < 0.8)
    clicks_before = random.poisson(before * taste)
    active = (random.random((users, DAYS)) < activity[:, None]) & (np.arange(DAYS) >= comes[:, None])
    impressions = 10.0 * active
    clicks = random.poisson(impressions * taste[:, None] * (1 + lift)).astype(float)
    sold = random.binomial(clicks.astype(np.int64), 0.2)
    advv = sold * random.lognormal(0, 0.7, (users, DAYS))
    bids_before = random.binomial(clicks_before, 0.2) * random.lognormal(0, 0.7, users)
    sums = {
        "impressions": impressions.cumsum(1), "clicks": clicks.cumsum(1), "advv": advv.cumsum(1),
    }  # fmt: skip
    earlier = {
        "before_impressions": before * 1.0,
        "before_clicks": clicks_before * 1.0,
        "before_advv": bids_before,
    }
    after = []
    for day in range(DAYS):
        seen = active[:, : day + 1].any(1)
        after.append(
            (
                int(active[:, : day + 1].sum()),
                {name: values[seen, day] for name, values in sums.items()}
                | {name: values[seen] for name, values in earlier.items()},
            )
        )
    return after


def always_valid(users: int, planned: int) -> float:
    """Standard errors that an asymptotic confidence sequence reaches (Waudby-Smith et al. 2021), tuned to the end."""
    tuned = (-2 * np.log(ALPHA) + np.log(1 - 2 * np.log(ALPHA))) / planned
    scale = users * tuned + 1
    return float(np.sqrt(scale / (scale - 1) * np.log(scale / ALPHA**2)))


def one(
    random: np.random.Generator, sizes: tuple[int, int], lift: float, number: int
) -> dict[str, bool | float]:
    """What each method says of one experiment: whether it finds a difference, and whether it covers the truth."""
    control, treatment = (made(random, users, own) for users, own in zip(sizes, (0.0, lift), strict=True))
    together = [(a[0] + b[0], a[1], b[1]) for a, b in zip(control, treatment, strict=True)]
    _, first, second = together[-1]
    found: dict[str, bool | float] = {}
    for metric in (CTR, ADVV):
        for method, cuped in (("delta", False), ("CUPED", True)):
            result = estimate(metric, first, second, cuped=cuped)
            low, high = result.interval(two_sided(ALPHA))
            found[f"{method}, {metric.name}"] = result.p < ALPHA
            found[f"covers: {method}, {metric.name}"] = low <= lift <= high
            found[f"error: {method}, {metric.name}"] = result.error
    samples = bootstrap([CTR, ADVV], first, second, alpha=ALPHA, resamples=RESAMPLES, seed=number)
    for metric, drawn in zip((CTR, ADVV), samples, strict=True):
        found[f"bootstrap, {metric.name}"] = drawn.p < ALPHA
        found[f"covers: bootstrap, {metric.name}"] = drawn.low <= lift <= drawn.high
    plan, looked = Plan(days=DAYS), list(range(1, DAYS + 1))
    for metric, cuped in ((CTR, True), (ADVV, True), (ADVV, False)):
        name = f"{metric.name}{' with CUPED' if cuped else ''}"
        looks = looks_of(together, looked, metric, plan, alpha=ALPHA, cuped=cuped)
        found[f"a look every day, {name}"] = any(abs(look.estimate.z) > look.bound for look in looks)
        found[f"covers: at all looks, {name}"] = all(
            low <= lift <= high for low, high in (x.interval for x in looks)
        )
        found[f"day of the end, {name}"] = next((x.day for x in looks if abs(x.estimate.z) > x.bound), DAYS)
        found[f"without a plan: a look every day at p < 0.05, {name}"] = any(
            abs(look.estimate.z) > two_sided(ALPHA) for look in looks
        )
        users = [len(a["advv"]) + len(b["advv"]) for _, a, b in together]
        found[f"confidence sequence, {name}"] = any(
            abs(look.estimate.z) > always_valid(n, users[-1]) for look, n in zip(looks, users, strict=True)
        )
    return found


def rate(values: list[bool]) -> dict[str, float]:
    """A share with its exact interval."""
    interval = stats.binomtest(sum(values), len(values)).proportion_ci(0.95)
    return {"rate": sum(values) / len(values), "low": interval.low, "high": interval.high}


def splits(random: np.random.Generator, experiments: int) -> dict[str, Any]:
    """Rates of the check of the split: as planned, and where an arm loses a share of its users."""
    found = {}
    for lost in (0.0, 0.02, 0.05, 0.1):
        users = random.binomial(20_000, 0.5, experiments)
        kept = random.binomial(20_000 - users, 1 - lost)
        p = np.array(
            [
                sample_ratio({"control": int(a), "new": int(b)}, None)["p"]
                for a, b in zip(users, kept, strict=True)
            ]
        )
        # The share of the control among those who are left, against one half.
        n, share = 20_000 * (1 - lost / 2), 0.5 / (1 - lost / 2)
        shift = n * ((share - 0.5) ** 2 / 0.25)
        for level in (ALPHA, MISMATCH):
            predicted = stats.ncx2.sf(stats.chi2.isf(level, 1), 1, shift) if lost else level
            found[f"{lost:.0%} of an arm lost, p < {level}"] = rate((p < level).tolist()) | {
                "expected": float(predicted)
            }
    return found


def study(
    random: np.random.Generator, sizes: tuple[int, int], lift: float, experiments: int
) -> dict[str, Any]:
    """Rates of every method over many experiments."""
    rows = [one(random, sizes, lift, number) for number in range(experiments)]
    results: dict[str, Any] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if name.startswith("error: "):
            continue
        if name.startswith("day of the end"):
            results[name] = {"mean": float(np.mean(values))}
            continue
        results[name] = rate([bool(value) for value in values])
        error = f"error: {name}"
        if error in rows[0] and lift:
            typical = float(np.median([row[error] for row in rows]))
            results[name]["expected"] = power_of(lift, typical, two_sided(ALPHA))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    random = np.random.default_rng(asked.seed)
    began = time.process_time()
    results: dict[str, Any] = {"experiments": asked.experiments, "alpha": ALPHA, "lift": LIFT, "days": DAYS}
    results["provenance"] = provenance(asked.seed)
    for name, sizes in ARMS.items():
        results[f"no lift, {name}"] = study(random, sizes, 0.0, asked.experiments)
        print(name, results[f"no lift, {name}"], flush=True)
    first = next(iter(ARMS.values()))
    results[f"a lift of {LIFT:.0%}, {next(iter(ARMS))}"] = study(random, first, LIFT, asked.experiments)
    results["split of 20,000 users"] = splits(random, asked.experiments)
    results["cpu_seconds"] = round(time.process_time() - began)
    write_json(asked.out, results)


if __name__ == "__main__":
    main()
