"""Repeats: targets that are in their user's own history, and whether items of a history may be listed again.

One rule holds for everything that ranks or lists items. ``allowed``: items of the history are candidates like any
other. ``excluded``: they are never listed. A case with such a target is counted, but is in no figure.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from h2rec.data.splits import Holdout, Split
from h2rec.evaluation.settings import RepeatRule, RepeatSetting

MANY = 0.02
"""Share of repeats among the validation targets from which `auto` allows them.

About five to fifteen users in a hundred find their next item among ten. Two more whose repeats are never shown may be a
fifth of all hits, more than most models differ by. Below that share, lists lose next to nothing without repeats.
"""


@dataclass(frozen=True)
class Repeats:
    """How repeats are treated in one data set."""

    rule: RepeatRule
    """The rule for figures, lists and servers."""
    data_rule: RepeatRule
    """The rule by the data alone. It selects the epoch of a training, which so does not depend on the setting."""
    setting: RepeatSetting
    """The setting that chose the rule."""
    valid: int
    valid_cases: int
    test: int
    """Cases of the two holdouts whose target is in its own history."""
    test_cases: int
    """All their cases."""

    @classmethod
    def of(cls, split: Split, setting: RepeatSetting = "auto") -> "Repeats":
        """Count the repeats and choose the rule by the validation cases alone."""
        valid, test = (int(np.count_nonzero(repeated(cases))) for cases in (split.valid, split.test))
        data_rule: RepeatRule = "allowed" if valid >= MANY * max(len(split.valid), 1) else "excluded"
        rule = data_rule if setting == "auto" else setting
        return cls(rule, data_rule, setting, valid, len(split.valid), test, len(split.test))

    @property
    def any(self) -> bool:
        """Whether there are repeats at all."""
        return self.valid + self.test > 0

    def describe(self) -> str:
        """Say how many repeats there are, what is done about them, and how to change that."""
        if not self.any:
            return f"repeats: none among the targets; {self.rule}"
        share = self.valid / max(self.valid_cases, 1)
        counts = (
            f"repeats: {self.valid:,} of {self.valid_cases:,} validation targets ({share:.1%}) and {self.test:,} of "
            f"{self.test_cases:,} test targets are in their users' own histories"
        )
        reason = "as evaluate.repeats says"
        if self.setting == "auto":
            side = "or more" if self.rule == "allowed" else "are needed for the other rule"
            reason = f"as the validation targets say ({MANY:.0%} {side})"
        if self.rule == "allowed":
            return (
                f"{counts}. Items of a history are ranked and recommended as any other, {reason}; with "
                "evaluate.repeats: excluded they never are, and these cases are in no figure"
            )
        return (
            f"{counts}. Items of a history are never recommended, and these cases are set apart, in no figure, "
            f"{reason}; with evaluate.repeats: allowed they are ranked and recommended as any other"
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values for `metrics.json`."""
        return {
            "rule": self.rule,
            "setting": self.setting,
            "valid": {"cases": self.valid_cases, "repeats": self.valid},
            "test": {"cases": self.test_cases, "repeats": self.test},
            "threshold": MANY,
            "told": self.describe(),
        }


def repeated(cases: Holdout) -> npt.NDArray[np.bool_]:
    """Whether the target of each case is in its own history, bool `[cases]`."""
    rows = np.repeat(np.arange(len(cases)), cases.histories.lengths)
    same = rows[np.asarray(cases.histories.items) == cases.targets[rows]]
    return np.bincount(same, minlength=len(cases)) > 0


def measured_cases(cases: Holdout, rule: RepeatRule) -> Holdout:
    """Return the cases that figures are computed from: all, or those whose target is not in its own history."""
    return cases if rule == "allowed" else cases.select(np.flatnonzero(~repeated(cases)))
