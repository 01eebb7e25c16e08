"""An experiment in service: questions are placed, answered by their arms and logged before anyone has the answer."""

import logging
import math
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Self

from h2rec.errors import ConfigError, StorageError
from h2rec.files import file_hash
from h2rec.retrieval.answers import Query, Recommendation, RecommendedItem
from h2rec.retrieval.manifest import MANIFEST
from h2rec.retrieval.recommender import Recommender
from h2rec.serving.experiment.assignment import OUTSIDE, Placement, place
from h2rec.serving.experiment.interleaving import team_draft
from h2rec.serving.experiment.log import DurableLog
from h2rec.serving.experiment.settings import ExperimentSettings
from h2rec.serving.metrics import Metrics

logger = logging.getLogger(__name__)

_LOOKS = 0.5
"""Seconds between two looks at the file, and at the age of the log."""


@dataclass(frozen=True)
class Question(Query):
    """A question of somebody."""

    user_id: str | None = None
    placement: Placement = OUTSIDE
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def of(cls, query: Query, user_id: str | None, placement: Placement) -> Self:
        """Say who asks."""
        asked = {name: getattr(query, name) for name in (entry.name for entry in fields(Query))}
        return cls(**asked, user_id=user_id, placement=placement)


@dataclass(frozen=True, eq=False)
class ArmModel:
    """A recommender, and which bundle it is."""

    recommender: Recommender
    bundle: str
    """SHA-256 of the bundle's manifest."""

    @classmethod
    def of(cls, recommender: Recommender) -> "ArmModel":
        """Name a recommender by its bundle, as it is on disk."""
        return cls(recommender, file_hash(recommender.bundle.folder / MANIFEST))


@dataclass(frozen=True)
class _Shown:
    """An answer, and how its order came about."""

    answer: Recommendation
    teams: list[str] | None = None
    propensities: list[float] | None = None


class Experiment:
    """An experiment, followed in its file: its kill switch, its traffic and its testers change on a running server.

    Each process looks at the file twice a second. What else has changed in it, or can't be read, is warned of, and
    what was in force before stays.

    `file`: see `ExperimentSettings`. `served`: folder of the bundle that the server was started with.

    Raises `ConfigError` if the file can't be read, or something in it is wrong.
    """

    def __init__(self, file: Path, served: Path, metrics: Metrics) -> None:
        self.settings = ExperimentSettings.load(file)
        here = served.resolve()
        self.bundles = {
            name: served if arm.bundle is None or arm.bundle.resolve() == here else arm.bundle
            for name, arm in self.settings.arms.items()
        }
        self._served = served
        self._file = file
        self._text = self._read()
        self._metrics = metrics
        self._impressions = DurableLog(self.settings.log, "impressions")
        self._events = DurableLog(self.settings.log, "events")
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._keep, name="experiment", daemon=True)
        metrics.experiment_on.set(self.settings.enabled)

    def start(self) -> None:
        """Begin to follow the file."""
        self._watch.start()

    def close(self) -> None:
        """Follow it no more, and finish the files of the log."""
        self._ended.set()
        if self._watch.ident is not None:
            self._watch.join()
        self._impressions.close()
        self._events.close()

    def own_bundles(self) -> list[Path]:
        """Folders of the bundles beside the one that the server was started with."""
        return sorted({folder for folder in self.bundles.values() if folder != self._served})

    def place(self, user_id: str | None) -> Placement:
        """Place a user."""
        return place(self.settings, user_id)

    def told(self, question: Question) -> dict[str, Any]:
        """What an answer says of its question."""
        return {
            "request_id": question.request_id,
            "experiment": self.settings.name,
            "arm": question.placement.arm,
        }

    def answer(self, questions: Sequence[Question], models: Mapping[Path, ArmModel]) -> list[Recommendation]:
        """Answer questions, each by the model of its arm, and log what they show.

        Raises `StorageError` if that can't be logged and the settings want it.
        """
        answers: dict[Path, dict[int, Recommendation]] = {}
        for folder, places in self._asked(questions).items():
            found = models[folder].recommender.answer([questions[at] for at in places])
            answers[folder] = dict(zip(places, found, strict=True))
        shown = [self._shown(question, at, answers) for at, question in enumerate(questions)]
        rows = [
            self._row(question, list_, models)
            for question, list_ in zip(questions, shown, strict=True)
            if question.placement.measured or (self.settings.log.outside and question.user_id is not None)
        ]
        self._write(rows)
        return [list_.answer for list_ in shown]

    def take(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Write down what users did. Raises `StorageError` if that can't be written."""
        try:
            self._events.write(events)
        except StorageError:
            self._metrics.log_failures.inc()
            raise
        for event in events:
            self._metrics.events.labels(event["event"]).inc()

    def follow(self) -> None:
        """Take over what the file now says of the kill switch, the traffic and the testers."""
        try:
            text = self._read()
            if text == self._text:
                return
            self._text = text
            settings = ExperimentSettings.load(self._file)
        except ConfigError as error:
            self._metrics.refused_changes.inc()
            logger.warning("the experiment goes on as before: %s", error.message)
            return
        if settings.fixed() != self.settings.fixed():
            self._metrics.refused_changes.inc()
            logger.warning(
                "%s: on a running server 'enabled', 'traffic' and 'testers' can be changed, nothing else; "
                "of this change only 'enabled' holds until the server is started again",
                self._file,
            )
            # Whatever else was changed, who throws the switch means it.
            settings = self.settings.model_copy(update={"enabled": settings.enabled})
        self.settings = settings
        self._metrics.experiment_on.set(settings.enabled)
        logger.info("experiment %s: %s", settings.name, "on" if settings.enabled else "off")

    def _read(self) -> bytes | None:
        """The file as it is; None where it can't be read."""
        try:
            return self._file.read_bytes()
        except OSError:
            return None

    def _keep(self) -> None:
        while not self._ended.wait(_LOOKS):
            self.follow()
            self._impressions.rotate_if_due()
            self._events.rotate_if_due()

    def _folder(self, arm: str | None) -> Path:
        return self._served if arm is None else self.bundles[arm]

    def _asked(self, questions: Sequence[Question]) -> dict[Path, list[int]]:
        """Places of the questions that each bundle is asked."""
        asked: dict[Path, list[int]] = {}
        for at, question in enumerate(questions):
            arm = question.placement.arm
            for folder in {self._folder(team) for team in self._teams(arm) or (arm,)}:
                asked.setdefault(folder, []).append(at)
        return asked

    def _teams(self, arm: str | None) -> tuple[str, str] | None:
        return None if arm is None else self.settings.arms[arm].interleave

    def _shown(
        self, question: Question, at: int, answers: Mapping[Path, Mapping[int, Recommendation]]
    ) -> _Shown:
        arm = question.placement.arm
        teams = self._teams(arm)
        if teams is None:
            answer = answers[self._folder(arm)][at]
            explore = 0.0 if arm is None else self.settings.arms[arm].explore
            return _explored(answer, explore, question.request_id) if explore else _Shown(answer)
        first, second = (answers[self._folder(team)][at] for team in teams)
        heads = (
            None if question.tail_share is None else question.k - math.ceil(question.tail_share * question.k)
        )
        drafted = team_draft(
            [first.items, second.items], question.k, Random(question.request_id), heads=heads
        )
        answer = replace(first, items=[item for item, _ in drafted], alpha=None)
        return _Shown(answer, teams=[teams[team] for _, team in drafted])

    def _row(self, question: Question, shown: _Shown, models: Mapping[Path, ArmModel]) -> dict[str, Any]:
        measured = question.placement.measured
        arm = question.placement.arm if measured else None
        control = models[self.bundles[self.settings.control]].recommender.catalogue
        items = [str(item.item_id) for item in shown.answer.items]
        teams = self._teams(question.placement.arm)
        bundles = [models[self._folder(team)].bundle for team in teams or (question.placement.arm,)]
        return {
            "event": "impressions",
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "user_id": question.user_id,
            "experiment": self.settings.name if measured else None,
            "arm": arm,
            "request_id": question.request_id,
            "items": items,
            "propensities": shown.propensities,
            "teams": shown.teams,
            "bundle": "+".join(bundles),
            "head": [bool(control.head[control.index.get(item, 0)]) for item in items],
        }

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            return
        try:
            self._impressions.write(rows)
        except StorageError as error:
            self._metrics.log_failures.inc()
            if self.settings.log.on_failure == "refuse":
                raise
            self._metrics.unlogged.inc(len(rows))
            logger.warning("answered unlogged: %s", error.message)
            return
        for row in rows:
            self._metrics.impressions.labels(row["arm"] or "outside").inc()


def _explored(answer: Recommendation, explore: float, request_id: str) -> _Shown:
    """Draw, with a probability, an order of the list at random; all its orders are then as likely.

    So an item is at its place with the probability `explore / n`, and `1 - explore` more if that is the model's own.
    """
    random = Random(request_id)
    if random.random() >= explore:
        places = list(range(len(answer.items)))
    else:
        places = random.sample(range(len(answer.items)), len(answer.items))
    items: list[RecommendedItem] = [answer.items[place] for place in places]
    propensities = [
        explore / len(places) + (1 - explore if at == own else 0.0) for at, own in enumerate(places)
    ]
    return _Shown(replace(answer, items=items), propensities=propensities)
