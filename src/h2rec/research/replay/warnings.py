"""Warnings of many trainings on nearly the same data."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

_NUMBERS = re.compile(r"\d[\d.,]*")


@contextmanager
def each_warning_once() -> Iterator[None]:
    """Pass over warnings that differ from an earlier one in their numbers alone, in the log and on the terminal."""
    told: dict[str, logging.LogRecord] = {}

    def is_new(record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or not record.name.startswith("h2rec."):
            return True
        # Several handlers are asked about one record.
        return told.setdefault(_NUMBERS.sub("", record.getMessage()), record) is record

    handlers = [*logging.getLogger().handlers, *logging.getLogger("h2rec").handlers]
    for handler in handlers:
        handler.addFilter(is_new)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(is_new)
