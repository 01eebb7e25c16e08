"""Figures of a trained model, as a person looks at them."""

from dataclasses import dataclass, field
from typing import Any

import polars as pl

from h2rec.errors import needs_extra
from h2rec.native import POLARS, Kind
from h2rec.run.baselines import BASELINES, verdicts
from h2rec.run.tables import LEADING, apart, slice_title, slices
from h2rec.run.words import telling
from h2rec.shown import Shown

_OWN = "this model"


@dataclass(frozen=True, repr=False)
class Figures(Shown):
    """What a model is worth on held-out interactions; prints, plots, and gives a frame of all figures."""

    metrics: dict[str, Any]
    """The content of `metrics.json`."""
    kind: Kind = field(default=POLARS, compare=False)
    """What `to_frame` gives."""

    @property
    def protocol(self) -> str:
        """What is shown: the ranking of all items, or whatever else was asked for first."""
        return "full" if "full" in self.metrics["test"] else next(iter(self.metrics["test"]))

    @property
    def title(self) -> str:
        block = self.metrics["test"][self.protocol]
        return ", ".join(
            filter(
                None, (f"test, {self.protocol} ranking of {block['overall']['cases']:,} cases", apart(block))
            )
        )

    @property
    def notes(self) -> list[str]:
        """How the model stands beside popularity and item-to-item counts."""
        return list(verdicts(self.metrics.get("baselines", {})))

    def table(self) -> pl.DataFrame:
        metrics = telling(self.metrics)
        own = metrics["test"][self.protocol]
        shown = [name for name in LEADING if name in own["overall"]] or _metrics_of(own["overall"])
        blocks = {_OWN: own} | {
            BASELINES[name]: block
            for name, block in metrics.get("baselines", {}).items()
            if block["protocol"] == self.protocol
        }
        return pl.DataFrame(
            [
                {
                    "items": slice_title(part, own),
                    "model": model,
                    **{name: block[part][name] for name in shown},
                }
                for part in slices(*blocks.values())
                for model, block in blocks.items()
            ]
        )

    def frame(self) -> pl.DataFrame:
        """Return every figure: a row a split, protocol and slice, a column a metric."""
        return pl.DataFrame(
            [
                {"split": split, "protocol": protocol, "items": slice_title(part, block)}
                | {"cases": block[part]["cases"]}
                | {name: block[part][name] for name in _metrics_of(block[part])}
                for split in ("test", "valid")
                for protocol, block in self.metrics[split].items()
                for part in slices(block)
            ],
            infer_schema_length=None,
        )

    def plot(self) -> Any:
        """Return a Plotly figure of what is shown: a bar for each model, slice and metric.

        Raises
        ------
        MissingExtraError
            If plotly is not installed.
        """
        with needs_extra("plotting", "report"):
            import plotly.graph_objects as go
        long = self.table().unpivot(index=["items", "model"], variable_name="metric")
        bars = [
            go.Bar(name=model, x=[rows["items"], rows["metric"]], y=rows["value"])
            for (model,), rows in long.group_by("model", maintain_order=True)
        ]
        return go.Figure(bars, layout={"title": self.title, "barmode": "group", "template": "plotly_white"})


def _metrics_of(values: dict[str, Any]) -> list[str]:
    return [
        name
        for name, value in values.items()
        if name not in ("cases", "name") and isinstance(value, float | None)
    ]
