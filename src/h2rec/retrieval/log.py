"""What a bundle keeps of its training, for `h2rec update` alone: events, counts, and how it learned."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from h2rec.batching.pair_counts import PairCounts
from h2rec.data.event_log import EventLog
from h2rec.errors import BundleError, DataError
from h2rec.files import file_hash, write_json
from h2rec.retrieval.manifest import LARGEST_MANIFEST, LOG, Manifest
from h2rec.untrusted import check_npy, read_strict_json

_PAIRS = "pairs.parquet"
_LEARNING = "learning.json"
_REFERENCE = "reference.npy"
_MOST_REFERENCES = 2048


@dataclass(frozen=True, eq=False)
class TrainingLog:
    """The folder `log` of a bundle. What serves never reads it; where nothing is updated it may be deleted."""

    events: EventLog
    """All interactions that the model was trained on."""
    pairs: PairCounts
    """Their counts of pairs."""
    learning: dict[str, Any]
    """How the model learned: settings and what else a further training needs, in JSON."""
    reference: npt.NDArray[np.float32]
    """Vectors of some items (see `reference_items`) when the model was fully trained, float32 `[n, D]`."""

    def save(self, folder: Path) -> None:
        """Write into an existing folder."""
        self.events.save(folder)
        self.pairs.save(folder / _PAIRS)
        np.save(folder / _REFERENCE, self.reference)
        write_json(folder / _LEARNING, self.learning)


def reference_items(item_count: int) -> npt.NDArray[np.int64]:
    """The items, of those that the full training knew, whose vectors show how far an index has drifted, int64 `[n]`."""
    return np.linspace(1, item_count, min(item_count, _MOST_REFERENCES)).astype(np.int64)


def read_log(folder: Path, manifest: Manifest) -> TrainingLog:
    """Read the log of a bundle and check it against the manifest.

    Raises `BundleError` if it is missing, was changed, or does not fit the bundle.
    """
    log = folder / LOG
    if not manifest.log or not log.is_dir():
        raise BundleError(
            f"{folder}: it has no log of its training ({LOG}/), so it can't be updated",
            "update a bundle that still has it, or train again",
        )
    try:
        for name, expected in manifest.log.items():
            if file_hash(log / name) != expected:
                raise BundleError(f"{folder}: '{LOG}/{name}' was changed or cut after the bundle was written")
        events = EventLog.load(log, manifest.item_count)
        pairs = PairCounts.load(log / _PAIRS, manifest.item_count)
        learning = read_strict_json(log / _LEARNING, LARGEST_MANIFEST)
        check_npy(log / _REFERENCE, np.float32, (None, None))
        reference = np.load(log / _REFERENCE, allow_pickle=False)
    except OSError as error:
        raise BundleError(f"{folder}: its log can't be read ({error.strerror or error})") from None
    except DataError as error:
        raise BundleError(error.message, error.hint) from None
    if not isinstance(learning, dict):
        raise BundleError(f"{log / _LEARNING}: no settings")
    return TrainingLog(events, pairs, learning, reference)
