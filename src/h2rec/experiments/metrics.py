"""Metrics of users: what each was shown and did, whole and by slices of the items."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from h2rec.data.popularity import popularity_groups
from h2rec.experiments.plan import Plan
from h2rec.experiments.window import Window

_ANSWERS_AT_ONCE = 20_000
GROUPS = 5
"""Popularity groups of the items of a bundle."""
SUMS = ("impressions", "clicks", "conversions", "advv", "cost", "dwell")


@dataclass(frozen=True)
class Metric:
    """A ratio of two sums of users, or a sum for each user."""

    name: str
    numerator: str
    denominator: str | None
    """None for the number of users."""
    title: str

    @property
    def columns(self) -> list[str]:
        """Sums that it is made of."""
        return [self.numerator, *([] if self.denominator is None else [self.denominator])]


METRICS = (
    Metric("advv", "advv", None, "ADVV (conversions × bid) a user"),
    Metric("cost", "cost", None, "COST (spend) a user"),
    Metric("ctr", "clicks", "impressions", "click-through rate"),
    Metric("conversion_rate", "conversions", "clicks", "conversions a click"),
    Metric("conversions", "conversions", None, "conversions a user"),
    Metric("dwell", "dwell", None, "dwell seconds a user"),
)


def sliced_metrics(slices: Iterable[str]) -> list[Metric]:
    """Metrics of slices: the share of places, click-through and conversion rates, ADVV."""
    return [
        metric
        for part in slices
        for metric in (
            Metric(f"exposure@{part}", f"impressions@{part}", "impressions", f"share of places, {part}"),
            Metric(f"ctr@{part}", f"clicks@{part}", f"impressions@{part}", f"click-through rate, {part}"),
            Metric(f"conversion_rate@{part}", f"conversions@{part}", f"clicks@{part}", f"conversions a click, {part}"),
            Metric(f"advv@{part}", f"advv@{part}", None, f"ADVV a user, {part}"),
        )
    ]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Slices:
    """How items are told apart."""

    items: pl.DataFrame
    """`item_id`, `known_head`, `popularity` (group from 1, the least popular), `shared` (whether other items have its
    codes); empty without a bundle."""
    conditions: Mapping[str, pl.Expr]
    """Slice -> which item rows are of it."""

    @classmethod
    def of(cls, plan: Plan, heads_known: bool) -> "Slices":
        """Slices that the log and the bundle of the plan can tell."""
        schema = {
            "item_id": pl.String,
            "known_head": pl.Boolean,
            "popularity": pl.Int64,
            "shared": pl.Boolean,
        }
        head = pl.coalesce("head", "known_head")
        conditions: dict[str, pl.Expr] = {}
        if heads_known or plan.bundle is not None:
            conditions = {"head": head, "tail": ~head}
        if plan.bundle is None:
            return cls(pl.DataFrame(schema=schema), conditions)
        from h2rec.retrieval.bundle import Bundle

        bundle = Bundle.load(plan.bundle)
        counts = np.concatenate([[0], bundle.items["train_count"].to_numpy()])
        shared = np.zeros(bundle.items.height, np.bool_)
        if bundle.semantic_ids is not None:
            _, inverse, times = np.unique(
                bundle.semantic_ids.codes, axis=0, return_inverse=True, return_counts=True
            )
            shared = times[inverse.ravel()] > 1
        items = pl.DataFrame(
            {
                "item_id": bundle.items["item_id"],
                "known_head": bundle.items["head"],
                "popularity": popularity_groups(counts, GROUPS)[1:] + 1,
                "shared": shared,
            },
            schema=schema,
        )
        conditions |= {f"popularity {n}": pl.col("popularity") == n for n in range(1, GROUPS + 1)}
        if shared.any() and not shared.all():
            conditions |= {"codes of its own": ~pl.col("shared"), "shared codes": pl.col("shared")}
        return cls(items, conditions)

    @property
    def sums(self) -> list[str]:
        """Names of all sums of users."""
        return [*SUMS, *(f"{name}@{part}" for part in self.conditions for name in SUMS)]


def user_days(answers: pl.DataFrame, events: pl.DataFrame, slices: Slices) -> pl.DataFrame:
    """Sums of each user on each day: `user_id, arm, day`, and a column for each of `slices.sums`."""
    keys = ["user_id", "arm", "day"]
    # A user without any item was asked for, too.
    parts = [answers.select(*keys).unique(), _exposures(answers, slices, keys)]
    happened = events.join(slices.items, on="item_id", how="left", maintain_order="left")
    of_event = {
        "clicks": (pl.col("event") == "click").cast(pl.Float64),
        "conversions": (pl.col("event") == "conversion").cast(pl.Float64),
        "advv": pl.when(pl.col("event") == "conversion").then("bid"),
        "cost": pl.col("spend"),
        "dwell": pl.when(pl.col("event") == "dwell").then("seconds"),
    }
    parts.append(
        happened.group_by(keys).agg(
            *(value.sum().alias(name) for name, value in of_event.items()),
            *(
                value.filter(condition).sum().alias(f"{name}@{part}")
                for part, condition in slices.conditions.items()
                for name, value in of_event.items()
            ),
        )
    )
    sums = slices.sums
    whole = pl.concat(parts, how="diagonal_relaxed")
    missing = [pl.lit(0.0).alias(name) for name in sums if name not in whole.columns]
    return whole.with_columns(*missing).group_by(keys).agg(pl.col(sums).sum().cast(pl.Float64)).sort(keys)


def _exposures(answers: pl.DataFrame, slices: Slices, keys: Sequence[str]) -> pl.DataFrame:
    """Places of each user and day; the items of all answers at once would not fit into memory."""
    found = [
        rows.group_by(keys).agg(
            pl.len().cast(pl.Float64).alias("impressions"),
            *(
                condition.sum().cast(pl.Float64).alias(f"impressions@{part}")
                for part, condition in slices.conditions.items()
            ),
        )
        for rows in _item_rows(answers, slices, keys)
    ]
    return pl.concat(found) if found else answers.select(*keys).clear()


def _item_rows(answers: pl.DataFrame, slices: Slices, keys: Sequence[str]) -> Iterable[pl.DataFrame]:
    shown = answers.filter(pl.col("items").list.len() > 0).select(*keys, "items", "heads")
    for block in shown.iter_slices(_ANSWERS_AT_ONCE):
        rows = block.explode("items", "heads").rename({"items": "item_id", "heads": "head"})
        yield rows.join(slices.items, on="item_id", how="left")


def items_shown(answers: pl.DataFrame, slices: Slices) -> pl.DataFrame:
    """How many different items each arm has shown: `arm, items`, and `items@SLICE` for each slice."""
    found = [
        rows.group_by("arm", "item_id").agg(
            *(condition.any().alias(part) for part, condition in slices.conditions.items())
        )
        for rows in _item_rows(answers, slices, ["arm"])
    ]
    if not found:
        return pl.DataFrame(schema={"arm": pl.String, "items": pl.Int64})
    parts = list(slices.conditions)
    items = pl.concat(found).group_by("arm", "item_id").agg(pl.col(parts).any())
    return (
        items.group_by("arm")
        .agg(pl.len().alias("items"), *(pl.col(part).sum().alias(f"items@{part}") for part in parts))
        .sort("arm")
    )


def user_table(window: Window, slices: Slices) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Sums of users, and of users by day.

    Returns `users, days`. `users` has a row a user: `user_id, arm`, all of `slices.sums`, and `before_NAME` of the time
    before the start.
    """
    days = user_days(window.answers, window.events, slices)
    sums = slices.sums
    users = days.group_by("user_id", "arm").agg(pl.col(sums).sum())
    # Before the start a user had no arm of this experiment.
    before = user_days(
        window.before_answers.with_columns(arm=pl.lit("")), window.before_events.with_columns(arm=pl.lit("")), slices
    )  # fmt: skip
    earlier = before.group_by("user_id").agg(pl.col(sums).sum().name.prefix("before_"))
    users = users.join(earlier, on="user_id", how="left").with_columns(
        pl.col(f"before_{name}").fill_null(0.0) for name in sums
    )
    return users.sort("user_id"), days
