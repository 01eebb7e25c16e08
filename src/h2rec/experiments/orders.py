"""What the order of another bundle would have earned, from lists whose order was drawn at random.

The server explores by showing a list's own items in another order, with the probability of every item at its place. So
of another bundle's list those places are known whose items stood anywhere in the list that was shown: each could have
stood there. The estimate is that of the item-position model (Li et al. 2018): what comes of an item depends on the
item and its place, and not on the other items.
"""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from h2rec.data.settings import ColumnSettings
from h2rec.errors import DataError
from h2rec.experiments.estimates import plain
from h2rec.experiments.off_policy import Value, off_policy
from h2rec.experiments.window import Window
from h2rec.retrieval.history_files import open_histories
from h2rec.retrieval.recommender import Recommender

_KNOWN = 0.9
"""Share of the places below which it is told that the others may change the picture."""
_AFTER = 0.01
"""Share of the clicks that may be on items of the user's history."""


def estimate_orders(window: Window, bundle: Path, histories: Path, *, alpha: float = 0.05) -> dict[str, Any]:
    """Estimate clicks and ADVV a place of another bundle's lists, from every arm that has logged propensities.

    `histories`: a file of the users' histories as they were before the experiment, as `h2rec recommend --input` reads
    it. Lists of the bundle are as long as those that were shown.

    Returns by arm `answers`, `without_history` and `without_propensities` (answers that are left out), `places`,
    `known_places` (the share of the bundle's places of which the log tells anything), `effective_places`,
    `mean_weight`, `warnings`, and `metrics`: for `clicks` and `advv` what the log earned on the same places
    (`logged`), and `ips` and `snips`, each with `value`, `low`, `high`.

    Raises `DataError` if no arm has propensities, or no place of the bundle's lists can be judged.
    """
    answers = pl.concat([window.answers, window.other_answers])
    events = pl.concat([window.events, window.other_events])
    explored = answers.filter(pl.col("propensities").is_not_null() & (pl.col("items").list.len() > 0))
    if explored.is_empty():
        raise DataError(
            "no arm of the log has propensities",
            "an arm that explores logs them",
        )
    known = _histories(histories, explored)
    wanted = _lists(bundle, known, int(explored["items"].list.len().max()))  # type: ignore[arg-type]
    return {
        arm: {
            "without_propensities": answers.filter(arm=arm).height - own.height,
            **_of_arm(own, events, known, wanted, alpha),
        }
        for (arm,), own in sorted(explored.partition_by("arm", as_dict=True).items())
    }


def _histories(path: Path, explored: pl.DataFrame) -> dict[str, list[str]]:
    users = set(explored["user_id"])
    return {
        user: history
        for batch in open_histories(path, ColumnSettings()).batches()
        for user, history in zip(batch.users, batch.histories, strict=True)
        if user in users
    }


def _lists(bundle: Path, histories: dict[str, list[str]], k: int) -> pl.DataFrame:
    """`user_id`, `place` from 1, `wanted`: what the bundle shows there."""
    found = Recommender.load(bundle).recommend_batch(list(histories.values()), k)
    rows = [
        (user, place, str(item.item_id))
        for user, answer in zip(histories, found, strict=True)
        for place, item in enumerate(answer.items, start=1)
    ]
    return pl.DataFrame(
        rows, schema={"user_id": pl.String, "place": pl.Int64, "wanted": pl.String}, orient="row"
    )


def _of_arm(
    own: pl.DataFrame, events: pl.DataFrame, histories: dict[str, list[str]], wanted: pl.DataFrame, alpha: float
) -> dict[str, Any]:  # fmt: skip
    used = own.filter(pl.col("user_id").is_in(list(histories)))
    places = used.select(
        "request_id",
        "user_id",
        "items",
        "propensities",
        pl.int_ranges(1, pl.col("items").list.len() + 1, dtype=pl.Int64).alias("place"),
    ).explode("items", "propensities", "place")
    asked = places.select("request_id", "user_id", "place").join(wanted, on=["user_id", "place"])
    # Which items a list has was not drawn, only their order: so this choice of places does not depend on the draw.
    could = asked.join(places, left_on=["request_id", "wanted"], right_on=["request_id", "items"], how="semi")
    if could.is_empty():
        raise DataError(
            "no item of the bundle's lists stands in a list that was shown to the same user",
            "are the histories those of the log's users, and the bundle one of the same items?",
        )
    happened = events.join(used, on="request_id", how="semi")
    earned = happened.group_by("request_id", "item_id").agg(
        (pl.col("event") == "click").sum().cast(pl.Float64).alias("clicks"),
        pl.when(pl.col("event") == "conversion").then("bid").sum().alias("advv"),
    )
    rows = (
        places.join(could.select("request_id", "place", "wanted"), on=["request_id", "place"])
        .join(earned, left_on=["request_id", "items"], right_on=["request_id", "item_id"], how="left")
        .with_columns(pl.col("clicks", "advv").fill_null(0.0))
    )
    weights = (rows["items"] == rows["wanted"]).to_numpy().astype(np.float64)
    found = {
        name: off_policy(
            rows[name], rows["propensities"], weights, users=rows["user_id"].to_list(), alpha=alpha
        )
        for name in ("clicks", "advv")
    }
    of_all = found["clicks"]
    share = could.height / asked.height
    return {
        "answers": used.height,
        "without_history": own.height - used.height,
        "places": rows.height,
        "known_places": share,
        "effective_places": of_all.effective_rows,
        "mean_weight": of_all.mean_weight,
        "warnings": [*of_all.warnings, *_warnings(share, happened, histories)],
        "metrics": {
            name: {
                "logged": float(rows[name].mean()),  # type: ignore[arg-type]
                "ips": _plain(values.ips),
                "snips": _plain(values.snips),
            }
            for name, values in found.items()
        },
    }


def _warnings(share: float, events: pl.DataFrame, histories: dict[str, list[str]]) -> list[str]:
    found = []
    if share < _KNOWN:
        found.append(
            f"Of {1 - share:.0%} of the bundle's places nothing is known: "
            "their items were not in the list that was shown."
        )
    clicked = events.filter(pl.col("event") == "click").select("user_id", "item_id").rows()
    after = sum(item in histories[user] for user, item in clicked)
    if after > _AFTER * len(clicked):
        found.append(
            f"{after:,} of {len(clicked):,} clicks are on items of the user's history: "
            "it seems to have been taken after them."
        )
    return found


def _plain(value: Value) -> dict[str, float | None]:
    return {"value": plain(value.value), "low": plain(value.low), "high": plain(value.high)}
