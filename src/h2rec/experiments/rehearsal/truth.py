"""What the experiment should find: both arms' lists for all users, and what they bring on average."""

from dataclasses import dataclass

import numpy as np

from h2rec.experiments.rehearsal.market import Market, daily_spend
from h2rec.experiments.rehearsal.world import Floats, Ints, World
from h2rec.retrieval.recommender import Recommender

_AT_ONCE = 256
_DRAWS = 20
_OF_DEMAND = 0.7
"""Budgets, as a share of what the control's conversions would cost at full pace."""


@dataclass(frozen=True, eq=False)
class Lists:
    """What one bundle shows every user."""

    items: Ints
    """`[n, k]`, 0 where a list is shorter."""

    @classmethod
    def of(cls, recommender: Recommender, world: World, k: int) -> "Lists":
        """Ask a bundle for everybody."""
        lists: list[list[str]] = []
        for start in range(0, len(world.histories), _AT_ONCE):
            answers = recommender.recommend_batch(world.histories[start : start + _AT_ONCE], k)
            lists += [[str(item.item_id) for item in answer.items] for answer in answers]
        return cls(world.numbered(lists, k))


def budgets(world: World, control: Lists) -> Floats:
    """Budgets of a day, of each advertiser, if all users were in one arm."""
    shown = world.shown(np.arange(len(world.users)), control.items)
    value = shown.click * shown.buy * world.bids[shown.items] * world.visits[:, None]
    return _OF_DEMAND * daily_spend(shown.items, value)


def true_values(world: World, lists: Lists, head: np.ndarray, visits: Ints) -> dict[str, float]:
    """Every metric of the analysis, had all users been in this arm: exact, given who came how often.

    A rate of what was never shown is left out.

    `head`: which items are head, bool `[N + 1]`. `visits`: how often each user came, `[n]`.
    """
    shown = world.shown(np.arange(len(world.users)), lists.items)
    times = visits[:, None].astype(np.float64)
    came = max(1, int(np.count_nonzero(visits)))
    parts = {"": lists.items > 0, "@head": head[lists.items], "@tail": (lists.items > 0) & ~head[lists.items]}
    places = float((times * parts[""]).sum())
    values: dict[str, float] = {}
    for part, of_part in parts.items():
        clicks = times * shown.click * of_part
        buys = clicks * shown.buy
        value = float((buys * world.bids[shown.items]).sum()) / came
        shows = float((times * of_part).sum())
        values |= {
            f"ctr{part}": float(clicks.sum()) / shows if shows else np.nan,
            f"conversion_rate{part}": float(buys.sum() / clicks.sum()) if clicks.any() else np.nan,
            f"advv{part}": value,
        }
        if part:
            values[f"exposure{part}"] = shows / places
        else:
            values["conversions"] = float(buys.sum()) / came
            values["dwell"] = float((clicks * shown.seconds).sum()) / came
    return {name: value for name, value in values.items() if np.isfinite(value)}


def true_cost(world: World, lists: Lists, daily: Floats, came: np.ndarray, seed: int) -> float:
    """Spend a user: the mean of several draws of the whole, as budgets have no closed form.

    `daily`: budgets of all users together. `came`: who came on which day, bool `[days, n]`.
    """
    random = np.random.default_rng([seed, 3])
    shown = world.shown(np.arange(len(world.users)), lists.items)
    chance = shown.click * shown.buy
    spent = 0.0
    for _ in range(_DRAWS):
        market = Market(daily)
        for day in came:
            users = np.flatnonzero(day)
            rows, places = np.nonzero(random.random((len(users), chance.shape[1])) < chance[users])
            for item in shown.items[users[rows], places].tolist():
                spent += market.charge(item, float(world.bids[item]))
            market.next_day()
    return spent / _DRAWS / max(1, int(np.count_nonzero(came.any(axis=0))))
