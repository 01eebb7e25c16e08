"""What the report of a run draws: bars and curves as numbers, which a template turns into boxes and lines."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from h2rec.run.baselines import BASELINES, LEVEL, MANY_TIMES, change, compared
from h2rec.run.drawing import Bar, Bars, Curves, curves_of, ticks_between
from h2rec.run.tables import slice_title, slices
from h2rec.run.words import metric_title

Systems = Mapping[str, Mapping[str, Any]]
"""Figures of a protocol by the name of what was measured, the run's own model first."""

EXPOSURE = {
    "coverage": "share of the catalogue that is shown",
    "tail_share": "share of places that go to the tail",
    "gini": "concentration (Gini; 0: all items alike)",
    "popularity": "mean training interactions of what is shown",
}


def systems_of(name: str, metrics: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The run's model and the baselines by name, in the protocol that they are compared in."""
    beside = metrics.get("baselines", {})
    test = metrics["test"]
    protocol = next(
        (block["protocol"] for block in beside.values()), "full" if "full" in test else next(iter(test))
    )
    return {name: test[protocol]} | {BASELINES[key]: block for key, block in beside.items()}


def standing(systems: Systems) -> Iterator[Bars]:
    """The first metrics, overall, in the head and in the tail, and weighted by a column."""
    blocks = list(systems.values())
    for metric in compared(blocks[0]):
        values = {
            f"{slice_title(part, blocks[0])}, {blocks[0][part]['cases']:,} cases": {
                name: b[part][metric] for name, b in systems.items()
            }
            for part in slices(*blocks)
        }
        yield _bars(metric_title(metric), "", values)


def lifts(baselines: Mapping[str, Any]) -> Iterator[Bars]:
    """How much better the model is than each baseline, with intervals."""
    for key, block in baselines.items():
        lift: Mapping[str, Mapping[str, Any]] = block["lift"]
        known = [row for of_part in lift.values() for row in of_part.values() if row["relative"] is not None]
        if not known:
            continue
        # A baseline that finds next to nothing somewhere would squeeze all other bars: its own goes to the edge.
        framed = [row for row in known if row["relative"] < MANY_TIMES] or known
        low = min(0.0, *(row["low"] for row in framed))
        high = max(0.0, *(row["high"] for row in framed))
        spread = (high - low) or 1.0

        def place(value: float, low: float = low, spread: float = spread) -> float:
            return min(100 * (value - low) / spread, 100.0)

        groups = [
            (
                metric_title(metric),
                [
                    _lift_bar(slice_title(part, block), of_part[metric], place)
                    for part, of_part in lift.items()
                ],
            )
            for metric in lift["overall"]
        ]
        note = "relative difference and its 95% interval; pale where it is not significant"
        if len(framed) < len(known):
            note += "; a multiple goes to the edge"
        if any(row["relative"] is None for of_part in lift.values() for row in of_part.values()):
            note += f"; a dash where {BASELINES[key]} finds nothing at all"
        yield Bars(f"Against {BASELINES[key]}", note, groups, place(0.0))


def _lift_bar(part: str, row: Mapping[str, Any], place: Any) -> Bar:
    relative = row["relative"]
    if relative is None:
        return Bar(part, "–", 0, place(0.0), 0.0)
    start, end = sorted((place(0.0), place(relative)))
    interval = place(row["low"]), place(row["high"])
    return Bar(part, change(relative), 0, start, end - start, interval, unsure=row["p"] >= LEVEL)


def exposure(systems: Systems) -> Bars | None:
    """Who is shown in lists of ten; None where lists were not looked at, or show everything."""
    shown = {name: block["exposure"] for name, block in systems.items() if "exposure" in block}
    if not all("coverage@10" in own for own in shown.values()) or not shown:
        return None
    groups = [
        _bars("", "", {title: {name: own[f"{kind}@10"] for name, own in shown.items()}}).groups[0]
        for kind, title in EXPOSURE.items()
    ]
    return Bars("Lists of ten", "for every test user; each figure has its own scale", groups)


def popularity(systems: Systems) -> Curves | None:
    """The first metric by popularity group of the target; None where there are fewer than two."""
    metric = compared(next(iter(systems.values())))[0]
    series = {
        name: [(int(g["name"]) + 1, g[metric]) for g in block["groups"] if g["kind"] == "popularity"]
        for name, block in systems.items()
    }
    groups = [number for number, _ in next(iter(series.values()))]
    if len(groups) < 2:
        return None
    named = {groups[0]: f"{groups[0]}, least", groups[-1]: f"{groups[-1]}, most"}
    ticks = [(float(number), named.get(number, str(number))) for number in groups]
    note = "items in groups of equal size by their training interactions; a point is what is found of a group's targets"
    return curves_of(metric_title(metric), note, "popularity group", series, ticks, from_zero=True)


def training(log: Sequence[Mapping[str, Any]], select: str, title: str) -> Iterator[Curves]:
    """Training loss and the validation figure that picks the epoch, and what that is called."""
    series = {
        "training loss": [(record["epoch"], record["loss"]) for record in log],
        title: [(r["epoch"], r["valid"][select]) for r in log if "valid" in r],
    }
    for name, points in series.items():
        if len(points) > 1:
            first, last = points[0][0], points[-1][0]
            ticks = [(at, f"{at:g}") for at in ticks_between(first, last) if at == int(at)]
            yield curves_of(name, "", "epoch", {name: points}, ticks)


def _bars(title: str, note: str, values: Mapping[str, Mapping[str, float | None]]) -> Bars:
    """Bars from zero, a group for each entry."""
    most = max((value or 0.0 for group in values.values() for value in group.values()), default=0.0) or 1.0
    groups = [
        (
            name,
            [
                Bar(system, _number(value), series, 0.0, 100 * (value or 0.0) / most)
                for series, (system, value) in enumerate(group.items())
            ],
        )
        for name, group in values.items()
    ]
    return Bars(title, note, groups)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if value < 10 else f"{value:,.1f}"
