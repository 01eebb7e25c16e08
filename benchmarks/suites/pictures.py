"""Pictures of docs/results.md and docs/generative.md, from the files that `keep` left; without results one stays."""

from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from h2rec.research.cold_start.experiment import SCOPES
from h2rec.research.suite.tables import COST_NAMES, column_of, means_of

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "pictures"
Results = Mapping[str, Any]
Draws = Callable[..., None]
Panel = tuple[str, Callable[[Axes], None]]
"""A title, and what draws below it."""

mpl.use("svg")
# The same file for the same figures: no dates, no random names.
mpl.rcParams |= {"svg.hashsalt": "h2rec", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False}
mpl.rcParams |= {"axes.spines.right": False, "axes.titlesize": 10, "legend.frameon": False}

OURS = "tab:red"
OTHERS = "tab:gray"
COUNTED = "tab:blue"


def draw(all_results: Sequence[Results], cold: Results | None) -> None:
    """Draw every picture whose suite is there; `cold`: results of a cold start, if there are any."""
    FOLDER.mkdir(exist_ok=True)
    main = {results["suite"] for results in all_results if results["suite"].startswith("main")}

    def panels(draws: Draws, suites: Container[str], after: str = "") -> list[Panel]:
        found = [results for results in all_results if results["suite"] in suites]
        return [
            (data + after, partial(draws, results=results, data=data))
            for results in found
            for data in results["data"]
        ]

    unseen = [] if cold is None else [("items that training never saw", partial(new_items, results=cold))]
    for name, shown in (
        (
            "cost",
            panels(cost, main)
            + panels(partial(cost, of="floats_per_item"), ["sizes"], ", by width")
            + panels(partial(cost, of="cpu_milliseconds_per_user"), ["sizes"], ", by width"),
        ),
        ("head_tail", panels(head_tail, main)),
        ("popularity", panels(popularity, main)),
        ("parts", panels(without_parts, ["parts"])),
        ("new_items", unseen + panels(noisy, ["text_noise"])),
        ("generative", panels(cost, ["generative"])),
    ):
        if shown:
            wide = min(2, len(shown))
            high = -(-len(shown) // wide)
            size = (max(4.5, 4.6 * wide), 3.8 * high)
            figure, axes = plt.subplots(high, wide, figsize=size, squeeze=False, layout="constrained")
            for axis in axes.flat[len(shown) :]:
                axis.remove()
            for axis, (title, draws) in zip(axes.flat, shown, strict=False):
                draws(axis)
                axis.set_title(title)
            figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None})
            plt.close(figure)


def cost(axis: Axes, results: Results, data: str, of: str = "training_cpu_seconds") -> None:
    """NDCG@100 against a cost, and a line that no cheaper row is above."""
    quality = means_of(results, data, "full", "overall", "ndcg@100")
    rows = [c for c in results["costs"] if c["data"] == data]
    # What is counted in a second lies far off.
    least = 0.01 * max(c["training_cpu_seconds"] for c in rows)
    costs = {c["model"]: c[of] for c in rows if c["training_cpu_seconds"] > least}
    places = {name: (spent, quality[name]) for name, spent in costs.items()}
    spent, reached = zip(*sorted(places.values()), strict=True)
    axis.step(spent, list(accumulate(reached, max)), where="post", color=COUNTED, linewidth=0.8)
    named_points(axis, results, places)
    axis.set(xlabel=COST_NAMES[of], ylabel="NDCG@100")


def head_tail(axis: Axes, results: Results, data: str) -> None:
    """NDCG@10 of the tail against that of the head."""
    head, tail = (means_of(results, data, "full", part, "ndcg@10") for part in ("head", "tail"))
    # In the order of the rows, whatever the hash seed.
    named_points(axis, results, {name: (head[name], tail[name]) for name in head if name in tail})
    axis.set(xlabel="head NDCG@10", ylabel="tail NDCG@10")


def named_points(axis: Axes, results: Results, places: Mapping[str, tuple[float, float]]) -> None:
    """A point and a name for each row."""
    for name, place in places.items():
        axis.scatter(*place, color=color(results, name), s=18)
        axis.annotate(name, place, fontsize=6, xytext=(3, 3), textcoords="offset points")


def popularity(axis: Axes, results: Results, data: str) -> None:
    """Gains in NDCG@100 by the popularity of the target."""
    by_row: dict[str, list[float]] = {}
    for group in results["groups"]:
        if (group["data"], group["kind"], group["protocol"]) == (data, "popularity", "full"):
            by_row.setdefault(group["model"], []).append(group["ndcg@100"])
    ours = by_row[results["tested"]]
    for name in ("SASRec", "SASRec + counts + likeness", "Transitions"):
        if name in by_row:
            gains = [100 * (own / other - 1) for own, other in zip(ours, by_row[name], strict=True)]
            axis.plot(range(1, len(gains) + 1), gains, marker="o", label=f"over {name}")
    axis.axhline(0, color="black", linewidth=0.6)
    axis.set(xlabel="popularity group of the target, rarest first", ylabel="gain in NDCG@100, %")
    axis.set_xticks(range(1, len(ours) + 1))
    axis.legend(fontsize=7)


def without_parts(axis: Axes, results: Results, data: str) -> None:
    """What the whole gains in NDCG@100 over itself without each part."""
    rows = column_of(results, data, "full", "overall", "ndcg@100").items()
    gains = sorted(
        ((100 * r["relative"], name) for name, r in rows if name != results["tested"]), reverse=True
    )
    axis.barh([name for _, name in gains], [gain for gain, _ in gains], color=COUNTED)
    axis.axvline(0, color="black", linewidth=0.6)
    axis.set(xlabel=f"gain of {results['tested']} over it in NDCG@100, %")


def new_items(axis: Axes, results: Results) -> None:
    """How many of the cases of withheld items each way of placing them finds among the best 100 of all items."""
    found = {
        record["model"]: record["mean"]
        for record in results["records"]
        if (record["protocol"], record["metric"]) == (SCOPES["all"], "hit@100")
    }
    names = sorted(found, key=found.__getitem__)
    axis.barh(names, [found[name] for name in names], color=[color(results, name) for name in names])
    axis.set(xlabel="Hit@100")


def noisy(axis: Axes, results: Results, data: str) -> None:
    """NDCG@100 of the tail by the share of items that have the text of another one."""
    by_model: dict[str, list[tuple[float, float]]] = {}
    for row, mean in means_of(results, data, "full", "tail", "ndcg@100").items():
        model, _, share = row.rpartition(", share ")
        by_model.setdefault(model, []).append((float(share), mean))
    tested = results["tested"].rpartition(", share ")[0]
    for model, points in by_model.items():
        axis.plot(
            *zip(*sorted(points), strict=True),
            marker="o",
            label=model,
            color=OURS if model == tested else OTHERS,
        )
    axis.set(xlabel="share of items with the text of another one", ylabel="tail NDCG@100")
    axis.legend(fontsize=7)


def color(results: Results, name: str) -> str:
    """Of the tested row, of rows beside what is counted, and of all others."""
    if name == results["tested"]:
        return OURS
    return COUNTED if "counts" in name or name == "Transitions" else OTHERS
