"""The file of an experiment: its arms, who takes part, and where it is logged."""

import math
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from h2rec.files import read_yaml
from h2rec.serving.schemas import whole_as_text
from h2rec.settings import Settings

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_TEAMS = 2
_ROUNDING = 0.01
"""Shares may add up to 1 this closely: a third has no last digit."""


class ArmSettings(Settings):
    """What some of the users get."""

    bundle: Path | None = None
    """Folder of its bundle; null for the one that the server was started with."""
    share: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    """Its share of the users in the experiment; null, in all arms, for equal shares."""
    interleave: tuple[Name, Name] | None = None
    """Two arms whose lists are drafted into one (team-draft interleaving), instead of a bundle."""
    explore: float = Field(0, ge=0, le=1, allow_inf_nan=False)
    """Probability that a list is shown in an order drawn at random; the propensity of every item at its place is
    logged."""

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        if self.interleave is not None and (self.bundle is not None or self.explore):
            raise ValueError("an arm that interleaves has no bundle and explores nothing")
        return self


class LogSettings(Settings):
    """Where impressions and events are written, and how."""

    folder: Path
    """Folder of the log; it is made where it is not there."""
    max_mb: float = Field(64, gt=0)
    """Megabytes after which the next file is begun."""
    max_minutes: float = Field(60, gt=0)
    """Minutes after which the next file is begun."""
    fsync: bool = False
    """Whether to wait until the disk has it, so that it survives a power cut, too; else what was acknowledged survives
    the end of the process, and the system brings it to the disk."""
    on_failure: Literal["refuse", "answer"] = "refuse"
    """What becomes of a question whose impression can't be written: refused (507), or answered unlogged."""
    outside: bool = False
    """Whether lists of users outside the experiment are logged, too, without an arm: for a period before it starts."""


class ExperimentSettings(Settings):
    """An experiment, as its file has it."""

    name: Name
    """Name of the experiment."""
    salt: Name | None = None
    """What users are hashed with; null for the name. Experiments of one salt split users alike."""
    enabled: bool = True
    """The kill switch: false gives everyone the served bundle, at once, on a running server."""
    traffic: float = Field(1, ge=0, le=1, allow_inf_nan=False)
    """Share of the users who take part; the others get the served bundle."""
    arms: dict[Name, ArmSettings] = Field(min_length=1)
    """The arms by name."""
    control: str = "control"
    """The arm that others are compared with; its bundle says which items are head."""
    testers: dict[Annotated[str, BeforeValidator(whole_as_text)], str] = Field({})
    """Users who are given an arm by hand, and are not in the experiment."""
    log: LogSettings
    """Where it is logged."""

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read the file; its paths are relative to its folder.

        Raises `ConfigError` if it can't be read, or something in it is wrong.
        """
        settings = cls.parse(read_yaml(file), source=str(file))
        here = file.absolute().parent
        arms = {
            name: arm if arm.bundle is None else arm.model_copy(update={"bundle": here / arm.bundle})
            for name, arm in settings.arms.items()
        }
        log = settings.log.model_copy(update={"folder": here / settings.log.folder})
        return settings.model_copy(update={"arms": arms, "log": log})

    @property
    def shares(self) -> dict[str, float]:
        """Share of each arm in the experiment."""
        equal = 1 / len(self.arms)
        return {name: equal if arm.share is None else arm.share for name, arm in self.arms.items()}

    def fixed(self) -> Self:
        """What a running server can't change: all but what moves nobody from one arm to another."""
        return self.model_copy(update={"enabled": True, "traffic": 1.0, "testers": {}})

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        given = [arm.share for arm in self.arms.values() if arm.share is not None]
        if given and len(given) < len(self.arms):
            raise ValueError("arms: give all arms a share, or none")
        if given and not math.isclose(sum(given), 1, abs_tol=_ROUNDING):
            raise ValueError(f"arms: the shares add up to {sum(given):g}, not to 1")
        named = {"control": self.control} | {f"testers.{user}": arm for user, arm in self.testers.items()}
        for told, wanted in named.items():
            if wanted not in self.arms:
                raise ValueError(f"{told}: there is no arm '{wanted}'; there are: {', '.join(self.arms)}")
        if self.arms[self.control].interleave is not None:
            raise ValueError(f"control: the arm '{self.control}' interleaves others")
        for name, arm in self.arms.items():
            if arm.interleave is None:
                continue
            for other in arm.interleave:
                if other not in self.arms or self.arms[other].interleave is not None:
                    raise ValueError(f"arms.{name}.interleave: '{other}' is no arm with a bundle")
            if len(set(arm.interleave)) < _TEAMS:
                raise ValueError(f"arms.{name}.interleave: it takes two different arms")
        return self
