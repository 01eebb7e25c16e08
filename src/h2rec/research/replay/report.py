"""The page of a replay: quality and cost by step, of every way of keeping a model fresh."""

from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

from h2rec.files import write_text
from h2rec.research.replay.strategies import COUNTS, FULL, METRICS, NEVER, SLICES, STRATEGIES, UPDATE
from h2rec.run.drawing import Curves, curves_of
from h2rec.run.words import metric_title
from h2rec.templates import page_templates

_MOST_TICKS = 6
_TOLD = {
    NEVER: "Never kept fresh",
    COUNTS: "Counts alone kept fresh",
    UPDATE: "Updated at every step",
    FULL: "Trained again",
}


def write_replay_report(path: Path, results: Mapping[str, Any]) -> None:
    """Write the page of a finished replay; `results` is the content of `replay.json`."""
    page = page_templates("h2rec.research.replay", "h2rec.run").get_template("replay.html.j2")
    write_text(
        path,
        page.render(
            title=f"How fresh does it have to be? {results['replay']}",
            results=results,
            names=results["strategies"],
            sentences=list(sentences(results)),
            quality=list(_quality(results)),
            cost=_cost(results),
            metrics=METRICS,
            metric_title=metric_title,
            strategies=STRATEGIES,
        ),
    )


def sentences(results: Mapping[str, Any]) -> Iterator[str]:
    """What a replay found, a sentence for each way of keeping fresh against the best that was measured for it."""
    leading = METRICS[0]
    overall = {name: block["all"][leading] for name, block in results["overall"].items()}
    base = FULL if FULL in overall else NEVER
    cost = {name: cost_of(results, name) for name in overall}
    if not overall[base]:
        return
    for name, value in overall.items():
        if name == base:
            continue
        share = f"{value / overall[base]:.1%} of the {metric_title(leading)}"
        told = f"{_TOLD[name]}: {share} of {_called(base)}"
        if cost[name] and cost[base]:
            told += f", for {cost[name] / cost[base]:.1%} of its cost"
        yield f"{told}."


def cost_of(results: Mapping[str, Any], name: str) -> float:
    """Mean CPU seconds of keeping fresh once."""
    costs: list[float] = [step["cpu_seconds"][name] for step in results["steps"] if step["cpu_seconds"][name]]
    return sum(costs) / max(1, len(costs))


def _called(name: str) -> str:
    return "the model that is never fresh" if name == NEVER else "a full training"


def _quality(results: Mapping[str, Any]) -> Iterator[Curves]:
    leading = METRICS[0]
    for part in SLICES:
        if not results["overall"][NEVER][part]["cases"]:
            continue
        series = {
            name: [
                (float(n), step["figures"][name][part][leading]) for n, step in enumerate(results["steps"])
            ]
            for name in results["strategies"]
        }
        title = metric_title(leading) + ("" if part == "all" else f" of {part}")
        yield curves_of(title, "", "step", series, _ticks(results))


def _cost(results: Mapping[str, Any]) -> Curves:
    series = {
        name: [
            (float(n), total)
            for n, total in enumerate(accumulate(step["cpu_seconds"][name] for step in results["steps"]))
        ]
        for name in results["strategies"]
    }
    return curves_of("CPU seconds so far", "", "step", series, _ticks(results), from_zero=True)


def _ticks(results: Mapping[str, Any]) -> list[tuple[float, str]]:
    names = [step["step"] for step in results["steps"]]
    every = -(-len(names) // _MOST_TICKS)
    return [(float(n), name) for n, name in enumerate(names) if n % every == 0]
