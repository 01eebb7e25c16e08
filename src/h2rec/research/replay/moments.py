"""When a replay begins, and its steps: days and hours where times are known, else shares of every history."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from h2rec.data.dataset import Dataset
from h2rec.errors import ConfigError, DataError

_SECONDS = {"h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_EVERY = re.compile(r"(\d+(?:\.\d+)?)\s*([hdw%])")
_MOST_STEPS = 10_000


@dataclass(frozen=True, eq=False)
class Moments:
    """When every event was, and the moments between which a replay steps."""

    of_events: npt.NDArray[np.float64]
    """float64 `[events]` alongside the data set's histories, ascending within a user."""
    cuts: npt.NDArray[np.float64]
    """float64 `[steps + 1]`; a step has the events after one and up to the next."""
    names: list[str]
    """What each step is called: the day that it begins on, or the share of events that is before it."""


def moments(dataset: Dataset, start: str, every: str, steps: int | None = None) -> Moments:
    """Cut the events of a data set into steps.

    Parameters
    ----------
    start
        A day (`2024-05-01`) or a moment in ISO 8601; or a share of the events, `80%`.
    every
        How long a step is: `1d`, `6h`, `2w`; or `2%` of the events. Where the data have no times of a clock, a share
        is one of every history: order stands for time.
    steps
        How many there are at most; None goes on to the last event.

    Raises
    ------
    ConfigError
        If `start` or `every` is none of these.
    DataError
        If they ask for times that the data don't have, or nothing comes before or after the start.
    """
    step, unit = _step(every)
    share = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", start.strip())
    if (share is None) != (unit != "%"):
        raise ConfigError(
            f"--from {start} with --every {every}", "give both as shares of the events, or both as times"
        )
    has_clock = dataset.days is not None
    times = dataset.timestamps.to_numpy()
    if share is not None:
        first, width = float(share[1]) / 100, step / 100
        if not 0 < first < 1 or not 0 < width < 1:
            raise ConfigError(f"--from {start} and --every {every} are shares between 0% and 100%")
        marks = np.arange(first, 1 - 1e-9, width)
        marks = np.append(marks[: _MOST_STEPS + 1], 1.0)[: None if steps is None else steps + 1]
        marks = np.asarray(marks, np.float64)
        names = [f"{100 * mark:g}%" for mark in np.round(marks[:-1], 6)]
        if has_clock:
            return _checked(Moments(times, np.quantile(times, marks), names))
        lengths = dataset.histories.lengths
        place = np.arange(len(times)) - np.repeat(dataset.histories.offsets[:-1], lengths)
        shares = np.asarray((place + 0.5) / np.repeat(lengths, lengths), np.float64)
        return _checked(Moments(shares, marks, names))
    if not has_clock:
        raise DataError(
            "the data have no times of a clock, so there are no days",
            "give shares of the events: --from 80% --every 2%",
        )
    begin = _moment(start)
    count = int(np.ceil((times.max() - begin) / step)) if times.max() > begin else 0
    count = count if steps is None else min(count, steps)
    if count > _MOST_STEPS:
        raise ConfigError(
            f"--every {every} makes {count:,} steps", f"{_MOST_STEPS:,} at most: take longer ones"
        )
    cuts = np.asarray(begin + step * np.arange(count + 1), np.float64)
    shown = "minutes" if unit == "h" else "days"
    names = [_name(cut, shown) for cut in cuts[:-1]]
    return _checked(Moments(times, cuts, names))


def _step(every: str) -> tuple[float, str]:
    found = _EVERY.fullmatch(every.strip())
    if found is None or float(found[1]) <= 0:
        raise ConfigError(f"--every {every}: expected a time such as 1d, 6h or 2w, or a share such as 2%")
    return float(found[1]) * _SECONDS.get(found[2], 1.0), found[2]


def _moment(start: str) -> float:
    try:
        moment = datetime.fromisoformat(start.strip())
    except ValueError:
        raise ConfigError(
            f"--from {start}: expected a day such as 2024-05-01, or a share such as 80%"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _name(seconds: float, shown: str) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return (
        moment.date().isoformat() if shown == "days" else moment.isoformat(sep=" ", timespec="minutes")[:16]
    )


def _checked(found: Moments) -> Moments:
    before = np.count_nonzero(found.of_events <= found.cuts[0])
    after = np.count_nonzero((found.of_events > found.cuts[0]) & (found.of_events <= found.cuts[-1]))
    if not before or not after:
        raise DataError(
            f"{before:,} events come before the start and {after:,} in the steps after it: both are needed",
            "begin at another moment",
        )
    return found
