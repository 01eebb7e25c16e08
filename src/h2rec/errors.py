"""Errors that a user can act on: what is wrong, where, and what to do about it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class H2RecError(Exception):
    """A mistake in the input or the settings; the command line shows it without a traceback.

    `message`: what is wrong and where (file, line, key). `hint`: what to do about it, in one sentence.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message}\n  hint: {hint}")
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        # Rebuilt from its text, whatever its class takes, so that it survives the way out of another process.
        return _rebuild, (type(self), self.message, self.hint)


def _rebuild(kind: type[H2RecError], message: str, hint: str | None) -> H2RecError:
    error = kind.__new__(kind)
    H2RecError.__init__(error, message, hint)
    return error


class ConfigError(H2RecError):
    """A configuration that can't be used: unknown key, wrong type, impossible combination."""


class DataError(H2RecError):
    """Interactions, items or texts that can't be read or used."""


def told_as(error: DataError, form: str) -> DataError:
    """The same error, its hint naming settings as the asker has them: ``--{}`` for options, ``{}=`` for arguments."""
    if error.hint is None:
        return error

    def named(found: re.Match[str]) -> str:
        return form.format(found[1].replace("_", "-") if form.startswith("-") else found[1])

    return DataError(error.message, re.sub(r"data\.(?:columns\.)?(\w+)", named, error.hint))


class SemanticIdError(H2RecError):
    """Codes, codebooks or embeddings that a tokenizer can't work with."""


class BundleError(H2RecError):
    """A bundle that is damaged, tampered with, or of another format version."""


class StorageError(H2RecError):
    """A file that can't be written: a full disk, a folder without permission."""


class UnavailableError(H2RecError):
    """Something that is kept elsewhere and does not answer, or not in time."""


class MissingExtraError(H2RecError):
    """An optional dependency that the requested feature needs is not installed."""

    def __init__(self, feature: str, extra: str, otherwise: str | None = None) -> None:
        hints = [f"pip install 'h2rec[{extra}]'", *([otherwise] if otherwise else [])]
        super().__init__(f"{feature} needs the extra '{extra}'", "; ".join(hints))


@contextmanager
def needs_extra(feature: str, extra: str) -> Iterator[None]:
    """Around imports of an optional dependency: raises `MissingExtraError` where it is not installed."""
    try:
        yield
    except ImportError:
        raise MissingExtraError(feature, extra) from None


class H2RecWarning(UserWarning):
    """Something legal that a careful user wants to know of."""
