"""Pictures of docs/results.md and docs/generative.md, from the files that `keep` left; without results one stays."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from h2rec.research.suite.tables import column_of, means_of

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "pictures"
Results = Mapping[str, Any]

mpl.use("svg")
# The same file for the same figures: no dates, no random names.
mpl.rcParams |= {"svg.hashsalt": "h2rec", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False}
mpl.rcParams |= {"axes.spines.right": False, "axes.titlesize": 10, "legend.frameon": False}

OURS = "tab:red"
OTHERS = "tab:gray"
COUNTED = "tab:blue"


def draw(all_results: Sequence[Results]) -> None:
    """Draw every picture whose suite is there."""
    FOLDER.mkdir(exist_ok=True)
    main = [results for results in all_results if results["suite"].startswith("main")]
    parts = [results for results in all_results if results["suite"] == "parts"]
    for name, of, found in (
        ("cost", cost, main),
        ("head_tail", head_tail, main),
        ("popularity", popularity, main),
        ("parts", without_parts, parts),
        ("generative", cost, [results for results in all_results if results["suite"] == "generative"]),
    ):
        panels = [(data, results) for results in found for data in results["data"]]
        if panels:
            wide = min(2, len(panels))
            high = -(-len(panels) // wide)
            size = (max(4.5, 4.6 * wide), 3.8 * high)
            figure, axes = plt.subplots(high, wide, figsize=size, squeeze=False, layout="constrained")
            for axis in axes.flat[len(panels) :]:
                axis.remove()
            for axis, (data, results) in zip(axes.flat, panels, strict=False):
                of(axis, results, data)
                axis.set_title(data)
            figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None})
            plt.close(figure)


def cost(axis: Axes, results: Results, data: str) -> None:
    """NDCG@100 against CPU seconds of training."""
    quality = means_of(results, data, "full", "overall", "ndcg@100")
    for record in (c for c in results["costs"] if c["data"] == data):
        name, seconds = record["model"], max(1.0, record["training_cpu_seconds"])
        axis.scatter(seconds, quality[name], color=color(results, name), s=18)
        axis.annotate(name, (seconds, quality[name]), fontsize=6, xytext=(3, 3), textcoords="offset points")
    axis.set(xscale="log", xlabel="training, CPU seconds", ylabel="NDCG@100")


def head_tail(axis: Axes, results: Results, data: str) -> None:
    """NDCG@10 of the tail against that of the head."""
    head, tail = (means_of(results, data, "full", part, "ndcg@10") for part in ("head", "tail"))
    for name in (name for name in head if name in tail):  # in the order of the rows, whatever the hash seed
        axis.scatter(head[name], tail[name], color=color(results, name), s=18)
        axis.annotate(name, (head[name], tail[name]), fontsize=6, xytext=(3, 3), textcoords="offset points")
    axis.set(xlabel="head NDCG@10", ylabel="tail NDCG@10")


def popularity(axis: Axes, results: Results, data: str) -> None:
    """Gains in NDCG@100 by the popularity of the target."""
    by_row: dict[str, list[float]] = {}
    for group in results["groups"]:
        if (group["data"], group["kind"], group["protocol"]) == (data, "popularity", "full"):
            by_row.setdefault(group["model"], []).append(group["ndcg@100"])
    ours = by_row[results["tested"]]
    for name in ("SASRec", "SASRec + counts + text", "Transitions"):
        if name in by_row:
            gains = [100 * (own / other - 1) for own, other in zip(ours, by_row[name], strict=True)]
            axis.plot(range(1, len(gains) + 1), gains, marker="o", label=f"over {name}")
    axis.axhline(0, color="black", linewidth=0.6)
    axis.set(xlabel="popularity group of the target, rarest first", ylabel="gain in NDCG@100, %")
    axis.set_xticks(range(1, len(ours) + 1))
    axis.legend(fontsize=7)


def without_parts(axis: Axes, results: Results, data: str) -> None:
    """What is lost in NDCG@100 without each part."""
    changes = sorted(losses(results, data))
    axis.barh([name for _, name in changes], [change for change, _ in changes], color=COUNTED)
    axis.axvline(0, color="black", linewidth=0.6)
    axis.set(xlabel="NDCG@100 against the whole, %")


def losses(results: Results, data: str) -> Iterator[tuple[float, str]]:
    """Relative changes in percent, and the rows that they are of."""
    whole = column_of(results, data, "full", "overall", "ndcg@100")[results["tested"]]["mean"]
    for name, mean in means_of(results, data, "full", "overall", "ndcg@100").items():
        if name != results["tested"]:
            yield 100 * (mean / whole - 1), name


def color(results: Results, name: str) -> str:
    """Of the tested row, of rows beside what is counted, and of all others."""
    if name == results["tested"]:
        return OURS
    return COUNTED if "counts" in name or name == "Transitions" else OTHERS
