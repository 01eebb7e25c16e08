"""Repeats: targets that are in their user's own history, and whether items of a history may be listed again.

There is one rule for everything that ranks or lists items. ``allowed``: items of the history are candidates as any
other. ``excluded``: they are never listed, so a target among them could not be shown to its user; such a case is
set apart, counted, and in no figure.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from h2rec.data.splits import Holdout, Split
from h2rec.evaluation.settings import RepeatRule, RepeatSetting

MANY = 0.02
"""Share of repeats among the validation targets from which the history is a candidate, unless told otherwise.

Of a hundred users some five to fifteen find their next item among ten. Two repeats in a hundred that are never shown
may then be a fifth of all that could be found: more than most models differ by. Below, lists without what a user
has already lose next to nothing.
"""


@dataclass(frozen=True)
class Repeats:
    """How repeats are treated in one data set."""

    rule: RepeatRule
    """What figures, lists and servers follow."""
    of_data: RepeatRule
    """What the data call for. The epoch of a training is chosen by it whatever `rule` is, so that no training depends
    on the setting."""
    setting: RepeatSetting
    """What was asked for."""
    valid: int
    valid_cases: int
    test: int
    """Cases of the two holdouts whose target is in its own history."""
    test_cases: int
    """All their cases."""

    @classmethod
    def of(cls, split: Split, setting: RepeatSetting = "auto") -> "Repeats":
        """Count the repeats and choose the rule; of the test cases nothing is read but their count, to tell it."""
        valid, test = (int(np.count_nonzero(repeated(cases))) for cases in (split.valid, split.test))
        of_data: RepeatRule = "allowed" if valid >= MANY * max(len(split.valid), 1) else "excluded"
        rule = of_data if setting == "auto" else setting
        return cls(rule, of_data, setting, valid, len(split.valid), test, len(split.test))

    @property
    def any(self) -> bool:
        """Whether there are repeats at all."""
        return self.valid + self.test > 0

    def told(self) -> str:
        """Say what there is, what is done, and how to change it."""
        if not self.any:
            return f"repeats: none among the targets; {self.rule}"
        share = self.valid / max(self.valid_cases, 1)
        there = (
            f"repeats: {self.valid:,} of {self.valid_cases:,} validation targets ({share:.1%}) and {self.test:,} of "
            f"{self.test_cases:,} test targets are in their users' own histories"
        )
        why = "as evaluate.repeats says"
        if self.setting == "auto":
            side = "or more" if self.rule == "allowed" else "are needed for the other rule"
            why = f"as the validation targets say ({MANY:.0%} {side})"
        if self.rule == "allowed":
            return (
                f"{there}. Items of a history are ranked and recommended as any other, {why}; with evaluate.repeats: "
                "excluded they never are, and these cases are in no figure"
            )
        return (
            f"{there}. Items of a history are never recommended, and these cases are set apart, in no figure, {why}; "
            "with evaluate.repeats: allowed they are ranked and recommended as any other"
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values for `metrics.json`."""
        return {
            "rule": self.rule,
            "setting": self.setting,
            "valid": {"cases": self.valid_cases, "repeats": self.valid},
            "test": {"cases": self.test_cases, "repeats": self.test},
            "threshold": MANY,
            "told": self.told(),
        }


def repeated(cases: Holdout) -> npt.NDArray[np.bool_]:
    """Tell of every case whether its target is in its own history, bool `[cases]`."""
    rows = np.repeat(np.arange(len(cases)), cases.histories.lengths)
    same = rows[np.asarray(cases.histories.items) == cases.targets[rows]]
    return np.bincount(same, minlength=len(cases)) > 0


def measured_cases(cases: Holdout, rule: RepeatRule) -> Holdout:
    """Return the cases that figures are made of: all of them, or those whose target is not in its own history."""
    return cases if rule == "allowed" else cases.select(np.flatnonzero(~repeated(cases)))
