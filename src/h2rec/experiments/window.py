"""What of a log belongs to one experiment: its arms, its days, the time before it."""

from collections.abc import Collection
from dataclasses import dataclass

import polars as pl

from h2rec.errors import ConfigError, DataError
from h2rec.experiments.log import SECONDS_A_DAY, Log
from h2rec.experiments.plan import Plan

_NEARLY = 3600.0
"""Seconds that the last row of a log may lie before the end of a day that counts as over."""


@dataclass(frozen=True, eq=False)
class Window:
    """One experiment's rows: every one is used here, or counted in the log's tally."""

    experiment: str
    arms: list[str]
    """The control first; empty where the log has nothing but interleaved lists."""
    start: float
    end: float
    """Seconds since 1970; the end does not belong to it."""
    shown: float
    """The last impression: what happens to be clicked later makes no day over."""
    days: int
    """Days of 24 hours that have begun."""
    answers: pl.DataFrame
    events: pl.DataFrame
    """As in `Log`, with `day` from 0 and the arm of the user."""
    before_answers: pl.DataFrame
    before_events: pl.DataFrame
    """The same of the experiment's users before its start."""
    users: pl.DataFrame
    """`user_id`, `arm`: where each was first shown anything, those who saw several arms among them."""
    crossed: int
    """Users that were shown several arms; their rows are not used."""
    interleaved: dict[str, list[str]]
    """Arms of interleaved lists, each with the two arms whose items it shows, the control first."""
    other_answers: pl.DataFrame
    other_events: pl.DataFrame
    """Rows of these, and of an arm that is not compared and has propensities; they are in no other frame."""
    rows: dict[str, int]
    """Rows `used`, and of the time `before`."""
    notes: list[str]
    """What was taken for granted."""

    @property
    def control(self) -> str:
        """The arm that the others are compared with."""
        return self.arms[0]

    @property
    def days_over(self) -> int:
        """Days of 24 hours that are over."""
        return _days_over(self.start, min(self.end, self.shown))


def select(log: Log, plan: Plan) -> Window:
    """Take one experiment out of a log.

    Raises `ConfigError` if the log has several and the plan names none, or the plan names what is not there;
    `DataError` if there are fewer than two arms, and none of interleaved lists or with propensities.
    """
    notes: list[str] = []
    name = _experiment(log.answers, plan)
    own = log.answers.filter(pl.col("experiment") == name)
    interleaved = _interleaved(own, plan)
    explored = own.filter(pl.col("propensities").is_not_null())["arm"].unique().to_list()
    arms = _arms(own, plan, interleaved, explored, notes)
    start = plan.start.timestamp() if plan.start is not None else float(own["time"].min())  # type: ignore[arg-type]
    shown = float(own["time"].max())  # type: ignore[arg-type]
    end, after = _end(log.events, shown, plan, start, notes)
    if plan.days is None:
        notes.append(
            "no plan was given (days): the intervals hold for one look, so they do not if somebody looks every day"
        )
    earliest = start - plan.pre_days * SECONDS_A_DAY
    answers = _with_fates(log.answers, name, [*arms, *interleaved, *explored], (earliest, start, end), after)
    answers = answers.with_columns(
        pl.when(pl.col("fate").is_null() & pl.col("arm").is_in([*interleaved]) & pl.col("teams").is_null())
        .then(pl.lit("other: without teams, of an arm of interleaved lists"))
        .otherwise("fate")
        .alias("fate")
    )
    several = (
        answers.filter(pl.col("fate").is_null() & ~pl.col("before"))
        .group_by("user_id")
        .agg(pl.n_unique("arm").alias("arms"), pl.col("arm").is_in(arms).any().alias("compared"))
    )
    crossed = several.filter(pl.col("arms") > 1)["user_id"]
    of_users = pl.col("user_id").is_in(several.filter("compared")["user_id"].implode())
    answers = answers.with_columns(
        pl.when(pl.col("fate").is_not_null())
        .then("fate")
        .when(pl.col("before") & ~of_users)
        .then(pl.lit("outside: before the start, of users who are in no arm that is compared"))
        .when(pl.col("user_id").is_in(crossed.implode()))
        .then(pl.lit("crossed: the user was shown several arms"))
        .alias("fate")
    )
    events = _fates_of_events(log.events, answers, (start, end), after, plan.attribution_hours * 3600)
    firsts = answers.filter(~pl.col("before") & pl.col("arm").is_in(arms)).sort("time", "request_id")
    firsts = firsts.filter(of_users).unique("user_id", keep="first", maintain_order=True)
    for frame in (answers.filter("real"), events):
        log.tally.add_fates(frame)
    day = ((pl.col("time") - start) / SECONDS_A_DAY).floor().cast(pl.Int32).alias("day")
    parts = {
        (kind, before): frame.filter(pl.col("fate").is_null() & (pl.col("before") == before)).with_columns(
            day
        )
        for kind, frame in (("answers", answers), ("events", events))
        for before in (False, True)
    }
    rows = {
        word: parts["answers", before].filter("real").height + parts["events", before].height
        for word, before in (("used", False), ("before", True))
    }
    days = max(1, -int(-(end - start) // SECONDS_A_DAY))
    of_one = pl.col("arm").is_in(arms)
    answers, events = parts["answers", False], parts["events", False]
    return Window(
        name, arms, start, end, shown, days, answers.filter(of_one), events.filter(of_one),
        parts["answers", True], parts["events", True], firsts.select("user_id", "arm"), len(crossed),
        interleaved, answers.filter(~of_one), events.filter(~of_one), rows, notes,
    )  # fmt: skip


def _experiment(answers: pl.DataFrame, plan: Plan) -> str:
    names = sorted(answers["experiment"].drop_nulls().unique())
    if plan.experiment is None and len(names) == 1:
        return str(names[0])
    if not names:
        raise DataError("the log has no impression that belongs to an experiment")
    if plan.experiment in names:
        return str(plan.experiment)
    found = f"the log has the experiments {', '.join(names)}"
    if plan.experiment is None:
        raise ConfigError(found, "name one in a plan: experiment: NAME")
    raise ConfigError(f"experiment: {plan.experiment} is not in the log; {found}")


def _interleaved(own: pl.DataFrame, plan: Plan) -> dict[str, list[str]]:
    """Arms of interleaved lists with the arms that they draft from."""
    drafted = own.filter(pl.col("teams").is_not_null())
    found: dict[str, list[str]] = {}
    for arm in sorted(drafted["arm"].unique()):
        teams = drafted.filter(arm=arm)["teams"].explode().drop_nulls().unique()
        control = plan.control or "control"
        found[arm] = sorted(teams, key=lambda team: (team != control, team))
        if len(found[arm]) != 2:
            raise DataError(
                f"the lists of arm '{arm}' have items of {', '.join(found[arm]) or 'no team'}",
                "an interleaved list has items of two arms",
            )
    return found


def _arms(
    own: pl.DataFrame, plan: Plan, interleaved: Collection[str], explored: Collection[str], notes: list[str]
) -> list[str]:
    logged = sorted(arm for arm in own["arm"].unique() if arm not in interleaved)
    arms = logged if plan.shares is None else [arm for arm in logged if arm in plan.shares]
    if len(arms) < 2 and (interleaved or explored):
        if arms:
            notes.append(
                f"arm {arms[0]} alone shows lists of one model, so there is nothing to compare it with"
            )
        return []
    if plan.shares is not None and (unknown := sorted(set(plan.shares) - set(logged) - set(interleaved))):
        raise ConfigError(
            f"shares: {', '.join(unknown)} is no arm of the log, which has {', '.join(logged) or 'none'}"
        )
    if len(arms) < 2:
        raise DataError(
            f"a comparison needs two arms, and the log has {', '.join(arms) or 'none'}",
            "give the logs of all arms",
        )
    control = plan.control or ("control" if "control" in arms else arms[0])
    if control not in arms:
        raise ConfigError(f"control: {control} is no arm of the log, which has {', '.join(arms)}")
    if plan.control is None and control != "control":
        notes.append(f"the control is {control}, the first by name")
    if plan.shares is None:
        notes.append("the arms were meant to have equal shares of the users (shares)")
    return [control, *(arm for arm in arms if arm != control)]


def _end(events: pl.DataFrame, shown: float, plan: Plan, start: float, notes: list[str]) -> tuple[float, str]:
    """End of what is used, and the fate of what comes later; `shown`: the experiment's last impression."""
    in_time = pl.col("fate").is_null() & (pl.col("time") <= pl.col("shown") + plan.attribution_hours * 3600)
    times = events.filter(in_time)["time"]
    last = max(shown, float(times.max() or shown)) + 1e-3  # type: ignore[arg-type]  # what came last belongs to it
    end = last if plan.end is None else min(plan.end.timestamp(), max(last, start + 1e-3))
    if plan.days is None:
        return end, "outside: after the end"
    if plan.end is not None and last >= plan.end.timestamp() - _NEARLY:
        end = plan.end.timestamp()
    over = _days_over(start, min(end, shown))
    if over == 0:
        return end, "outside: after the end"
    if over > plan.days:
        notes.append(f"the plan's {plan.days} days are over: later rows are not used")
        return start + plan.days * SECONDS_A_DAY, "outside: after the end"
    return start + over * SECONDS_A_DAY, "outside: of a day that is not over"


def _days_over(start: float, end: float) -> int:
    return int((end - start + _NEARLY) // SECONDS_A_DAY)


def _with_fates(
    answers: pl.DataFrame, name: str, arms: list[str], times: tuple[float, float, float], after: str
) -> pl.DataFrame:
    earliest, start, end = times
    time = pl.col("time")
    return answers.with_columns(
        pl.when(time < earliest)
        .then(pl.lit("outside: long before the start"))
        .when(time >= end)
        .then(pl.lit(after))
        .when((time >= start) & pl.col("experiment").is_null())
        .then(pl.lit("other: of no experiment"))
        .when((time >= start) & (pl.col("experiment") != name))
        .then(pl.lit("other: of another experiment"))
        .when((time >= start) & ~pl.col("arm").is_in(arms))
        .then(pl.lit("other: of an arm that is not compared"))
        .alias("fate"),
        (time < start).alias("before"),
    )


def _fates_of_events(
    events: pl.DataFrame, answers: pl.DataFrame, times: tuple[float, float], after: str, attribution: float
) -> pl.DataFrame:
    start, end = times
    own = answers.select("request_id", pl.col("fate").alias("answer_fate"), "before")
    joined = events.join(own, on="request_id", how="left", maintain_order="left")
    time = pl.col("time")
    return joined.with_columns(
        pl.when(pl.col("fate").is_not_null())
        .then("fate")
        .when(pl.col("answer_fate").is_not_null())
        .then("answer_fate")
        .when(pl.col("before") & (time >= start))
        .then(pl.lit("outside: of an impression before the start"))
        .when(time > pl.col("shown") + attribution)
        .then(pl.lit("late: too long after its impression"))
        .when(time >= end)
        .then(pl.lit(after))
        .alias("fate"),
        pl.col("before").fill_null(value=False),
    )
