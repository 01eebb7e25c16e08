"""What a suite's file asks for: models, data sets and seeds, and which rows are compared."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, StrictInt, field_validator, model_validator

from h2rec.errors import ConfigError
from h2rec.evaluation.metrics import metric_name
from h2rec.research.suite.files import Values, nested
from h2rec.settings import Settings

Files = Path | dict[str, Path]
"""One file, or one for each data set by its name."""


class ForeignRow(Settings):
    """What another system answers to the same test cases, as a row of its own; either of the two."""

    ranks: Files | None = None
    """Columns user and rank: the place of each user's target, 1 is best."""
    lists: Files | None = None
    """Columns user, item and rank, or user and items: what was recommended, best first."""

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.ranks is None) == (self.lists is None):
            raise ValueError("expected a file of ranks or of lists, such as {lists: als.parquet}")
        return self

    @property
    def files(self) -> Files:
        """The file, or files by data set."""
        return self.ranks or self.lists or {}

    def file(self, data: str) -> Path | None:
        """The file of a data set."""
        return self.files if isinstance(self.files, Path) else self.files.get(data)


@dataclass(frozen=True)
class Row:
    """A row of the tables: the keys of its model's configuration and, of a sweep, what is swept to which value."""

    values: Values
    model: str
    key: str | None = None
    value: Any = None
    foreign: ForeignRow | None = None
    """Another system's answers, which take the place of a model."""

    @property
    def swept(self) -> Values:
        """What a sweep asks for; it wins over all else."""
        return {} if self.key is None else nested(self.key, self.value)


class SuiteSettings(Settings):
    """What a suite compares. Every part holds the keys of a run's configuration; later parts win."""

    title: str = ""
    """What the suite shows, in a line."""
    base: Values = Field(default_factory=dict)
    """What all runs share."""
    data: dict[str, Values] = Field(min_length=1)
    """Data sets by name. In a file null stands for the data set of that name; see `files.located`."""
    models: dict[str, Values] = Field(min_length=1)
    """Rows of the tables by name; in a file null drops a row of the suite that is extended."""
    foreign: dict[str, ForeignRow] = Field(default_factory=dict)
    """Rows of other systems by name, measured on the same cases from files of their answers."""
    sweep: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)
    """Dotted keys and their values: every model becomes a row for each of them, one key at a time. In a file null
    drops a key of the suite that is extended."""
    unswept: list[str] = Field(default_factory=list)
    """Models that stand beside a sweep as they are."""
    skip: dict[str, list[str]] = Field(default_factory=dict)
    """Models that are not run on a data set (because they need text and it has none)."""
    tuned_as: dict[str, str] = Field(default_factory=dict)
    """Rows, or of a sweep models, that take the settings that were searched for another one, but for keys that they
    set themselves, and have no search of their own. In a file the name of one row says so of all others."""
    seeds: list[StrictInt] = Field([0, 1, 2], min_length=1)
    """Training seeds; codes and sampled negatives are the same for all of them."""
    reference: str | None = None
    """The row that all others are tested against; null takes the last."""
    contrasts: dict[str, list[str]] = Field(default_factory=dict)
    """Further tests that are planned: rows, and for each the rows that it is tested against as well. What a data set
    skips is left out there."""
    metrics: list[str] = Field(["hit@10", "ndcg@10", "hit@100", "hit@500"], min_length=1)
    """Columns of the tables; a protocol that has none of them gets no table."""

    @field_validator("data")
    @classmethod
    def _names_of_folders(cls, data: dict[str, Values]) -> dict[str, Values]:
        for name in data:
            if "/" in name or "\\" in name or name.startswith("."):
                raise ValueError(f"'{name}' can't be the name of a data set's folder")
        return data

    @field_validator("models", "foreign")
    @classmethod
    def _names_of_rows(cls, rows: dict[str, Any]) -> dict[str, Any]:
        for name in rows:
            if not name.strip() or not name.isprintable():
                raise ValueError(f"{name!r} can't be the name of a row")
        return rows

    @field_validator("metrics")
    @classmethod
    def _known_metrics(cls, metrics: list[str]) -> list[str]:
        try:
            return [metric_name(name) for name in metrics]
        except ConfigError as error:
            raise ValueError(error.message) from None

    @field_validator("seeds", "metrics", "unswept")
    @classmethod
    def _each_once(cls, values: list[Any]) -> list[Any]:
        if len(set(values)) < len(values):
            raise ValueError(f"{values} names something twice")
        return values

    @field_validator("sweep")
    @classmethod
    def _values_differ(cls, sweep: dict[str, list[Any]]) -> dict[str, list[Any]]:
        for key, values in sweep.items():
            if key == "train.seed":
                raise ValueError("train.seed: the suite's own seeds are trained with; list them under seeds")
            if len({str(value) for value in values}) < len(values):
                raise ValueError(f"{key}: {values} names a value twice")
        return sweep

    @model_validator(mode="before")
    @classmethod
    def _all_are_tuned_as_one(cls, values: Any) -> Any:
        shared = values.get("tuned_as") if isinstance(values, Mapping) else None
        if isinstance(shared, str) and isinstance(values.get("models"), Mapping):
            return {**values, "tuned_as": {row: shared for row in values["models"] if row != shared}}
        return values

    @model_validator(mode="after")
    def _foreign_rows_have_files(self) -> Self:
        for name, row in self.foreign.items():
            if name in {own.model for own in self.rows.values() if own.foreign is None}:
                raise ValueError(f"foreign.{name}: a model has that name already")
            if isinstance(row.files, Path) and len(self.data) > 1:
                raise ValueError(f"foreign.{name}: name a file for each data set, {', '.join(self.data)}")
            if all(row.file(data) is None for data in self.data):
                raise ValueError(f"foreign.{name}: no file for any data set of {', '.join(self.data)}")
        return self

    @model_validator(mode="after")
    def _names_are_rows(self) -> Self:
        if self.reference is not None and self.reference not in self.rows:
            raise ValueError(f"reference '{self.reference}' is none of the rows {_quoted(self.rows)}")
        for row, others in self.contrasts.items():
            unknown = [name for name in (row, *others) if name not in self.rows]
            if unknown:
                raise ValueError(f"contrasts: '{unknown[0]}' is none of the rows {_quoted(self.rows)}")
            if row in others or len(set(others)) < len(others):
                raise ValueError(f"contrasts.{row}: expected other rows, each once")
        if unknown := [name for name in self.unswept if name not in self.models]:
            raise ValueError(f"unswept: '{unknown[0]}' is none of the models {', '.join(self.models)}")
        for row, other in self.tuned_as.items():
            known = dict.fromkeys((*self.rows, *self.models))
            if unknown := [name for name in (row, other) if name not in known]:
                raise ValueError(f"tuned_as: '{unknown[0]}' is none of the rows {_quoted(known)}")
            if other in self.tuned_as:
                raise ValueError(f"tuned_as.{row}: '{other}' has no search of its own either")
        for data, names in self.skip.items():
            unknown = [name for name in names if name not in self.models]
            if unknown:
                raise ValueError(
                    f"skip.{data}: '{unknown[0]}' is none of the models {', '.join(self.models)}"
                )
        return self

    @property
    def rows(self) -> dict[str, Row]:
        """Rows of the tables by name: other systems', and the models, or with a sweep one for each of their values."""
        rows = {name: Row({}, name, foreign=row) for name, row in self.foreign.items()}
        for name, values in self.models.items():
            if not self.sweep or name in self.unswept:
                rows[name] = Row(values, name)
                continue
            for key, swept in self.sweep.items():
                label = self._short(key)
                rows |= {f"{name}, {label} {value}": Row(values, name, key, value) for value in swept}
        return rows

    def _short(self, key: str) -> str:
        """The end of a swept key, where no other one ends alike."""
        end = key.rpartition(".")[2]
        alike = [other for other in self.sweep if other.rpartition(".")[2] == end]
        return (end if len(alike) == 1 else key.replace(".", " ")).replace("_", " ")

    @property
    def tested(self) -> str:
        """Name of the row that all others are tested against."""
        return self.reference or list(self.rows)[-1]


def _quoted(names: Iterable[str]) -> str:
    """Names of rows, which may hold commas."""
    return ", ".join(f"'{name}'" for name in names)
