"""Two lists drafted into one: the same users see both models side by side."""

from collections.abc import Sequence
from random import Random

from h2rec.retrieval.answers import RecommendedItem


def team_draft(
    lists: Sequence[Sequence[RecommendedItem]], k: int, random: Random, *, heads: int | None = None
) -> list[tuple[RecommendedItem, int]]:
    """Team-draft interleaving (Radlinski, Kurup and Joachims, 2008): items, and which of the two lists each is from.

    The list with fewer items so far names its best that is not yet there; where both have as many, a fair coin decides.
    A list that has no more leaves the rest to the other.

    Parameters
    ----------
    lists
        Two lists of items, best first, of up to `k` each.
    k
        How many items.
    heads
        How many head items at most, as long as there are others; None for any number.
    """
    drafted: list[tuple[RecommendedItem, int]] = []
    there: set[object] = set()
    sizes, most = [0, 0], heads
    places = [0, 0]

    def take(team: int) -> bool:
        """Draft the list's next item, if it has one."""
        while places[team] < len(lists[team]):
            item = lists[team][places[team]]
            places[team] += 1
            if item.item_id not in there and (most is None or not item.head or most > 0):
                drafted.append((item, team))
                there.add(item.item_id)
                sizes[team] += 1
                return True
        return False

    while len(drafted) < k:
        first = random.getrandbits(1) if sizes[0] == sizes[1] else int(sizes[1] < sizes[0])
        if take(first) or take(1 - first):
            if most is not None:
                most -= drafted[-1][0].head
        elif most is not None:  # there are too few others
            most, places = None, [0, 0]
        else:
            break
    return drafted
