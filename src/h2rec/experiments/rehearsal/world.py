"""Made users over a real catalogue: what they have, what they want, and how they behave, all of it known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds
from scipy.special import expit

from h2rec.data.dataset import Dataset
from h2rec.errors import DataError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_FACTORS = 32
_LEAST = 3
"""Items of a history, the wanted one among them."""
_LONGEST = 50
"""Newest items that a user shows the server."""
# Logits of a click on an item that was looked at: what chance, likeness to the wanted item, popularity and being the
# wanted item itself add. An average item is clicked by 2%, the wanted one by 9 in 10.
_CHANCE, _LIKENESS, _POPULARITY, _WANTED = -4.0, 4.0, 0.3, 2.0
_BUYS, _BUYS_LIKE = -2.0, 2.0
_SECONDS, _SECONDS_LIKE = 20.0, 40.0
_BID_SPREAD = 0.5
_VISITS = (2.0, 3.0)
"""A user comes on a day with a probability of this beta distribution: 0.4 on average."""


@dataclass(frozen=True, eq=False)
class Shown:
    """What happens, on average, when users are shown lists, `[n, k]`."""

    items: Ints
    """Numbers of the items from 1, 0 where a list is shorter."""
    click: Floats
    """Probability of a click: the place is looked at, and the item taken."""
    buy: Floats
    """Probability that a click becomes a conversion."""
    seconds: Floats
    """Mean dwell time of a click."""


@dataclass(frozen=True, eq=False)
class World:
    """The users and items of a rehearsal.

    Every user has the history of a user of the data without its last item, which is the wanted one. Items are liked
    by their likeness to it, the cosine of factors (a singular value decomposition of all interactions), and by
    popularity. A place `p` is looked at with the probability `1 / log2(1 + p)`; places are independent (the
    position-based model of clicks). Nothing of that knows the arms.
    """

    users: list[str]
    histories: list[list[str]]
    """What each has shown the server, oldest first, `[n]`."""
    numbers: dict[str, int]
    """Item id -> number from 1."""
    bids: Floats
    """What the advertiser of an item bids for a conversion, `[N + 1]`."""
    visits: Floats
    """Probability of a visit on a day, `[n]`."""
    _wanted: Ints
    _factors: Floats
    _popularity: Floats

    @classmethod
    def of(cls, dataset: Dataset, users: int, seed: int) -> "World":
        """Make users from a data set. Raises `DataError` if no history is long enough."""
        histories = dataset.histories
        able = np.flatnonzero(histories.lengths >= _LEAST)
        if not len(able):
            raise DataError(f"no user has {_LEAST} interactions, which a made user needs")
        random = np.random.default_rng([seed, 1])
        chosen = random.choice(able, users, replace=users > len(able))
        ids = dataset.items["item_id"].to_list()
        lists = [np.asarray(histories[row]) for row in chosen]
        count = len(ids)
        logs = np.log1p(histories.counts(count)).astype(np.float64)
        logs[0] = 0.0
        return cls(
            users=[f"made{number}" for number in range(users)],
            histories=[[ids[item - 1] for item in items[:-1][-_LONGEST:]] for items in lists],
            numbers={item: row + 1 for row, item in enumerate(ids)},
            bids=np.exp(random.normal(0, _BID_SPREAD, count + 1)),
            visits=random.beta(*_VISITS, users),
            _wanted=np.array([items[-1] for items in lists], dtype=np.int64),
            _factors=_factors(dataset, seed),
            _popularity=(logs - logs[1:].mean()) / max(float(logs[1:].std()), 1e-9),
        )

    def numbered(self, lists: Sequence[Sequence[str]], k: int) -> Ints:
        """Lists of item ids as numbers, `[n, k]`. Raises `DataError` if an item is not of the data."""
        found = np.zeros((len(lists), k), np.int64)
        for row, items in enumerate(lists):
            for place, item in enumerate(items):
                if item not in self.numbers:
                    raise DataError(
                        f"a bundle lists '{item}', which is not in the data", "name the data it was made of"
                    )
                found[row, place] = self.numbers[item]
        return found

    def shown(self, users: Ints, items: Ints) -> Shown:
        """What happens, on average, when some users, `[n]`, are shown lists, `[n, k]`."""
        wanted = self._wanted[users]
        likeness = np.einsum("nd,nkd->nk", self._factors[wanted], self._factors[items]).clip(min=0)
        taken = expit(
            _CHANCE
            + _LIKENESS * likeness**2
            + _POPULARITY * self._popularity[items]
            + _WANTED * (items == wanted[:, None])
        )
        looked = 1 / np.log2(2 + np.arange(items.shape[1]))
        return Shown(
            items,
            taken * looked * (items > 0),
            expit(_BUYS + _BUYS_LIKE * likeness),
            _SECONDS + _SECONDS_LIKE * likeness,
        )


def _factors(dataset: Dataset, seed: int) -> Floats:
    """Directions of items, `[N + 1, d]`, of length 1; 0 for padding and for items that nobody had."""
    histories, count = dataset.histories, dataset.items.height
    rows = np.repeat(np.arange(len(histories)), histories.lengths)
    counts = histories.counts(count)
    rarity = 1 / np.sqrt(np.maximum(counts, 1))
    items = np.asarray(histories.items)
    table = csr_array((rarity[items], (rows, items)), shape=(len(histories), count + 1))
    rank = min(_FACTORS, min(table.shape) - 1)
    # Its start is drawn: a fixed one gives the same factors in every rehearsal of a seed.
    start = np.random.default_rng([seed, 2]).normal(size=min(table.shape))
    _, sizes, directions = svds(table, k=rank, v0=start)
    factors: Floats = directions.T * sizes
    lengths = np.linalg.norm(factors, axis=1, keepdims=True)
    known = (counts > 0)[:, None] & (lengths > 1e-9)
    found: Floats = np.divide(factors, lengths, out=np.zeros_like(factors), where=known)
    return found
