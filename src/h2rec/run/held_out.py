"""Whether the held-out cases can be measured as a configuration asks, checked before the slow stages."""

import logging
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from h2rec.data.splits import Holdout, Split
from h2rec.errors import ConfigError, DataError
from h2rec.evaluation.negatives import too_few
from h2rec.evaluation.repeats import Repeats, measured_cases
from h2rec.evaluation.settings import FULL, RepeatRule, sampled_negatives

logger = logging.getLogger(__name__)

NAMED = 5
"""Users who are named in a warning, at most."""


def check_held_out(
    split: Split,
    repeats: Repeats,
    *,
    protocols: Sequence[str],
    select: str,
    head: npt.NDArray[np.bool_],
    user_ids: pl.Series,
) -> None:
    """Refuse settings that leave nothing to measure; warn of users that a sampled protocol leaves out.

    Raises `ConfigError` if excluding repeats leaves no case, or no validation case is of the slice that selects or has
    a weight for it.
    Raises `DataError` if no user leaves enough items to draw negatives from.

    Parameters
    ----------
    protocols
        Those of the evaluation.
    select
        What picks the epoch, as in `train.select`.
    head
        Which items are head items, bool `[N + 1]`.
    user_ids
        The users' own ids, by row in the data set.
    """
    selecting, part, _ = select.split(".")
    if part == "weighted" and split.valid.weights is None:
        raise ConfigError(
            f"train.select: {select} needs weights, and no column has them",
            "name one with data.columns.weight, or select by overall",
        )
    holdouts = {"validation": split.valid, "test": split.test}
    for name, cases in holdouts.items():
        if len(measured_cases(cases, repeats.rule)) == 0:
            raise ConfigError(
                f"evaluate.repeats: where they are excluded no {name} case is left: all {len(cases):,} targets are in "
                "their users' own histories",
                "set evaluate.repeats: allowed",
            )
    for protocol in dict.fromkeys((*protocols, selecting)):
        if protocol != FULL:
            _check_negatives(holdouts, split.item_count, protocol, repeats.rule, user_ids)
    for rule in {repeats.rule, repeats.data_rule}:
        cases = measured_cases(split.valid, rule)
        if selecting != FULL:
            short = too_few(cases, split.item_count, sampled_negatives(selecting), rule)
            cases = cases.select(np.flatnonzero(~short))
        in_head = head[cases.targets]
        if (part == "head" and not in_head.any()) or (part == "tail" and in_head.all()):
            raise ConfigError(
                f"train.select: no validation item is of the {part}",
                "select by overall, or set data.head_share",
            )
        if part == "weighted" and cases.weights is not None and not cases.weights.any():
            raise ConfigError("train.select: every validation case has the weight 0", "select by overall")


def undrawable(split: Split, rule: RepeatRule, protocols: Sequence[str]) -> list[str]:
    """Sampled protocols for which no validation or no test user leaves enough items to draw from."""
    holdouts = [measured_cases(cases, rule) for cases in (split.valid, split.test)]
    return [
        protocol
        for protocol in protocols
        if protocol != FULL
        and any(
            too_few(cases, split.item_count, sampled_negatives(protocol), rule).all() for cases in holdouts
        )
    ]


def _check_negatives(
    holdouts: dict[str, Holdout], item_count: int, protocol: str, rule: RepeatRule, user_ids: pl.Series
) -> None:
    needed = sampled_negatives(protocol)
    rows = []
    for name, holdout in holdouts.items():
        # Users who have seen nearly all are named even if their target is a repeat, and so in no figure.
        short = too_few(holdout, item_count, needed, rule)
        if too_few(measured_cases(holdout, rule), item_count, needed, rule).all():
            raise DataError(
                f"{protocol} needs {needed} negatives a user, and of the {item_count} items no {name} user has so many "
                + ("beside the target" if rule == "allowed" else "outside the history"),
                "leave the sampled protocol out of evaluate.protocols, or name a smaller one such as sampled20",
            )
        rows.append(holdout.users[short])
    users = np.unique(np.concatenate(rows))
    if len(users):
        named = ", ".join(repr(str(user)) for user in user_ids.gather(users[:NAMED]))
        logger.warning(
            "%s leaves out %d of %d users, whose histories leave fewer than %d of the %d items to draw from: %s%s",
            protocol,
            len(users),
            len(np.union1d(*(cases.users for cases in holdouts.values()))),
            needed,
            item_count,
            named,
            ", .." if len(users) > NAMED else "",
        )
