"""Results that a person looks at: a table on a terminal, one in a notebook, and a frame to go on with."""

from abc import ABC, abstractmethod
from html import escape
from typing import Any

import polars as pl

from h2rec.native import POLARS, Kind, to_native
from h2rec.terminal import printable

_ROWS, _LETTERS = 50, 60
"""What is shown of a table, and of a text in it."""


class Shown(ABC):
    """Prints as a table. `to_frame` gives frames of the library that `kind` names."""

    kind: Kind = POLARS

    @property
    @abstractmethod
    def title(self) -> str:
        """What stands above the table."""

    @abstractmethod
    def table(self) -> pl.DataFrame:
        """Return what is shown."""

    def frame(self) -> pl.DataFrame:
        """Return all that there is; by default what is shown."""
        return self.table()

    def to_frame(self) -> Any:
        """Return all that there is as a frame, of the library that the data came from."""
        return to_native(self.frame(), self.kind)

    def __repr__(self) -> str:
        with pl.Config(
            tbl_formatting="UTF8_BORDERS_ONLY",
            tbl_rows=_ROWS,
            tbl_cols=12,
            tbl_width_chars=160,
            fmt_str_lengths=_LETTERS,
            tbl_hide_dataframe_shape=True,
            tbl_hide_column_data_types=True,
            float_precision=4,
        ):
            return printable(f"{self.title}\n{self.table()}")

    def _repr_html_(self) -> str:
        table = self.table()
        head = "".join(f"<th>{escape(name)}</th>" for name in table.columns)
        rows = "".join(
            f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row)}</tr>"
            for row in table.head(_ROWS).iter_rows()
        )
        more = f"<p>.. and {table.height - _ROWS:,} more</p>" if table.height > _ROWS else ""
        return f"<p>{escape(self.title)}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{more}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    return escape(text if len(text) <= _LETTERS else f"{text[:_LETTERS]}…")
