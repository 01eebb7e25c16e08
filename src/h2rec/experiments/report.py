"""The page of an experiment: the verdict, the lifts, how they came about, who was shown."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from h2rec.experiments.exposure import answers_to_operators
from h2rec.files import write_text
from h2rec.run.drawing import Bar, Bars, Curves, curves_of
from h2rec.templates import page_templates

_MOST_TICKS = 7
_LEVEL = 0.05


def write_report(path: Path, results: Mapping[str, Any]) -> None:
    """Write the page; `results` is the content of `results.json`."""
    page = page_templates("h2rec.experiments", "h2rec.run").get_template("abtest.html.j2")
    treatments = [arm for arm in results["arms"] if arm != results["control"]]
    write_text(
        path,
        page.render(
            title=f"Experiment {results['abtest']}",
            results=results,
            treatments=treatments,
            moment=lambda seconds: datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M"),
            forest={arm: list(forest(results["metrics"][arm])) for arm in treatments},
            by_day={arm: list(by_day(results, arm)) for arm in treatments},
            operators={arm: list(answers_to_operators(dict(results), arm)) for arm in treatments},
            shares=list(shares(results)),
            percent=percent,
            number=number,
        ),
    )


def percent(value: float | None, signed: bool = True) -> str:
    """A share as people read it; a dash for none."""
    if value is None:
        return "–"
    return f"{value:+.2%}" if signed else f"{value:.2%}"


def number(value: float | None) -> str:
    """A figure with four digits that tell; a dash for none."""
    return "–" if value is None else f"{value:,.4g}" if abs(value) < 1e6 else f"{value:,.0f}"


def forest(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[Bars]:
    """Lifts with intervals, a picture for the metrics overall and one for those of slices."""
    parts = {
        "All items": [row for name, row in rows.items() if "@" not in name],
        "By slice": [row for name, row in rows.items() if "@" in name],
    }
    for title, own in parts.items():
        known = [row for row in own if row["low"] is not None]
        if not known:
            continue
        # A metric of a handful of users has an interval as wide as the page: the picture is cut there.
        widest = 3 * max(0.01, sorted(row["high"] - row["low"] for row in known)[len(known) // 2])
        low = max(-widest, min(0.0, *(row["low"] for row in known)))
        high = min(widest, max(0.0, *(row["high"] for row in known)))

        def place(value: float, low: float = low, high: float = high) -> float:
            return 100 * (min(max(value, low), high) - low) / ((high - low) or 1.0)

        bars = [_bar(row, place) for row in own]
        note = "relative lift and its interval; pale where it may be chance, after Holm's correction"
        yield Bars(title, note, [("", bars)], place(0.0))


def _bar(row: Mapping[str, Any], place: Any) -> Bar:
    if row["lift"] is None or row["low"] is None:
        return Bar(row["title"], "–", 0, place(0.0), 0.0)
    start, end = sorted((place(0.0), place(row["lift"])))
    return Bar(
        row["title"], f"{row['lift']:+.1%}", 0, start, end - start, (place(row["low"]), place(row["high"])),
        unsure=row["p_holm"] is None or row["p_holm"] >= _LEVEL,
    )  # fmt: skip


def by_day(results: Mapping[str, Any], arm: str) -> Iterator[Curves]:
    """The lift of what decides as it stood after each day, between the ends of its interval."""
    planned = results["plan"]["days"] is not None
    for name, looks in results["looks"][arm].items():
        known = [look for look in looks if look["lift"] is not None and abs(look["bound"]) < 8]
        if len(known) < 2:
            continue
        series: dict[str, Sequence[tuple[float, float | None]]] = {
            word: [(float(look["day"]), 100 * look[key]) for look in known]
            for word, key in (("lift, %", "lift"), ("from", "low"), ("to", "high"))
        }
        every = -(-len(known) // _MOST_TICKS)
        ticks = [(float(look["day"]), str(look["day"])) for look in known[::every]]
        note = (
            "all days together; the interval holds at every look"
            if planned
            else "each interval holds for one look alone"
        )
        title = results["metrics"][arm][name]["title"]
        yield curves_of(title, f"lift in %, {note}", "days", series, ticks, from_zero=True)


def shares(results: Mapping[str, Any]) -> Iterator[Bars]:
    """Share of places and click-through rate of each slice, by arm."""
    exposed = results["exposure"]
    if not exposed:
        return
    parts = list(exposed[results["control"]]["slices"])
    for title, key in (("Share of places", "share"), ("Click-through rate", "ctr")):
        values = {part: {arm: own["slices"][part][key] for arm, own in exposed.items()} for part in parts}
        most = (
            max((value or 0.0 for group in values.values() for value in group.values()), default=0.0) or 1.0
        )
        if not values:
            continue
        groups = [
            (
                part,
                [
                    Bar(arm, percent(value, signed=False), at, 0.0, 100 * (value or 0.0) / most)
                    for at, (arm, value) in enumerate(group.items())
                ],
            )
            for part, group in values.items()
        ]
        yield Bars(title, "", groups)
