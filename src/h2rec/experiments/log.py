"""An experiment's log: every event once, beside the impression that it belongs to."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from h2rec.experiments.rows import Tally, read_rows

SECONDS_A_DAY = 86_400.0
_SKEW = 60.0
"""Seconds by which an event may lie before its impression: clocks of two machines differ."""


@dataclass(frozen=True, eq=False)
class Log:
    """Answers of the server and what came of them; a row's `fate` is null, or says why it counts for nothing."""

    answers: pl.DataFrame
    """A row an answer: `request_id, user_id, time, experiment, arm, bundle, items, heads, propensities, teams`, lists
    of one length; `real` unless it was made of single `impression` rows."""
    events: pl.DataFrame
    """A row an event: `event, user_id, time, request_id, item_id, position, bid, spend, seconds`; `shown` (time),
    `experiment`, `arm` and `head` are those of its impression."""
    tally: Tally


def read_log(path: Path) -> Log:
    """Read a log: files or a folder of them, in any order.

    Rows that can't be read, stand twice or belong to no impression are counted in the tally or have a fate. Raises
    `DataError` if there is no log.
    """
    rows, tally = read_rows(path)
    rows = _each_once(rows, tally)
    is_answer = pl.col("event") == "impressions"
    answers = _answers(rows.filter(is_answer), rows.filter(pl.col("event") == "impression"))
    return Log(answers, _matched(rows.filter(~is_answer), answers), tally)


def _each_once(rows: pl.DataFrame, tally: Tally) -> pl.DataFrame:
    """Keep the first row of each event by files and lines; the others are counted."""
    # A client may give a click and its conversion one id. An answer is one however often it was logged.
    by_id = ("event", pl.coalesce("event_id", "request_id").alias("id"))
    by_request = (
        "event",
        pl.when(pl.col("event") == "impressions").then("request_id").otherwise(pl.format("{}:{}", "file", "line")),
    )  # fmt: skip
    for key in (by_id, by_request):
        group = pl.struct(*key)
        first = pl.int_range(pl.len()).over(group) == 0
        same = pl.col("content") == pl.col("content").first().over(group)
        reason = (
            pl.when(same)
            .then(pl.lit("duplicated: the same row"))
            .otherwise(pl.lit("duplicated: other values"))
        )
        rows = rows.with_columns(pl.when(~first).then(reason).alias("fate"))
        tally.add_fates(rows)
        rows = rows.filter(pl.col("fate").is_null())
    return rows


def _answers(answers: pl.DataFrame, single: pl.DataFrame) -> pl.DataFrame:
    """All answers; items that were logged one by one are answers, too, unless the server has logged theirs."""
    columns = ["request_id", "user_id", "time", "experiment", "arm", "bundle"]
    lists = ["items", "heads", "propensities", "teams"]
    nothing = pl.col("items").list.eval(pl.lit(None, pl.Boolean).repeat_by(pl.len()).explode())
    logged = answers.with_columns(pl.coalesce("heads", nothing), real=True)
    made = (
        single.join(answers, on="request_id", how="anti")
        .filter(pl.col("arm").is_not_null() & pl.col("experiment").is_not_null())
        .unique(["request_id", "item_id"], keep="first", maintain_order=True)
        .group_by("request_id", maintain_order=True)
        .agg(
            pl.first("user_id", "time", "experiment", "arm", "bundle"),
            pl.col("item_id").alias("items"),
            pl.col("heads").list.first().alias("heads"),
            pl.col("propensity").alias("propensities"),
            pl.lit(None, pl.List(pl.String)).alias("teams"),
        )
        .with_columns(
            pl.when(pl.col("propensities").list.eval(pl.element().is_not_null()).list.all()).then("propensities"),
            real=False,
        )
    )  # fmt: skip
    place = ["file", "line"]
    return pl.concat(
        [
            logged.select(*columns, *lists, "real", *place),
            made.with_columns(
                pl.lit(0, pl.Int32).alias("file"), pl.lit(0, pl.Int64).alias("line")
            ).select(*columns, *lists, "real", *place),
        ]
    )  # fmt: skip


def _matched(events: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    """Give every event its impression's arm, time and head flag, or the reason why it has none."""
    asked = answers.join(events, on="request_id", how="semi")
    shown = (
        asked.select(
            "request_id",
            pl.col("user_id").alias("answer_user"),
            pl.col("time").alias("shown"),
            pl.col("experiment").alias("answer_experiment"),
            pl.col("arm").alias("answer_arm"),
            "items",
            "heads",
        )
        .filter(pl.col("items").list.len() > 0)
        .explode("items", "heads")
        .rename({"items": "item_id", "heads": "head"})
    )
    matched = events.drop("heads").join(
        shown, on=["request_id", "item_id"], how="left", maintain_order="left"
    )
    fate = (
        pl.when(pl.col("shown").is_null())
        .then(pl.lit("unmatched: no impression of this request and item"))
        .when(pl.col("user_id") != pl.col("answer_user"))
        .then(pl.lit("malformed: its user is not the one of its impression"))
        .when((pl.col("arm") != pl.col("answer_arm")) | (pl.col("experiment") != pl.col("answer_experiment")))
        .then(pl.lit("malformed: its arm is not the one of its impression"))
        .when(pl.col("time") < pl.col("shown") - _SKEW)
        .then(pl.lit("early: before its impression"))
        .alias("fate")
    )
    columns = ["event", "user_id", "time", "request_id", "item_id", "position", "bid", "spend", "seconds"]
    return matched.select(
        *columns,
        "shown",
        pl.col("answer_experiment").alias("experiment"),
        pl.col("answer_arm").alias("arm"),
        "head",
        "file",
        "line",
        fate,
    )
