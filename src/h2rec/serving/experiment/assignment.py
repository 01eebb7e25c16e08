"""Which arm a user gets: the same always, by hash alone, so that no server has to remember it."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

from h2rec.serving.experiment.settings import ExperimentSettings

_BITS = 52
"""As many as a float holds with half a step to spare at either end."""


@dataclass(frozen=True)
class Placement:
    """Where a user belongs."""

    arm: str | None
    """The arm; None for one outside the experiment."""
    measured: bool
    """Whether the user takes part; a tester has an arm and does not."""


OUTSIDE = Placement(None, False)


def place(settings: ExperimentSettings, user_id: str | None) -> Placement:
    """Place a user.

    Whether a user takes part and which arm that would be are two hashes: where traffic grows, users come in and nobody
    changes arms.
    """
    if not settings.enabled or user_id is None:
        return OUTSIDE
    if user_id in settings.testers:
        return Placement(settings.testers[user_id], False)
    salt = settings.salt or settings.name
    if unit(salt, "traffic", user_id) >= settings.traffic:
        return OUTSIDE
    return Placement(choose(settings.shares, salt, user_id), True)


def choose(shares: Mapping[str, float], salt: str, user_id: str) -> str:
    """Choose an arm in proportion to the shares: weighted rendezvous hashing.

    Each arm draws a waiting time from its hash, exponential with its share as the rate, and the shortest wins. Where
    shares change, a user moves only to an arm whose share grew by a larger factor: as few move as can.
    """

    def waits(arm: str) -> float:
        return -math.log(unit(salt, f"arm {arm}", user_id)) / shares[arm]

    return min((arm for arm, share in shares.items() if share > 0), key=waits)


def unit(salt: str, purpose: str, user_id: str) -> float:
    """A number between 0 and 1, neither of them, that looks drawn at random and is always the same."""
    # As JSON no two triples are one text, and an id that is no valid text has bytes, too.
    text = json.dumps([salt, purpose, user_id]).encode()
    number = int.from_bytes(blake2b(text, digest_size=8).digest()) >> (64 - _BITS)
    return (number + 0.5) / (1 << _BITS)
