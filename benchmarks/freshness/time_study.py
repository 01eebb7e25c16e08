"""What is counted, asked and ranked in a study of time: for `time_in_model.py`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from scipy import sparse

from h2rec.batching.pair_counts import LAG_DECAY, LAGS
from h2rec.batching.transitions import Direction, transition_table
from h2rec.data.histories import Histories, IntArray, offsets_of
from h2rec.data.splits import cases_at
from h2rec.evaluation.metrics import per_case
from h2rec.evaluation.repeats import repeated
from h2rec.models.branches.transitions import POPULARITY_POWER, RECENT_DECAY, RECENT_ITEMS, SCALE
from h2rec.run.blend import WEIGHTS

LEADING = "ndcg@100"
DIRECTIONS: dict[str, Direction] = {"followers": "forward", "predecessors": "backward"}
START = {"followers": 0.5, "predecessors": 0.5, "kinds": 0.8, "similar_text": 0.5, "similar_vectors": 0.5}
START["popularity"] = 0.0


@dataclass(frozen=True)
class Variant:
    """What time does to the counts."""

    name: str
    family: str = "base"
    gap: Callable[[np.ndarray], np.ndarray] | None = None
    """Weight of a pair by the seconds between its events."""
    recent: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    """Factor of a latest item, by its seconds before the last event, and before the moment of asking."""
    steady: bool = True
    """Whether the m-th latest item counts q^m beside that."""
    half_life: float | None = None
    """Seconds after which a pair counts half."""
    forgets_popularity: bool = False
    popularity: float | None = None
    """Half-life of a branch of popularity; infinity for all interactions alike; None for no such branch."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of items and what each counts; as `PairCounts` for `transition_table`."""

    earlier: IntArray
    later: IntArray
    weights: np.ndarray


@dataclass
class Asked:
    """Events to find, by flat position in the data set, and what was there when counts were taken."""

    places: IntArray
    counted: np.ndarray
    """Which events are in the counts, bool `[events]`."""
    now: float
    base: dict[str, np.ndarray] = field(default_factory=dict)
    """Scores of the encoder and of similar texts, float32 `[cases, N + 1]`."""


class Study:
    """Events of a log in numbers, alongside each other by user and then by time.

    `items`: from 1, `[events]`. `groups`: of each item `[N + 1]` for every branch of transitions. `repeats`: the rule.
    """

    def __init__(
        self, user: IntArray, items: IntArray, times: np.ndarray, groups: dict[str, IntArray], repeats: str
    ) -> None:
        self.user, self.items, self.times = user, items.astype(np.int64), times
        self.histories = Histories(offsets_of(np.bincount(user)), items.astype(np.int32))
        self.starts = self.histories.offsets[:-1][user]
        self.groups, self.repeats = groups, repeats
        self.item_count = len(groups["followers"]) - 1

    def asked(self, within: np.ndarray, counted: np.ndarray, now: float, most: int = 10**9) -> Asked:
        """Events within, without a user's first and without repeats where they are excluded; a sample of them."""
        places = np.flatnonzero(within & (np.arange(len(self.user)) > self.starts))
        if self.repeats == "excluded":
            places = places[~repeated(cases_at(self.histories, places))]
        if len(places) > most:
            places = np.sort(np.random.default_rng(0).choice(places, most, replace=False))
        asked = Asked(places, counted, now)
        # What can't be listed is nowhere in any sum.
        asked.base["ids"] = np.zeros((len(places), self.item_count + 1), np.float32)
        self.close(asked)
        return asked

    def close(self, asked: Asked) -> None:
        """Take items out of the sums that are in no list."""
        asked.base["ids"][:, 0] = -np.inf
        if self.repeats == "excluded":
            cases = cases_at(self.histories, asked.places).histories
            asked.base["ids"][np.repeat(np.arange(len(cases)), cases.lengths), cases.items] = -np.inf

    def steps(self, cuts: np.ndarray, most: int) -> list[Asked]:
        """Steps of a replay, with as many cases at most each."""
        return [
            self.asked((self.times > after) & (self.times <= until), self.times <= after, after, most)
            for after, until in pairwise(cuts)
        ]

    def held_out(self, until: float, back: int) -> list[Asked]:
        """Leave-one-out in the events until a moment: the last but `back` of each user, counted from what trains."""
        there = self.times <= until
        lengths = np.bincount(self.user[there], minlength=len(self.histories))[self.user]
        place = np.arange(len(self.user)) - self.starts
        trains = there & ((lengths < 3) | (place < lengths - 2))
        within = there & (lengths >= 3) & (place == lengths - 1 - back)
        return [self.asked(within, trains, float(self.times[trains].max()))]

    def chosen(self, events: np.ndarray) -> Histories:
        """Histories of some events alone."""
        lengths = np.bincount(self.user[events], minlength=len(self.histories))
        return Histories(offsets_of(lengths), np.asarray(self.histories.items)[events])

    def tables(self, step: Asked, variant: Variant) -> dict[str, sparse.csr_matrix]:
        """Transitions of a variant at the moment of a step."""
        pairs = self.pairs(step, variant)
        ages = step.now - self.times[step.counted]
        forgets = variant.half_life if variant.forgets_popularity else None
        weights = np.ones(len(ages)) if forgets is None else 0.5 ** (ages / forgets)
        counts = np.bincount(self.items[step.counted], weights, minlength=self.item_count + 1)
        found = {}
        for name, groups in self.groups.items():
            direction = DIRECTIONS.get(name, "both")
            table = transition_table(pairs, counts, groups, direction, popularity_power=POPULARITY_POWER)
            size = len(table.offsets) - 1
            found[name] = sparse.csr_matrix(
                (table.values, table.successors, table.offsets), shape=(size, size)
            )
        return found

    def pairs(self, step: Asked, variant: Variant) -> Pairs:
        """Pairs of events that are counted, with weights of their own."""
        parts = []
        for lag in range(1, LAGS + 1):
            later = np.flatnonzero(step.counted[lag:]) + lag
            later = later[later - lag >= self.starts[later]]
            weights = np.full(len(later), LAG_DECAY ** (lag - 1))
            if variant.gap is not None:
                weights *= variant.gap(self.times[later] - self.times[later - lag])
            if variant.half_life is not None:
                weights *= 0.5 ** ((step.now - self.times[later]) / variant.half_life)
            parts.append((self.items[later - lag], self.items[later], weights))
        return Pairs(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    def latest(self, step: Asked, variant: Variant, groups: IntArray) -> sparse.csr_matrix:
        """What every group weighs among the latest items of each case, `[cases, G]`."""
        rows, columns, values = [], [], []
        asked = self.times[step.places]
        for back in range(RECENT_ITEMS):
            place = step.places - 1 - back
            there = np.flatnonzero(place >= self.starts[step.places])
            time = self.times[place[there]]
            weight = np.full(len(there), RECENT_DECAY**back if variant.steady else 1.0)
            if variant.recent is not None:
                weight *= variant.recent(self.times[step.places[there] - 1] - time, asked[there] - time)
            rows.append(there)
            columns.append(groups[self.items[place[there]]])
            values.append(weight)
        shape = len(step.places), int(groups.max()) + 1
        cells = np.concatenate(values).astype(np.float32), (np.concatenate(rows), np.concatenate(columns))
        return sparse.csr_matrix(cells, shape=shape)

    def scores(self, step: Asked, variant: Variant) -> dict[str, np.ndarray]:
        """Unweighted scores of every branch, `[cases, N + 1]`."""
        found = dict(step.base)
        for name, table in self.tables(step, variant).items():
            groups = self.groups[name]
            sums = (self.latest(step, variant, groups) @ table).toarray()
            score = np.log1p(np.float32(SCALE) * sums.astype(np.float32))
            found[name] = score if name in DIRECTIONS else score[:, groups]
        if variant.popularity is not None:
            ages = step.now - self.times[step.counted]
            counts = np.bincount(
                self.items[step.counted],
                0.5 ** (ages / variant.popularity),
                minlength=self.item_count + 1,
            )
            row = np.log1p(counts).astype(np.float32)
            found["popularity"] = np.broadcast_to(row, found["ids"].shape)
        return found

    def total(self, scores: dict[str, np.ndarray], weights: dict[str, float]) -> np.ndarray:
        """The weighted sum of all branches."""
        total = scores["ids"].copy()
        for name, weight in weights.items():
            if weight:
                total += np.float32(weight) * scores[name]
        return total

    def ranks(self, step: Asked, total: np.ndarray) -> np.ndarray:
        """Rank of every target; ties count against it."""
        targets = self.items[step.places]
        return np.asarray((total >= total[np.arange(len(targets)), targets][:, None]).sum(axis=1))

    def fit(self, steps: Sequence[Asked], variant: Variant) -> tuple[dict[str, float], float]:
        """Weights of the branches that are best on some steps, one branch at a time, and their value."""
        parts = [self.scores(step, variant) for step in steps]
        weights = {name: START[name] for name in parts[0] if name != "ids"}
        for _ in range(2):
            for branch in list(weights):
                others = [self.total(of, weights | {branch: 0.0}) for of in parts]
                values = {weights[branch]: 0.0} | dict.fromkeys(WEIGHTS, 0.0)
                for tried in values:
                    ranks = [
                        self.ranks(step, rest + np.float32(tried) * of[branch] if tried else rest)
                        for step, of, rest in zip(steps, parts, others, strict=True)
                    ]
                    values[tried] = float(per_case(np.concatenate(ranks), LEADING).mean())
                weights = weights | {branch: max(values, key=lambda tried: values[tried])}
        return weights, max(values.values())
