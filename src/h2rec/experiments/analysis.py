"""The analysis of an experiment, from its log to the verdict."""

from pathlib import Path
from typing import Any

import polars as pl

from h2rec.claims import claim_names
from h2rec.errors import ConfigError, H2RecError
from h2rec.evaluation.paired_tests import holm
from h2rec.experiments.estimates import Bootstrap, Estimate, Sums, bootstrap, estimate, plain
from h2rec.experiments.exposure import exposure
from h2rec.experiments.interleaving import interleaving
from h2rec.experiments.log import Log, read_log
from h2rec.experiments.looks import Accumulated, Look, look_days, looks_of, sums_of
from h2rec.experiments.metrics import METRICS, Metric, Slices, sliced_metrics, user_table
from h2rec.experiments.orders import estimate_orders
from h2rec.experiments.plan import Plan
from h2rec.experiments.sample_ratio import sample_ratio
from h2rec.experiments.verdict import Evidence, verdict_on
from h2rec.experiments.window import Window, select
from h2rec.files import read_json

RESULTS = "results.json"
USERS = "users.parquet"
_DOUBTFUL = ("malformed", "unmatched", "early")
"""Rows that should not be in a log at all; those with other values than a row of the same id are added."""
_MOST_CROSSED = 0.01
_DEFAULT_GUARDS = {"ctr": 0.01, "dwell": 0.01}


def is_analysis(folder: Path) -> bool:
    """Whether a folder has what `h2rec abtest` wrote."""
    return (folder / RESULTS).is_file() and "abtest" in read_json(folder / RESULTS)


def claim(folder: Path, logs: Path) -> None:
    """Refuse a folder that holds what is not ours, or lies in the log itself."""
    if logs.is_dir() and folder.absolute().is_relative_to(logs.absolute()):
        raise H2RecError(f"{folder}: lies in the log's folder", "give another with --out")
    claim_names(folder, (RESULTS, USERS, "report.html"), is_analysis)


def analyse(
    logs: Path, plan: Plan, estimated: tuple[Path, Path] | None = None
) -> tuple[dict[str, Any], pl.DataFrame]:
    """Analyse the log of an experiment.

    `estimated`: a bundle and a file of histories, to estimate what its order would have earned (`estimate_orders`).

    Returns the content of `results.json`, without its origin, and the table of users. Raises `DataError` if there is
    no log of two arms or of interleaved lists, `ConfigError` if the plan does not fit it.
    """
    log = read_log(logs)
    window = select(log, plan)
    slices = Slices.of(plan, heads_known=bool(window.answers["heads"].list.any().any()))
    users, days = user_table(window, slices)
    flaws, ratio = _flaws(log, window, plan)
    arms = {arm: _sizes(window, users, arm) for arm in window.arms}
    study = _Study(plan, window, slices, users, days) if arms else None
    results = {
        "abtest": window.experiment,
        "control": window.control if window.arms else None,
        "arms": arms,
        "window": {"start": window.start, "end": window.end, "days": window.days},
        "plan": plan.model_dump(mode="json"),
        "notes": [*window.notes, *(study.notes if study else ())],
        "rows": {
            "read": log.tally.read,
            **window.rows,
            "findings": log.tally.findings(),
            "unknown_columns": log.tally.extra,
        },
        "sample_ratio": ratio,
        "crossed_users": window.crossed,
        "metrics": study.metrics() if study else {},
        "looks": study.looks_json() if study else {},
        "verdicts": study.verdicts(flaws, arms) if study else {},
        "exposure": exposure(window, slices, users, plan),
        "interleaving": interleaving(window, plan, flaws),
        "estimates": {} if estimated is None else estimate_orders(window, *estimated, alpha=plan.alpha),
    }  # fmt: skip
    return results, users


def _sizes(window: Window, users: pl.DataFrame, arm: str) -> dict[str, int]:
    return {
        "users": users.filter(pl.col("arm") == arm).height,
        "answers": window.answers.filter(pl.col("arm") == arm).height,
        "bundles": window.answers.filter(pl.col("arm") == arm)["bundle"].n_unique(),
    }


def _flaws(log: Log, window: Window, plan: Plan) -> tuple[list[str], dict[str, Any] | None]:
    counted = dict(window.users.group_by("arm").len().iter_rows())
    ratio = (
        sample_ratio({arm: counted.get(arm, 0) for arm in window.arms}, plan.shares) if window.arms else None
    )
    flaws = []
    if ratio is not None and ratio["mismatch"]:
        shares = ", ".join(
            f"{arm} {n:,} users where {ratio['expected'][arm]:,.0f} were meant"
            for arm, n in ratio["users"].items()
        )
        hint = "" if plan.shares else " If another split was meant, tell it (shares)."
        flaws.append(
            f"The users are not split as planned: {shares} (p = {ratio['p']:.1g}). "
            f"The assignment or the log is broken.{hint}"
        )
    lost = log.tally.rows(*_DOUBTFUL) + log.tally.found.get(("duplicated", "other values"), [0])[0]
    if lost > plan.most_lost * log.tally.read:
        flaws.append(
            f"{lost:,} of {log.tally.read:,} rows are malformed, contradict others or belong to no impression, "
            f"more than {plan.most_lost:.1%} (most_lost)."
        )
    seen = window.users.height + window.other_answers["user_id"].n_unique()
    if window.crossed > _MOST_CROSSED * seen:
        flaws.append(
            f"{window.crossed:,} of {seen:,} users were shown several arms: "
            "assignment has to be sticky; testers and a kill switch count, too."
        )
    return flaws, ratio


class _Study:
    """The figures of one experiment."""

    def __init__(
        self, plan: Plan, window: Window, slices: Slices, users: pl.DataFrame, days: pl.DataFrame
    ) -> None:
        self.plan, self.window = plan, window
        self.notes: list[str] = []
        self.overall = list(METRICS)
        self.sliced = sliced_metrics(slices.conditions)
        self.sums: dict[str, Sums] = {arm: sums_of(users, arm) for arm in window.arms}
        self.cuped = window.before_answers.height > 0
        if not self.cuped:
            self.notes.append(
                "there is no time before the start in the log, so nothing is adjusted for it (CUPED)"
            )
        if not slices.conditions:
            self.notes.append("the log does not tell head from tail, and the plan names no bundle that does")
        unbid = window.events.filter(pl.col("event") == "conversion")["bid"].null_count()
        if unbid:
            self.notes.append(f"{unbid:,} conversions have no bid: ADVV leaves them out")
        self.primaries, self.guards = self._chosen()
        treatments = window.arms[1:]
        self.alpha = plan.alpha / (len(self.primaries) * len(treatments))
        looked = look_days(plan, window.days)
        watched = [*self.primaries, *(metric for metric in self.guards if metric not in self.primaries)]
        self.looks: dict[str, dict[Metric, list[Look]]] = {}
        for arm in treatments:
            after = Accumulated(users, days, (window.control, arm), watched).after(looked)
            self.looks[arm] = {
                metric: looks_of(after, looked, metric, plan, alpha=self._alpha_of(metric), cuped=self.cuped)
                for metric in watched
            }

    def _alpha_of(self, metric: Metric) -> float:
        return self.alpha if metric in self.primaries else self.plan.alpha

    def _chosen(self) -> tuple[list[Metric], dict[Metric, float]]:
        by_name = {metric.name: metric for metric in [*self.overall, *self.sliced]}
        has = {
            metric.name: any(sums[metric.numerator].any() for sums in self.sums.values())
            for metric in self.overall
        }
        names = self.plan.primary or ["advv" if has["advv"] else "ctr"]
        guards = self.plan.guardrails
        if self.plan.primary is None:
            self.notes.append(f"the metric that decides is {names[0]} (primary)")
        if guards is None:
            guards = {
                name: margin for name, margin in _DEFAULT_GUARDS.items() if has[name] and name not in names
            }
            told = ", ".join(guards) or "nothing"
            self.notes.append(f"by default {told} must not fall by more than 1% (guardrails)")
        for name in (*names, *guards):
            if name not in by_name:
                raise ConfigError(
                    f"primary, guardrails: no metric '{name}'", f"there are {', '.join(by_name)}"
                )
        return [by_name[name] for name in names], {by_name[name]: margin for name, margin in guards.items()}

    def metrics(self) -> dict[str, dict[str, Any]]:
        """Figures of every metric: arm -> metric -> plain values. Families are corrected by Holm, over all arms."""
        found: dict[str, dict[str, Any]] = {}
        families: dict[str, list[tuple[dict[str, Any], float]]] = {}
        for arm in self.window.arms[1:]:
            found[arm] = {}
            every = [*self.overall, *self.sliced]
            drawn = bootstrap(
                every,
                self.sums[self.window.control],
                self.sums[arm],
                alpha=self.plan.alpha,
                resamples=self.plan.resamples,
                seed=self.plan.seed,
            )
            for metric, sample in zip(every, drawn, strict=True):
                row, used = self._figures(metric, self.sums[arm], sample)
                found[arm][metric.name] = row
                if used.known:
                    families.setdefault(row["family"], []).append((row, used.p))
        for rows in families.values():
            for (row, _), p in zip(rows, holm([p for _, p in rows]), strict=True):
                row["p_holm"] = float(p)
        return found

    def _figures(self, metric: Metric, treatment: Sums, drawn: Bootstrap) -> tuple[dict[str, Any], Estimate]:
        control, plan = self.sums[self.window.control], self.plan
        simple = estimate(metric, control, treatment)
        adjusted = estimate(metric, control, treatment, cuped=True) if self.cuped else None
        used = simple if adjusted is None else adjusted
        row = {
            "title": metric.title,
            "family": self._family(metric),
            **used.to_json(plan.alpha),
            "p_holm": None,
            "delta": simple.to_json(plan.alpha),
            "cuped": None
            if adjusted is None
            else adjusted.to_json(plan.alpha) | {"variance_left": _left(simple, adjusted)},
            "bootstrap": {"low": plain(drawn.low), "high": plain(drawn.high), "p": plain(drawn.p)},
        }
        return row, used

    def _family(self, metric: Metric) -> str:
        if metric in self.primaries:
            return "primary"
        if metric in self.guards:
            return "guardrail"
        return "slices" if "@" in metric.name else "others"

    def looks_json(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """Arm -> metric -> looks as plain values."""
        return {
            arm: {metric.name: [look.to_json() for look in looks] for metric, looks in of_arm.items()}
            for arm, of_arm in self.looks.items()
        }

    def verdicts(self, flaws: list[str], arms: dict[str, dict[str, int]]) -> dict[str, dict[str, Any]]:
        """A verdict on each arm but the control."""
        return {
            arm: verdict_on(
                Evidence(
                    {metric: looks[metric] for metric in self.primaries},
                    {metric: (margin, looks[metric]) for metric, margin in self.guards.items()},
                    self.alpha,
                    flaws,
                    min(arms[arm]["users"], arms[self.window.control]["users"]),
                    self.window.days_over,
                ),
                self.plan,
            )
            for arm, looks in self.looks.items()
        }


def _left(simple: Estimate, adjusted: Estimate) -> float | None:
    """Share of the variance that is left after the adjustment."""
    return plain((adjusted.error / simple.error) ** 2) if simple.known and adjusted.known else None
