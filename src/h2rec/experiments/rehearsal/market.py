"""Advertisers who bid for conversions on a budget, and pace themselves."""

import numpy as np

from h2rec.experiments.rehearsal.world import Floats, Ints

ADVERTISERS = 20
_SLOWEST = 0.05


class Market:
    """What advertisers are charged in one arm.

    An item is of the advertiser that its number gives. A conversion costs its bid times the day's pace of the
    advertiser, and no more than what the day's budget has left. The pace follows the spend of the day before: slower
    where the budget was used up, faster where something was left. Every arm has its own budgets, in proportion to its
    users, so that arms don't take from each other.

    `budgets`: of a day, of each advertiser.
    """

    def __init__(self, budgets: Floats) -> None:
        self._budgets = budgets
        self._left = budgets.copy()
        self._asked = np.zeros_like(budgets)
        self.pace = np.ones_like(budgets)

    def charge(self, item: int, bid: float) -> float:
        """Charge for a conversion; returns what is paid."""
        who = item % ADVERTISERS
        price = float(bid * self.pace[who])
        self._asked[who] += price
        paid = min(price, float(self._left[who]))
        self._left[who] -= paid
        return paid

    def next_day(self) -> None:
        """Give every advertiser a new budget and pace."""
        wanted = np.sqrt(self._budgets / np.maximum(self._asked, 1e-9))
        self.pace = (self.pace * wanted).clip(_SLOWEST, 1)
        self._left = self._budgets.copy()
        self._asked = np.zeros_like(self._budgets)


def daily_spend(items: Ints, expected: Floats) -> Floats:
    """What each advertiser would spend on a day at full pace: sums over lists, `[n, k]`."""
    found = np.zeros(ADVERTISERS)
    np.add.at(found, items % ADVERTISERS, expected)
    return found
