"""What people read in the place of the keys of `metrics.json`."""

from collections.abc import Mapping
from typing import Any

from h2rec.evaluation.settings import FULL, sampled_negatives
from h2rec.run.tables import slice_title

STAGES = {
    "data": "read and clean the data",
    "text": "embed the texts",
    "semantic_ids": "make the semantic IDs",
    "audit": "audit the semantic IDs",
    "train": "train the model",
    "blend": "choose the weights of its branches",
    "evaluate": "rank validation and test",
    "baseline_transitions": "rank the test by item-to-item counts",
    "baseline_pop": "rank the test by popularity",
    "lifts": "test the differences",
    "refit": "train the bundle's model",
    "bundle": "write the bundle",
}
COST = {
    "training_cpu_seconds": "CPU time of the training, seconds",
    "cpu_milliseconds_per_user": "CPU time of ranking all items for a user, milliseconds",
    "floats_per_item": "size of an item's vector, numbers",
}
_GROUPS = {
    ("target", "repeat"): "item is in its user's history",
    ("target", "first time"): "item is new to its user",
    ("target_time", "same day"): "item came on the day of the one before",
    ("target_time", "later day"): "item came on a later day than the one before",
    ("training", "seen"): "item occurs in training",
    ("training", "unseen"): "item never occurs in training",
    ("code_collision", "alone"): "item has its codes to itself",
    ("code_collision", "shared"): "item shares its codes with others",
}


def group_title(group: Mapping[str, Any], popularity_groups: int) -> str:
    """What a group of cases is: popularity counts from 1, the least popular, as the pictures do."""
    kind, name = group["kind"], group["name"]
    if kind == "popularity":
        number = int(name) + 1
        end = {1: ", least popular", popularity_groups: ", most popular"}.get(number, "")
        return f"popularity group {number} of {popularity_groups}{end}"
    if kind == "history_length":
        shortest, _, longest = name.partition("-")
        return f"history of {name if shortest != longest else shortest} items"
    return _GROUPS.get((kind, name), f"{kind}: {name}")


def metric_title(metric: str) -> str:
    """A metric's name as people write it: NDCG@10, Hit@100."""
    return metric.replace("ndcg", "NDCG").replace("hit", "Hit").replace("mrr", "MRR")


def protocol_title(protocol: str) -> str:
    """What a target is ranked among."""
    return "all items ranked" if protocol == FULL else f"among {sampled_negatives(protocol)} random items"


def selected_title(select: str, weight: str | None) -> str:
    """What picks the epoch, such as ``full.overall.ndcg@100``, in words."""
    protocol, part, metric = select.split(".")
    of_part = "" if part == "overall" else f", {slice_title(part, {part: {'name': weight}})}"
    return f"validation {metric_title(metric)}{of_part}, {protocol_title(protocol)}"


def telling(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of `metrics.json` the cut-offs, however deep, at which the whole catalogue is listed."""
    told: dict[str, Any] = _below(metrics, metrics["data"]["items"])
    return told


def _below(figures: Any, items: int) -> Any:
    if isinstance(figures, Mapping):
        cuts = {name: str(name).rpartition("@")[2] for name in figures if "@" in str(name)}
        said_nothing = {name for name, cut in cuts.items() if cut.isdigit() and int(cut) >= items}
        return {name: _below(value, items) for name, value in figures.items() if name not in said_nothing}
    return [_below(value, items) for value in figures] if isinstance(figures, list) else figures
