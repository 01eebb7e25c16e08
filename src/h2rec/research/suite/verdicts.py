"""Where the tested row of a suite stands, in records and in sentences."""

from collections.abc import Iterator
from itertools import product

from h2rec.research.columns import Record
from h2rec.research.suite.tables import (
    Results,
    blocks_of,
    column_of,
    headline_metrics,
    means_of,
    parts_of,
    sign_of,
)
from h2rec.run.baselines import p_value


def standing(results: Results) -> Iterator[Record]:
    """Where the tested row stands, by data set, protocol, metric (see `headline_metrics`) and slice.

    Yields
    ------
    dict
        ``data, protocol, metric, slice, place, rows, mean``, the best other row as ``rival`` and ``rival_mean``, the
        ``gain`` over it, ``p`` (the larger corrected one), ``effect`` (d_z) and ``tone``: good or bad where the
        difference is significant, else empty.
    """
    for data, protocol in blocks_of(results):
        for metric, part in product(headline_metrics(results, protocol), parts_of(results, data, protocol)):
            column = column_of(results, data, protocol, part, metric)
            others = means_of(results, data, protocol, part, metric)
            mean = others.pop(results["tested"], None)
            if mean is None or not others:
                continue
            rival = max(others, key=others.__getitem__)
            test = column[rival]
            tested = test.get("p_t") is not None
            yield {
                "data": data,
                "protocol": protocol,
                "metric": metric,
                "slice": part,
                "place": column[results["tested"]]["place"],
                "rows": len(others) + 1,
                "mean": mean,
                "rival": rival,
                "rival_mean": others[rival],
                "gain": mean / others[rival] - 1 if others[rival] else None,
                "p": max(test["p_bootstrap"], test["p_t"]) if tested else None,
                "effect": test.get("effect_size"),
                "tone": {1: "good", -1: "bad"}.get(sign_of(test), ""),
            }


def verdicts(results: Results) -> Iterator[str]:
    """One sentence for each entry of `standing`."""
    for s in standing(results):
        place = "best" if s["place"] == 1 else f"number {s['place']} of {s['rows']}"
        sentence = (
            f"{s['data']}, {s['protocol']}, {s['slice']}: {results['tested']} is {place} in {s['metric']}"
        )
        if s["gain"] is None or s["p"] is None:
            yield sentence
            continue
        detail = p_value(s["p"]) + ("" if s["tone"] else ", not significant")
        if s["effect"] is not None:
            detail += f", d {s['effect']:+.3f}"
        yield f"{sentence}, {s['gain']:+.1%} against {s['rival']} ({detail})"
