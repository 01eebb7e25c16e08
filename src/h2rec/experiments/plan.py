"""What was planned before an experiment began: `h2rec abtest --plan PLAN.yaml`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from h2rec.files import read_yaml
from h2rec.settings import Settings


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


Moment = Annotated[datetime, AfterValidator(_in_utc)]
Share = Annotated[float, Field(gt=0, lt=1)]


class Plan(Settings):
    """An experiment's plan; every value has a default, and what is taken for granted is told in the report."""

    experiment: str | None = None
    """Name of the experiment; None for the only one of the log."""
    control: str | None = None
    """The arm that the others are compared with; None for the one called `control`, or else the first by name."""
    shares: dict[str, Annotated[float, Field(gt=0)]] | None = None
    """Share of the users that each arm was meant to have, in any unit; None for equal shares."""
    start: Moment | None = None
    """When the experiment began (UTC); None for its first impression."""
    end: Moment | None = None
    """When it ended; None for the end of the log."""
    pre_days: int = Field(14, ge=0)
    """Days before the start that tell how users were before, for CUPED."""
    attribution_hours: float = Field(168, gt=0)
    """Clicks and conversions later than this after their impression are late, and not counted."""
    primary: list[str] | None = None
    """Metrics that decide; None for `advv`, or `ctr` where the log has no bids."""
    guardrails: dict[str, Share] | None = None
    """Metrics that must not fall, and by which share they may; None for 1% of `ctr` and `dwell`, if logged."""
    alpha: float = Field(0.05, gt=0, lt=0.5)
    """Rate of false alarms over all looks, of two-sided tests; shared among primary metrics and arms."""
    power: float = Field(0.8, gt=0.5, lt=1)
    """How surely a lift of the size `lift` should be found."""
    lift: float = Field(0.01, gt=0)
    """The smallest relative lift that matters."""
    days: int | None = Field(None, ge=1)
    """How many days it was planned to last; None if there is no plan, so that only one look is sound."""
    looks: list[Annotated[int, Field(ge=1)]] | None = None
    """Days after which somebody looks, such as [7, 14]; None for every day."""
    least_days: int = Field(7, ge=0)
    """Days before which nothing is decided, since weekdays differ."""
    fewest_users: int = Field(1000, ge=2)
    """Users that each arm needs before anything is decided: so many, the error rates of ADVV were found to hold."""
    most_lost: float = Field(0.01, ge=0, le=1)
    """Share of rows that may be malformed, contradict others or belong to no impression."""
    bundle: Path | None = None
    """Bundle of the control arm: slices by popularity and shared codes, and the head where the log is silent."""
    offline_tail: dict[str, Annotated[float, Field(ge=0, le=1)]] | None = None
    """Share of places that went to the tail offline, of each arm (`exposure` in `metrics.json`)."""
    resamples: int = Field(2000, ge=100)
    """Samples of the bootstrap."""
    seed: int = 0
    """Of the bootstrap."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a plan. Raises `ConfigError` if there is a key or value that does not fit."""
        values = read_yaml(path)
        if isinstance(values.get("primary"), str):
            values["primary"] = [values["primary"]]
        if isinstance(values.get("bundle"), str):
            values["bundle"] = path.parent / values["bundle"]
        return cls.parse(values, source=str(path))

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.looks is not None:
            if self.days is None:
                raise ValueError("looks need days: how long the experiment was planned to last")
            if self.looks != sorted(set(self.looks)) or self.looks[-1:] != [self.days]:
                raise ValueError(f"looks must be days in their order, the last one {self.days}")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ValueError("end must come after start")
        if self.primary == []:
            raise ValueError("primary must name a metric")
        return self
