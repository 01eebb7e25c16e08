"""A bundle for other systems: item vectors to where they are searched, counts as a table, the user encoder as ONNX."""

import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.claims import claim_file
from h2rec.errors import ConfigError, DataError, H2RecError
from h2rec.files import atomic_path
from h2rec.frames import has_note
from h2rec.retrieval.destinations import DESTINATIONS
from h2rec.retrieval.destinations.files import NOTE, TableWriter
from h2rec.retrieval.destinations.protocol import Destination, hidden
from h2rec.retrieval.item_ids import ItemId
from h2rec.retrieval.recommender import Recommender
from h2rec.retrieval.vector_table import code_prefixes, vector_table

logger = logging.getLogger(__name__)

_COUNTS_AT_ONCE = 1 << 20
_CHECKED_USERS = 64
_CHECKED_ITEMS = 10
_TOLERANCE = 1e-4
_COUNTED = {"branch": pl.String, "weight": pl.Float32, "levels": pl.Int32} | {
    "item_id": pl.String,
    "successor": pl.String,
    "value": pl.Float32,
}


@dataclass(frozen=True)
class Exported:
    """What went to a destination."""

    place: str
    """The address, without a password."""
    items: int
    """Rows written."""
    recall: float
    """Share of the best ten items of users who saw one item each that the destination finds, over up to 64 of them."""


def export_vectors(
    recommender: Recommender, address: str, *, attributes: Sequence[str] | None = None, replace: bool = False
) -> Exported:
    """Write the item vectors to a file or a store, and ask it for the best items of some users.

    The inner product of a user's vector with an item's is its score, but for what is counted (`export_transitions`).

    Parameters
    ----------
    address
        A file (``.parquet``; ``.npy``, with the ids in a table beside it), or ``SCHEME://HOST:PORT/NAME`` with one of
        the schemes of `DESTINATIONS`.
    attributes
        Item fields that go along; None for all.
    replace
        Whether to replace what h2rec did not write. An earlier export is always replaced.

    Raises
    ------
    DataError
        If the model counts alone, or there is no such attribute.
    ConfigError
        If the address is none.
    H2RecError
        If something else is there, or the destination refuses; what was there stays.
    """
    table = vector_table(recommender.catalogue, recommender.bundle.item_vectors, attributes)
    place = hidden(address)
    try:
        with closing(_destination(address)) as destination:
            if destination.held() == "others" and not replace:
                hint = "give another name, or --replace"
                raise H2RecError(f"{place}: is there already, and h2rec did not write it", hint)
            destination.write(table)
            return Exported(place, table.shape[0], _recall(recommender, destination))
    except H2RecError:
        raise
    except Exception as error:  # every client has its own
        reason = (str(error).splitlines() or [""])[0][:300]
        raise H2RecError(f"{place}: {reason or type(error).__name__}") from error


def _destination(address: str) -> Destination:
    scheme, colon, _ = address.partition(":")
    scheme = scheme.lower().removesuffix("+https")
    # What names a file stays one, whatever its letters are.
    kind = scheme if colon and scheme in DESTINATIONS else Path(address).suffix[1:].lower()
    if kind not in DESTINATIONS:
        known = ", ".join(DESTINATIONS.names())
        raise ConfigError(
            f"'{hidden(address)}' is no destination", f"known are the endings or schemes {known}"
        )
    return DESTINATIONS.get(kind).open(address)


def user_vectors(recommender: Recommender, histories: Sequence[Sequence[ItemId]]) -> npt.NDArray[np.float32]:
    """Vectors of users, float32 `[n, D]`, for searching exported item vectors; unknown items are skipped.

    Raises `DataError` for a history of which nothing is known: the most popular items are for such users.
    """
    vectors: npt.NDArray[np.float32] = recommender.user_vectors(histories).numpy()
    unknown = np.flatnonzero(~vectors.any(axis=1))
    if len(unknown):
        hint = "give such users the items of the highest train_count"
        raise DataError(f"history {unknown[0]}: none of its items is known, so it has no vector", hint)
    return vectors


def _recall(recommender: Recommender, destination: Destination) -> float:
    """Ask the destination for the best items of some users, and compare it with the exact list."""
    users = recommender.sample_users(_CHECKED_USERS)[:_CHECKED_USERS]
    k = min(_CHECKED_ITEMS, len(recommender.catalogue))
    _, exact = recommender.index.search(users, k)
    lists = destination.search(users.numpy(), k)
    least = exact[:, -1] - _TOLERANCE * exact.abs().amax(dim=1)
    items = [[recommender.catalogue.index.get(item, 0) for item, _ in found] for found in lists]
    scores = [
        (recommender.bundle.item_vectors[of] @ user) for of, user in zip(items, users.numpy(), strict=True)
    ]
    good = sum(int((of >= low).sum()) for of, low in zip(scores, least.numpy(), strict=True))
    return good / (k * len(users))


def export_transitions(recommender: Recommender, path: Path, *, replace: bool = False) -> int:
    """Write what the model counts as a Parquet table; returns the number of rows.

    A row says that `successor` follows `item_id` in a `branch`. For a user whose latest items are ``i_0`` (the last),
    ``i_1``, .. the branch adds ``weight * log(1 + sum_m 0.7^m * value(i_m, j))`` to the score of item ``j``, over the
    five latest items. `levels` is 0, or how many leading codes are counted together: `item_id` and `successor` are
    then texts such as ``7-6``, the beginnings of `codes` in the table of vectors. The footer's note ``h2rec.repeats``
    tells whether items of a history may be listed again: ``allowed`` or ``excluded``.

    Raises `DataError` if the model counts nothing, `H2RecError` if h2rec did not write what is there.
    """
    counted = recommender.bundle.model.transitions()
    if not counted:
        raise DataError("the model counts no transitions", "its vectors are all of it")
    if not replace:
        path = claim_file(path, lambda there: has_note(there, NOTE))
    # Lists are made of these counts elsewhere, by the same rule.
    notes = {"h2rec.repeats": recommender.bundle.manifest.repeats}
    with atomic_path(path) as temporary, TableWriter(temporary, pl.Schema(_COUNTED), notes) as file:
        for name, branch in counted.items():
            ids = pl.Series(["", *recommender.item_ids])
            if branch.levels is not None:
                first = np.zeros(int(branch.groups.max()) + 1, np.int64)
                first[branch.groups[1:].numpy()] = np.arange(len(ids) - 1)
                ids = code_prefixes(recommender.catalogue, branch.levels).gather(first)
            for start in range(0, len(branch.values), _COUNTS_AT_ONCE):
                part = slice(start, start + _COUNTS_AT_ONCE)
                columns = {
                    "item_id": ids.gather(branch.sources[part].numpy()),
                    "successor": ids.gather(branch.successors[part].numpy()),
                    "value": branch.values[part].numpy(),
                }
                told = {"branch": name, "weight": branch.weight, "levels": branch.levels or 0}
                constant = [pl.lit(value, _COUNTED[key]).alias(key) for key, value in told.items()]
                file.write(pl.DataFrame(columns).select(*constant, *columns))
    return sum(len(branch.values) for branch in counted.values())


def export_encoder(recommender: Recommender, path: Path, *, replace: bool = False) -> float:
    """Write the user encoder as ONNX; see `export_user_encoder`. Another file than such a one is not replaced."""
    from h2rec.retrieval.onnx_export import export_user_encoder, is_user_encoder

    return export_user_encoder(recommender.bundle, path if replace else claim_file(path, is_user_encoder))
