"""Is it better than what I have? Popularity and item-to-item counts, measured on the very same test cases."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.evaluation.settings import FULL, EvaluateSettings
from h2rec.evaluation.significance import compare_models
from h2rec.files import read_json, write_json
from h2rec.frames import read_parquet, write_parquet
from h2rec.models.build import build_model
from h2rec.models.settings import ModelSettings, parse_model
from h2rec.run.blend import BlendSettings, fit_weights, has_choice, searched
from h2rec.run.learning import EVALUATION_SEED, Learning, sample_of
from h2rec.run.presets import preset_values
from h2rec.run.stages import Stage
from h2rec.run.tables import SLICES, WEIGHTED
from h2rec.run.words import metric_title

BASELINES = {"transitions": "item-to-item counts", "pop": "popularity"}
"""Presets that every run is measured beside, and what sentences call them."""
COMPARED = ("ndcg@10", "hit@100")
"""Metrics that are tested."""
LEVEL = 0.05
"""P-values below this are told as a difference."""
RESAMPLES = 2_000
"""Bootstrap samples: enough for an interval, and a second's work for twenty thousand users."""
MANY_TIMES = 9
"""Relative gains from here on are told as a multiple."""


Lifts = dict[str, dict[str, dict[str, Any]]]
"""By the other model, slice and metric."""


class Baselines(Learning):
    """One configuration, whose model can be measured beside models that need no training; see `Learning`."""

    def beside(self, settings: EvaluateSettings, own: Stage) -> dict[str, Any]:
        """Measure the baselines on the test cases of this run, and test the model against them.

        Parameters
        ----------
        settings
            How the run's own model was measured.
        own
            The stage with its ranks.

        Returns
        -------
        dict
            By baseline: ``protocol`` (full where it is measured, else the first), that protocol's whole block of
            `Evaluation.metrics`, and ``lift``: slice (``weighted`` too where cases have weights) -> metric -> the
            model's ``difference`` from the baseline, the ``relative`` one with its 95% interval (``low``, ``high``;
            None over a baseline that finds nothing) and ``p``, the larger of bootstrap and t test, Holm-corrected over
            the baselines. A model that is itself a baseline is not compared with that one.
        """
        ours = self.config.model.model_dump(mode="json").get("branches")
        stages = {}
        for name in BASELINES:
            model = self._baseline(name)
            if model.model_dump(mode="json")["branches"] != ours:
                stages[name] = self._measured(name, model, settings)
        if not stages:
            return {}
        protocol = FULL if FULL in settings.protocols else settings.protocols[0]
        blocks = {name: read_json(stage.folder / "metrics.json")[protocol] for name, stage in stages.items()}
        metrics = compared(next(iter(blocks.values())))
        depends: dict[str, Any] = {"evaluate": own.key, "protocol": protocol, "metrics": metrics}
        depends |= {"against": {name: stage.key for name, stage in stages.items()}}

        def work(folder: Path) -> None:
            ranks = {name: read_parquet(stage.folder / "ranks.parquet") for name, stage in stages.items()}
            ours = read_parquet(own.folder / "ranks.parquet").filter(pl.col("split") == "test")
            found: Lifts = {name: {} for name in stages}
            if next(iter(blocks.values()))["overall"]["cases"] > 1:  # a test needs two cases
                found = lifts_over(ours, ranks, self.head, metrics, protocol=protocol)
            write_json(folder / "lifts.json", found)

        lifts = read_json(self.stage("lifts", depends, work).folder / "lifts.json")
        return {name: {"protocol": protocol, **blocks[name], "lift": lifts[name]} for name in stages}

    def _baseline(self, name: str) -> ModelSettings:
        """A baseline's model, without what these data can't count."""
        model: ModelSettings = parse_model(preset_values(name)["model"], default="branches")
        known = model.without(codes=self.semantic_ids is None, text=self.embeddings is None)
        return model if known is None else known

    def _measured(self, name: str, model: ModelSettings, settings: EvaluateSettings) -> Stage:
        """Ranks and metrics of the test cases; what its branches weigh is chosen on validation, as for any model."""
        select, codes = self.config.train.select, self.semantic_id_stage
        search = searched(self.dataset.item_count)
        depends = {
            "data": self.data_stage.key,
            "split": self.config.data.model_dump(mode="json", include={"split", "test_share"}),
            "groups": self._sliced_by,
            "model": model.model_dump(mode="json"),
            "select": select,
            "evaluate": settings.model_dump(mode="json"),
            "semantic_ids": None if codes is None else codes.key,
            "device": self.device.type,
            "blend": search,
        }

        def work(folder: Path) -> None:
            chosen = model
            if has_choice(model, BlendSettings()):
                cases = self._selecting_cases(self.repeats.rule)
                fitted = fit_weights(
                    build_model(model, self.features, seed=EVALUATION_SEED).to(self.device).eval(),
                    model,
                    sample_of(cases, search["cases"]),
                    select=select,
                    head=self.head,
                    repeats=self.repeats.rule,
                    seed=EVALUATION_SEED,
                )
                chosen = model.with_weights(fitted["weights"])
            evaluation = self._evaluate(
                build_model(chosen, self.features, seed=EVALUATION_SEED).to(self.device).eval(),
                self.split.test,
                settings,
                progress=f"ranking test, {BASELINES[name]}",
            )
            write_parquet(evaluation.ranks, folder / "ranks.parquet")
            write_json(folder / "metrics.json", evaluation.metrics)

        return self.stage(f"baseline_{name}", depends, work)


def lifts_over(
    ours: pl.DataFrame,
    others: Mapping[str, pl.DataFrame],
    head: npt.NDArray[np.bool_],
    metrics: Sequence[str],
    *,
    protocol: str = FULL,
) -> Lifts:
    """Test a model's ranks of the test cases against those of others: see ``lift`` of `Baselines.beside`.

    `head`: which items are head items, bool `[N + 1]`.
    """
    frame = compare_models(
        {"": [ours], **{name: [ranks] for name, ranks in others.items()}},
        "",
        metrics,
        protocol=protocol,
        slices={"overall": np.ones_like(head), "head": head, "tail": ~head},
        weighted=WEIGHTED if "weight" in ours.columns else None,
        family=("slice", "metric"),
        resamples=RESAMPLES,
    )
    return {name: _lifts(frame, name) for name in others}


def compared(block: Mapping[str, Any]) -> list[str]:
    """Metrics of a protocol's block that are told first, and tested."""
    return [name for name in COMPARED if name in block["overall"]] or ["mrr"]


def _lifts(frame: pl.DataFrame, name: str) -> dict[str, dict[str, Any]]:
    """Rows of `compare_models` against one baseline, by slice and metric."""
    lifts: dict[str, dict[str, Any]] = {}
    for row in frame.iter_rows(named=True):
        if row["other"] == name:
            base = row["other_mean"]
            lifts.setdefault(row["slice"], {})[row["metric"]] = {
                "difference": row["difference"],
                "relative": row["relative"],
                "low": row["low"] / base if base else None,
                "high": row["high"] / base if base else None,
                "p": max(row["p_bootstrap_holm"], row["p_t_holm"]),
            }
    return lifts


def verdicts(baselines: Mapping[str, Any], names: Mapping[str, str] = BASELINES) -> Iterator[str]:
    """One sentence for each baseline of `Baselines.beside`: how much better the model is, for whom, how surely.

    `names`: what sentences call them.
    """
    for name, block in baselines.items():
        lifts: Mapping[str, Mapping[str, Any]] = block["lift"]
        if not lifts.get("overall"):  # a catalogue too small for any cut-off
            continue
        metric, lift = next(iter(lifts["overall"].items()))
        by_part = {part: lifts[part][metric]["relative"] for part in SLICES[1:] if part in lifts}
        parts = [
            f"{part} {change(relative)} ({p_value(lifts[part][metric]['p'])})"
            for part, relative in by_part.items()
            if relative is not None
        ]
        sentence = ", ".join([_verdict(metric_title(metric), lift, names[name]), *parts])
        nothing = [f"the {part}" for part, relative in by_part.items() if relative is None]
        if nothing and lift["relative"] is not None:
            sentence += f"; in {' and '.join(nothing)} {names[name]} finds nothing"
        if (weighted := lifts.get(WEIGHTED)) and weighted[metric]["relative"] is not None:
            told = f"{change(weighted[metric]['relative'])} ({p_value(weighted[metric]['p'])})"
            sentence += f"; by {block[WEIGHTED]['name']}: {told}"
        yield f"{sentence}."


def _verdict(metric: str, lift: Mapping[str, Any], other: str) -> str:
    relative, low, high = lift["relative"], lift["low"], lift["high"]
    if relative is None:
        return f"{metric} is {lift['difference']:.4f}, and {other} finds nothing"
    if lift["p"] >= LEVEL:
        return (
            f"{metric} does not differ significantly from {other}: {change(relative)} "
            f"(95% interval {change(low)} to {change(high)})"
        )
    if relative >= MANY_TIMES:
        return (
            f"{metric} is {_times(relative)} that of {other} (95% interval {low + 1:.0f} to {_times(high)})"
        )
    side = "above" if relative > 0 else "below"
    # The end that is nearer to nothing first.
    ends = [change(end) for end in sorted((low, high), key=abs)]
    interval = " to ".join(end.lstrip("+-") if low * high > 0 else end for end in ends)
    return f"{metric} is {change(relative).lstrip('+-')} {side} {other} (95% interval {interval})"


def p_value(p: float) -> str:
    """A p-value as sentences tell it."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def change(relative: float) -> str:
    """A relative difference in percent; a large one as a multiple."""
    if relative >= MANY_TIMES:
        return _times(relative)
    return f"{relative:+.1%}" if abs(relative) < 0.1 else f"{relative:+.0%}"


def _times(relative: float) -> str:
    return f"{relative + 1:.0f} times"
