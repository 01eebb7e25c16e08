"""Files of every supported format, read as tables of strings."""

from h2rec.data.readers.formats import open_table
from h2rec.data.readers.table import Table

__all__ = ["Table", "open_table"]
