"""Rows of an experiment's log: read from every file and checked one by one. None is lost without being counted."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import polars as pl
import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from h2rec.data.readers.lines import open_bytes
from h2rec.errors import DataError
from h2rec.frames import read_parquet

_AT_ONCE = 50_000
_KINDS = (".jsonl", ".jsonl.gz", ".jsonl.part", ".parquet")
_EARLIEST, _LATEST = 1e8, 1e11
"""Seconds since 1970 that a clock may show: 1973 to 5138. Milliseconds lie beyond."""


def _moment(value: Any) -> float:
    """Seconds since 1970 (UTC) of ISO 8601, seconds, or a column of times."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("no time in ISO 8601") from None
    if isinstance(value, datetime):
        value = (value if value.tzinfo is not None else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("no time")
    if not _EARLIEST < value < _LATEST:
        raise ValueError("no seconds since 1970")
    return float(value)


Id = Annotated[str, Field(min_length=1)]
Amount = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(gt=0, le=1)]


class Row(BaseModel):
    """One event, as `docs/experiments.md` has its columns."""

    model_config = ConfigDict(
        extra="allow", coerce_numbers_to_str=True, str_strip_whitespace=True, allow_inf_nan=False
    )

    event: Literal["impressions", "impression", "click", "conversion", "dwell"]
    event_id: Id | None = None
    time: Annotated[float, BeforeValidator(_moment)]
    user_id: Id
    experiment: Id | None = None
    arm: Id | None = None
    request_id: Id
    bundle: Id | None = None
    items: list[Id] | None = None
    heads: list[bool | None] | None = Field(None, alias="head")
    propensities: list[Probability] | None = None
    teams: list[Id | None] | None = None
    item_id: Id | None = None
    position: int | None = Field(None, ge=1)
    propensity: Probability | None = None
    bid: Amount | None = None
    spend: Amount | None = None
    seconds: Amount | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_head_is_a_list(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("head"), bool):
            return {**values, "head": [values["head"]]}
        return values

    @model_validator(mode="after")
    def _holds_what_its_event_needs(self) -> Self:
        if (self.arm is None) != (self.experiment is None) and self.event == "impressions":
            raise ValueError("experiment and arm belong together")
        if self.event == "impressions":
            if self.items is None:
                raise ValueError("no items")
            if len(set(self.items)) < len(self.items):
                raise ValueError("an item stands twice in items")
            for name, values in (
                ("head", self.heads), ("propensities", self.propensities), ("teams", self.teams)
            ):  # fmt: skip
                if values is not None and len(values) != len(self.items):
                    raise ValueError(f"{name} and items differ in length")
            return self
        if self.event_id is None:
            raise ValueError("no event_id")
        if self.item_id is None:
            raise ValueError("no item_id")
        if self.event == "dwell" and self.seconds is None:
            raise ValueError("no seconds")
        return self


_TEXT, _NUMBER = pa.large_string(), pa.float64()
_SCHEMA = {
    **dict.fromkeys(("event", "event_id"), _TEXT),
    "time": _NUMBER,
    **dict.fromkeys(("user_id", "experiment", "arm", "request_id", "bundle"), _TEXT),
    "items": pa.large_list(_TEXT),
    "heads": pa.large_list(pa.bool_()),
    "propensities": pa.large_list(_NUMBER),
    "teams": pa.large_list(_TEXT),
    "item_id": _TEXT,
    "position": pa.int64(),
    **dict.fromkeys(("propensity", "bid", "spend", "seconds"), _NUMBER),
}
_PLACE = {"content": pa.int64(), "file": pa.int32(), "line": pa.int64()}
"""A row's content as a number, and where it stands: the file's number and the line or row, from 1."""


@dataclass
class Tally:
    """What became of the rows that count for nothing."""

    files: list[Path]
    read: int = 0
    found: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    """Kind and reason -> number of rows, and the first one's file and line."""
    extra: dict[str, int] = field(default_factory=dict)
    """Columns that are none of ours -> rows that have them."""

    def add(self, kind: str, reason: str, rows: int, file: int, line: int) -> None:
        """Count rows of one fate; `file` and `line` are those of the first."""
        entry = self.found.setdefault((kind, reason), [0, (file, line)])
        entry[0] += rows
        entry[1] = min(entry[1], (file, line))

    def add_fates(self, frame: pl.DataFrame) -> None:
        """Count rows by their column `fate`, ``kind: reason``; null is a row that is used."""
        lost = frame.filter(pl.col("fate").is_not_null()).sort("file", "line")
        for fate, rows, file, line in (
            lost.group_by("fate", maintain_order=True).agg(pl.len(), pl.first("file", "line")).iter_rows()
        ):
            kind, _, reason = fate.partition(": ")
            self.add(kind, reason, rows, file, line)

    def rows(self, *kinds: str) -> int:
        """Number of rows of some kinds."""
        return sum(entry[0] for (kind, _), entry in self.found.items() if kind in kinds)

    def findings(self) -> list[dict[str, Any]]:
        """Plain values, the most frequent first."""
        return [
            {"kind": kind, "reason": reason, "rows": rows, "first": f"{self.files[file]}:{line}"}
            for (kind, reason), (rows, (file, line)) in sorted(
                self.found.items(), key=lambda entry: (-entry[1][0], entry[0])
            )
        ]


def log_files(path: Path) -> list[Path]:
    """Files of a log, by name. Raises `DataError` if there are none."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder")
    files = sorted(file for file in path.rglob("*") if file.name.endswith(_KINDS) and file.is_file())
    if not files:
        raise DataError(f"{path}: no log in this folder", f"a log's files end in {', '.join(_KINDS)}")
    return files


def read_rows(path: Path) -> tuple[pl.DataFrame, Tally]:
    """Read all files of a log; rows that can't be used are counted in the tally, with their first place.

    Raises `DataError` if there is no log, or a file can't be opened.
    """
    tally = Tally(log_files(path))
    frames: list[pl.DataFrame] = []
    rows: list[tuple[Any, ...]] = []
    for number, file in enumerate(tally.files):
        parsed = _of_parquet(file) if file.suffix == ".parquet" else _of_lines(file)
        for line, row in parsed:
            tally.read += 1
            if isinstance(row, str):
                kind, _, reason = row.partition(": ")
                tally.add(kind, reason, 1, number, line)
                continue
            for name in row.model_extra or ():
                tally.extra[name] = tally.extra.get(name, 0) + 1
            values = tuple(row.__dict__[name] for name in _SCHEMA)
            rows.append((*values, hash(repr(values)), number, line))
            if len(rows) == _AT_ONCE:
                frames.append(_frame(rows))
                rows = []
    return pl.concat([*frames, _frame(rows)], rechunk=True), tally


def _frame(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    schema = {**_SCHEMA, **_PLACE}
    columns = zip(*rows, strict=True) if rows else ((),) * len(schema)
    # Arrow builds columns of lists many times faster than Polars does.
    table = pa.table(
        {name: pa.array(values, kind) for (name, kind), values in zip(schema.items(), columns, strict=True)}
    )
    return pl.DataFrame(table)


def _of_lines(path: Path) -> Iterator[tuple[int, Row | str]]:
    growing = path.suffix == ".part"
    with open_bytes(path) as stream:
        for number, raw in enumerate(stream, start=1):
            if not raw.strip():
                continue
            try:
                yield number, Row.model_validate_json(raw)
            except ValidationError as error:
                # The server was stopped, or is, in the middle of this line: a whole object ends in its brace.
                torn = growing and not raw.endswith(b"\n") and error.errors()[0]["type"] == "json_invalid"
                yield number, "torn: the last line of a file that is being written" if torn else _why(error)


def _of_parquet(path: Path) -> Iterator[tuple[int, Row | str]]:
    try:
        frame = read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: no Parquet file that can be read ({str(error)[:200]})") from None
    for number, values in enumerate(frame.iter_rows(named=True), start=1):
        try:
            # A column that a row has no value in is no column of that row.
            yield number, Row.model_validate({k: v for k, v in values.items() if v is not None})
        except ValidationError as error:
            yield number, _why(error)


def _why(error: ValidationError) -> str:
    entry = error.errors(include_url=False)[0]
    if entry["type"] == "json_invalid":
        return "malformed: no JSON"
    where = str(entry["loc"][0]) if entry["loc"] else ""
    message = str(entry["msg"]).removeprefix("Value error, ").partition(", got ")[0]
    return f"malformed: {where}: {message}" if where else f"malformed: {message}"
