"""What a question costs, before it is answered."""

from h2rec.retrieval.answers import Query

_PLAIN_K, _PLAIN_HISTORY = 10, 50


def price(query: Query) -> float:
    """Price of a question, in plain ones: what one of few items adds to a batch.

    Every item of an answer is written out, an explained one with its branches, and compared with each item of the
    history. A filter is looked up value by value and then over the catalogue; a share of tail items searches twice.
    The constants are those of a catalogue of 20,000 items.
    """
    filter_, history = query.filter, len(query.history)
    values = (
        len(filter_.allow or ()) + len(filter_.deny) + sum(len(accepted) for _, accepted in filter_.where)
    )
    searched = 1 + filter_.restricts + values / 3000 + max(0, history - _PLAIN_HISTORY) / 1000
    listed = max(0, query.k - _PLAIN_K) / 250
    explained = query.k * (1 / 30 + history / 6000) if query.explain else 0.0
    return searched * (1 if query.tail_share is None else 2) + listed + explained
