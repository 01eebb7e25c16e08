"""What the routes call: the recommender in service, its replacement, and the queue in front of it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from h2rec.errors import BundleError, H2RecError
from h2rec.retrieval.answers import Query, Recommendation
from h2rec.retrieval.growth import Growth
from h2rec.retrieval.recommender import Recommender
from h2rec.serving.batcher import MicroBatcher
from h2rec.serving.experiment.assignment import OUTSIDE
from h2rec.serving.experiment.experiment import ArmModel, Experiment, Question
from h2rec.serving.metrics import Metrics
from h2rec.serving.settings import ServeSettings
from h2rec.serving.store import BundleStore
from h2rec.serving.users import Users

logger = logging.getLogger(__name__)


class Service:
    """One bundle in service at a time; another takes its place between two batches.

    `changed` is called when it has.

    A request that is being answered keeps the recommender that it began with, so that nothing is lost when
    another takes over.

    Raises
    ------
    BundleError
        If the bundle can't be loaded.
    DataError
        If the table of histories can't be read.
    MissingExtraError
        If the index needs a library that is not installed.
    UnavailableError
        If the index is kept elsewhere, and nobody answers there.
    """

    def __init__(
        self, folder: Path, settings: ServeSettings, changed: Callable[[], None] = lambda: None
    ) -> None:
        self.settings = settings
        self._changed = changed
        self.metrics = Metrics()
        self.store = BundleStore(folder)
        file = settings.experiment
        self.experiment = None if file is None else Experiment(file, folder, self.metrics)
        self._arms = [] if self.experiment is None else self.experiment.own_bundles()
        self._models: dict[Path, ArmModel] = {}
        self._models = self._load()
        known = self.recommender.bundle.manifest.columns
        file = settings.histories
        self.users = None if file is None else Users(file, settings.max_history, known)
        self.stopping = False
        self.batcher: MicroBatcher[Question] = MicroBatcher(
            self._answer,
            size=settings.batch_size,
            max_waiting=settings.max_waiting,
            patience=settings.patience,
            quick=lambda: self.experiment is None and self.recommender.index.in_process,
            observe=self.metrics.batch_size.observe,
        )
        self.metrics.waiting.set_function(lambda: self.batcher.waiting)
        self.metrics.items.set_function(lambda: len(self.recommender.catalogue))
        self._changes = asyncio.Lock()

    @property
    def recommender(self) -> Recommender:
        """The bundle that the server was started with, as it is served."""
        return self._models[self.store.folder].recommender

    def start(self) -> None:
        """Begin to follow the experiment."""
        if self.experiment is not None:
            self.experiment.start()

    def close(self) -> None:
        """Give back what a server holds; to be called when nothing waits any more."""
        self.batcher.close()
        if self.experiment is not None:
            self.experiment.close()

    def question(self, query: Query, user_id: str | None) -> Question:
        """A question of somebody, in its place in the experiment if there is one."""
        placed = OUTSIDE if self.experiment is None else self.experiment.place(user_id)
        return Question.of(query, user_id, placed)

    def told(self, question: Question) -> dict[str, Any]:
        """What an answer says of the experiment; nothing where there is none."""
        return {} if self.experiment is None else self.experiment.told(question)

    async def reload(self) -> None:
        """Read the bundle again and let it take over; where that fails, the present one goes on serving.

        Raises `BundleError` if it can't be loaded, or another change is being made: a crowd of reloads would follow
        one another.
        """
        if self._changes.locked():
            raise BundleError("the bundle is just being changed", "ask again when that is done")
        async with self._changes:
            try:
                self._models = await asyncio.to_thread(self._load)
            except Exception:
                self.metrics.reloads.labels("refused").inc()
                raise
            self._changed()
            self.metrics.reloads.labels("done").inc()

    async def follow(self) -> None:
        """Serve what another process has changed; where that fails, the present bundle goes on serving."""
        async with self._changes:
            try:
                self._models = await asyncio.to_thread(self._load)
            except H2RecError as error:
                logger.warning("what another worker changed can't be served: %s", error.message)

    async def add(self, items: pl.DataFrame) -> Growth:
        """Add items durably and serve them; when this returns they are on disk.

        Raises `DataError` or `BundleError` if nothing can be added; what is served does not change.
        """
        if self._arms:
            raise BundleError(
                "an experiment compares several bundles, and items of one alone would spoil it",
                "h2rec add-items for the bundle of every arm, then POST /reload",
            )
        async with self._changes:
            growth = await asyncio.to_thread(self.store.add, self.recommender.bundle, items)
            self._models = await asyncio.to_thread(self._load)
            self._changed()
            return growth

    def _load(self) -> dict[Path, ArmModel]:
        """Load the bundle and those of the arms, by folder."""
        stores = [self.store, *(BundleStore(folder) for folder in self._arms)]
        return {store.folder: ArmModel.of(self._loaded(store)) for store in stores}

    def _loaded(self, store: BundleStore) -> Recommender:
        before = self._models.get(store.folder)
        known = None if before is None else before.recommender
        recommender = Recommender(store.load(), self.settings.index, frozen=True, before=known)
        # The first call of a model is slow: it is not to be a user's.
        recommender.answer([Query(recommender.item_ids[:3], 1)])
        logger.info("serving %s: %s items", recommender.bundle.folder, f"{len(recommender.item_ids):,}")
        return recommender

    def _answer(self, questions: Sequence[Question]) -> list[Recommendation]:
        if self.experiment is None:
            answers = self.recommender.answer(questions)
        else:
            answers = self.experiment.answer(questions, self._models)
        self.metrics.count_answers(answers)
        return answers
