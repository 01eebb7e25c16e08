"""Whether one model beats another: paired tests over users, on saved ranks.

The unit is the user. Each user's metric is first averaged over the seeds: seeds of one user are not independent, and
stacking them would make p-values too small. So the test holds for the mean over these seeds. The spread shows how
far single seeds lie apart.

A slice is a weighting of the cases: by 0 and 1, or by a column of the user's. Values are scaled by the weight over the
mean weight, so that their plain mean is the weighted mean, and the tests are those of any mean. The sum of weights is
above 0 in every bootstrap sample, so that dividing by the sample's own sum would turn no sign and change no p-value.
The interval takes that sum as fixed: weights belong to the cases, and are not measured. An interval of the ratio, whose
sum of weights is drawn along, is narrower by about d_z squared: 0 to 3% where weights were made up log-normal.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import partial

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.errors import ConfigError, DataError
from h2rec.evaluation.metrics import Floats, per_case
from h2rec.evaluation.paired_tests import PairedTests, holm, paired_tests

Runs = Mapping[str, Sequence[pl.DataFrame]]
"""Model name -> one frame of ranks (``user``, ``target``, ``rank_PROTOCOL``) for each seed; see `Evaluation.ranks`."""
Row = dict[str, str | int | float | None]


def compare_models(
    runs: Runs,
    model: str,
    metrics: Sequence[str],
    *,
    protocol: str = "full",
    slices: Mapping[str, npt.NDArray[np.bool_]] | None = None,
    weighted: str | None = None,
    family: Sequence[str] = (),
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pl.DataFrame:
    """Compare a model with every other one, on the same users.

    Parameters
    ----------
    runs
        Frames of ranks of each model, one for each seed, all of the same cases in any order. Numbers of seeds may
        differ. Cases without a rank are left out; they must be the same ones in all frames.
    model
        Name of the model under test.
    metrics
        Such as ``hit@10``, ``ndcg@100``, ``mrr``.
    protocol
        Whose ranks are compared.
    slices
        Slice name -> which targets belong to it, bool `[N + 1]`, padding first; all cases if None.
    weighted
        Name of one more slice: all cases, each by its `weight` in the frames.
    family
        Columns: p-values of rows with equal values there are corrected together. By default the whole table is one
        family, the strictest choice; ``("slice", "metric")`` corrects over the other models alone.
    resamples
        Bootstrap samples of users; the smallest possible p-value is ``2 / (resamples + 1)``.
    confidence
        Of the percentile interval of the difference.
    seed
        Of the bootstrap. All comparisons within a slice share their samples.

    Returns one row for each slice, metric and other model: ``slice, metric, model, other, cases, model_seeds,
    other_seeds, model_mean, other_mean, model_spread, other_spread`` (standard deviation of the mean over seeds, null
    for one seed), ``difference`` (model minus other), ``relative`` (to the other's mean, null if that is 0), ``low,
    high`` (interval of the difference), ``p_bootstrap, p_t`` (two-sided), ``effect_size`` (Cohen's d_z) and the
    Holm-corrected ``p_bootstrap_holm, p_t_holm``. Slices with fewer than two cases (of a weight above 0) are left out.

    Raises `DataError` if frames lack a column, list a user twice, or differ in their users, targets or in what is set
    apart; if no slice has two cases; `ConfigError` if the model or a metric is unknown.
    """
    if model not in runs:
        raise ConfigError(f"no ranks of model '{model}'", f"there are ranks of {', '.join(runs)}")
    if len(runs) == 1:
        raise ConfigError(f"there is no other model to compare '{model}' with")
    cases, ranks = _aligned(runs, f"rank_{protocol}", *(() if weighted is None else ("weight",)))
    targets = cases["target"].to_numpy()
    if slices is None:
        slices = {"overall": np.ones(targets.max(initial=0) + 1, dtype=bool)}
    test = partial(paired_tests, resamples=resamples, confidence=confidence, seed=seed)
    weights = {name: members[targets].astype(np.float64) for name, members in slices.items()}
    if weighted is not None:
        weights[weighted] = cases["weight"].to_numpy()
    rows: list[Row] = []
    for name, weight in weights.items():
        counted = weight > 0
        if counted.sum() < 2:
            continue
        scale = (weight[counted] / weight[counted].mean())[:, None]
        values = {run: _values(table[:, counted], metrics) * scale for run, table in ranks.items()}
        rows.extend({"slice": name, **row} for row in _compare_in_slice(values, model, metrics, test))
    if not rows:
        raise DataError("no slice has the two cases that a test needs")
    frame = pl.DataFrame(rows, infer_schema_length=None)
    return frame.with_columns(_holm_within(frame, p_value, family) for p_value in ("p_bootstrap", "p_t"))


def _aligned(runs: Runs, column: str, *more: str) -> tuple[pl.DataFrame, dict[str, npt.NDArray[np.int64]]]:
    """The cases, `target` and `more` columns, and each model's ranks `[seeds, n]`, of the same users in one order."""
    ordered = {model: _ordered(frames, column, more, model) for model, frames in runs.items()}
    first = next(iter(ordered.values()))[0]
    for model, frames in ordered.items():
        for number, frame in enumerate(frames, start=1):
            _check_same_cases(frame, first, column, _where(model, number))
    ranked = first[column].is_not_null()
    ranks = {
        model: np.stack([frame[column].filter(ranked).to_numpy() for frame in frames])
        for model, frames in ordered.items()
    }
    return first.filter(ranked), ranks


def _ordered(
    frames: Sequence[pl.DataFrame], column: str, more: Sequence[str], model: str
) -> list[pl.DataFrame]:
    if len(frames) == 0:
        raise DataError(f"no ranks of model '{model}'", "run it with at least one seed")
    for number, frame in enumerate(frames, start=1):
        missing = [name for name in ("user", "target", column, *more) if name not in frame.columns]
        if missing:
            raise DataError(
                f"{_where(model, number)}: no column '{missing[0]}'",
                f"the columns are {', '.join(frame.columns)}",
            )
    whole = pl.col("user", "target", column).cast(pl.Int64)
    return [frame.select(whole, *more).sort("user") for frame in frames]


def _where(model: str, number: int) -> str:
    return f"ranks of '{model}', run {number}"


def _check_same_cases(ordered: pl.DataFrame, first: pl.DataFrame, column: str, where: str) -> None:
    twice = ordered.filter(pl.col("user").is_duplicated())
    if twice.height:
        raise DataError(f"{where}: user {twice['user'][0]} is listed twice", "compare one split at a time")
    absent = first.join(ordered, on="user", how="anti").height
    added = ordered.join(first, on="user", how="anti").height
    if absent or added:
        raise DataError(
            f"{where}: {absent} users of the first run are missing and {added} are new",
            "a paired comparison needs runs on the same data, split and holdout",
        )
    other = ordered.filter(ordered["target"] != first["target"])
    if other.height:
        raise DataError(
            f"{where}: user {other['user'][0]} and {other.height - 1} more have another target than in the "
            "first run",
            "a paired comparison needs runs on the same data, split and holdout",
        )
    if "weight" in ordered.columns and not ordered["weight"].equals(first["weight"]):
        raise DataError(
            f"{where}: cases weigh something else than in the first run",
            "a paired comparison needs runs with the same data.columns.weight",
        )
    apart = ordered.filter(ordered[column].is_null() != first[column].is_null())
    if apart.height:
        raise DataError(
            f"{where}: {apart.height} cases are set apart in this run or in the first one, not in both",
            "a paired comparison needs runs with the same evaluate.repeats and the same protocol",
        )


def _values(ranks: npt.NDArray[np.int64], metrics: Sequence[str]) -> Floats:
    """Metrics of every seed and case, `[seeds, n, metrics]`."""
    return np.stack([per_case(ranks, metric) for metric in metrics], axis=-1)


def _compare_in_slice(
    values: dict[str, Floats], model: str, metrics: Sequence[str], test: Callable[[Floats], PairedTests]
) -> Iterator[Row]:
    """Compare per-case values `[seeds, n, metrics]` of a model with those of every other one."""
    others = [name for name in values if name != model]
    ours = values[model].mean(axis=0)
    tested = test(np.concatenate([ours - values[other].mean(axis=0) for other in others], axis=1))
    for column, (other, index) in enumerate((o, i) for o in others for i in range(len(metrics))):
        row: Row = {"metric": metrics[index], "model": model, "other": other, "cases": len(ours)}
        row |= _describe(values[model][:, :, index], values[other][:, :, index])
        for field in fields(tested):
            row[field.name] = float(getattr(tested, field.name)[column])
        yield row


def _describe(ours: Floats, theirs: Floats) -> Row:
    """Means and spreads of per-case values `[seeds, n]`."""
    mean, other_mean = float(ours.mean()), float(theirs.mean())
    return {
        "model_seeds": len(ours),
        "other_seeds": len(theirs),
        "model_mean": mean,
        "other_mean": other_mean,
        "model_spread": _spread(ours),
        "other_spread": _spread(theirs),
        "difference": mean - other_mean,
        "relative": mean / other_mean - 1 if other_mean else None,
    }


def _spread(values: Floats) -> float | None:
    return float(values.mean(axis=1).std(ddof=1)) if len(values) > 1 else None


def _holm_within(frame: pl.DataFrame, p_value: str, family: Sequence[str]) -> pl.Series:
    corrected = np.empty(frame.height)
    numbered = frame.with_row_index("row")
    for members in numbered.partition_by(family) if family else [numbered]:
        corrected[members["row"].to_numpy()] = holm(members[p_value].to_numpy())
    return pl.Series(f"{p_value}_holm", corrected)
