"""What people do with a trained model: ask it of ids and of frames, add items, look at vectors, save it."""

import shutil
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
import polars as pl

from h2rec.data.settings import ColumnSettings
from h2rec.errors import BundleError, DataError, H2RecWarning, told_as
from h2rec.files import atomic_folder
from h2rec.native import POLARS, Kind, to_native
from h2rec.progress import progress_bar
from h2rec.retrieval.answers import ItemList, Recommendation, checked_k
from h2rec.retrieval.bundle import Bundle
from h2rec.retrieval.filters import ANY_ITEM, ItemFilter
from h2rec.retrieval.history_frames import UserHistories, read_histories
from h2rec.retrieval.item_ids import ItemId, id_column
from h2rec.retrieval.manifest import is_bundle, read_manifest
from h2rec.retrieval.recommender import Recommender

if TYPE_CHECKING:
    from h2rec.retrieval.export import Exported
    from h2rec.retrieval.growth import ShownGrowth
    from h2rec.run.updated import ShownUpdate

T = TypeVar("T")

_USERS_AT_ONCE = 1024


class TrainedModel(ABC):
    """A model that answers; `Model` has its answers from a bundle, `H2Rec` and the like from what they trained.

    Ids go out as they were in the data: numbers where they were numbers. Frames go out as what came in.
    """

    kind: Kind = POLARS
    """What frames go out as, where no frame came in."""

    _room: TemporaryDirectory[str] | None = None

    @property
    @abstractmethod
    def recommender(self) -> Recommender:
        """What answers."""

    @abstractmethod
    def _take(self, recommender: Recommender) -> None:
        """Answer by another bundle from now on."""

    def recommend(
        self,
        history: Sequence[ItemId],
        k: int = 10,
        *,
        filter: ItemFilter = ANY_ITEM,
        tail_share: float | None = None,
        explain: bool = False,
    ) -> Recommendation:
        """Recommend `k` items to follow a history of item ids, oldest first; see `Recommender.recommend`."""
        answer = self.recommender.recommend(history, k, filter=filter, tail_share=tail_share, explain=explain)
        if answer.from_popularity and answer.unknown:
            named = ", ".join(map(str, answer.unknown[:5]))
            warnings.warn(
                f"nothing in the history is known ({named}): these are the most popular items",
                H2RecWarning,
                stacklevel=2,
            )
        return replace(answer, kind=self.kind)

    def recommend_frame(
        self,
        histories: Any,
        k: int = 10,
        *,
        user: str | None = None,
        item: str | None = None,
        timestamp: str | None = None,
        filter: ItemFilter = ANY_ITEM,
        tail_share: float | None = None,
    ) -> Any:
        """Recommend `k` items to every user of a frame.

        Parameters
        ----------
        histories
            Either a row a user, with a column `history` of lists of item ids, oldest first; or a row an event, as for
            training. Columns with obvious names are found.
        user, item, timestamp
            Names of the columns of users, of items (or of their lists) and of times.
        filter, tail_share
            As in `recommend`, for every user.

        Returns
        -------
        frame
            Of the kind that came in, a row a recommended item: the user, ``rank`` from 1, the item, ``score``.

        Raises
        ------
        DataError
            If it is no frame of histories, naming the row where one is at fault.
        """
        k = checked_k(k)
        read = self._read(histories, ColumnSettings(user=user, item=item, timestamp=timestamp))
        rows: list[int] = []
        ranks, ids, scores = [], [], []
        with progress_bar("recommending", len(read.histories), "users") as advance:
            for start in range(0, len(read.histories), _USERS_AT_ONCE):
                some = read.histories[start : start + _USERS_AT_ONCE]
                answers = self.recommender.recommend_batch(some, k, filter=filter, tail_share=tail_share)
                for row, answer in enumerate(answers, start):
                    for rank, listed in enumerate(answer.items, 1):
                        rows.append(row)
                        ranks.append(rank)
                        ids.append(listed.item_id)
                        scores.append(listed.score)
                advance(len(some))
        columns = [
            read.users.gather(rows),
            pl.Series("rank", ranks, pl.Int64),
            id_column(ids).alias(read.item_name),
            pl.Series("score", scores, pl.Float64),
        ]
        return to_native(pl.DataFrame(columns), read.kind)

    def similar_items(self, item_id: ItemId, k: int = 10, *, branch: str | None = None) -> ItemList:
        """Items like an item, by the cosine of their vectors; see `Recommender.similar`."""
        return ItemList(self.recommender.similar(item_id, k, branch=branch), kind=self.kind)

    def item_vectors(self) -> Any:
        """Return a frame of ``item_id`` and ``vector``, a row an item.

        The inner product of a user's vector (`user_vectors`) with them is a score, but for what is counted of pairs
        of items (branches such as transitions), which has no vectors.

        Raises
        ------
        DataError
            If the model counts alone.
        """
        self._check_vectors()
        vectors = self.recommender.bundle.item_vectors[1:]
        ids = id_column([self.recommender.given(item) for item in self.recommender.item_ids])
        return to_native(pl.DataFrame([ids, pl.Series("vector", vectors)]), self.kind)

    def user_vectors(
        self,
        histories: Any,
        *,
        user: str | None = None,
        item: str | None = None,
        timestamp: str | None = None,
    ) -> Any:
        """Return a frame of the user and ``vector``, a row a user; the arguments are those of `recommend_frame`.

        The inner product with a row of `item_vectors` is the model's score of that item, but for what is counted of
        pairs of items, which has no vectors. A user of whose history nothing is known has zeros. Raises `DataError` if
        it is no frame of histories, or the model counts alone.
        """
        self._check_vectors()
        read = self._read(histories, ColumnSettings(user=user, item=item, timestamp=timestamp))
        chunks = [
            self.recommender.user_vectors(read.histories[start : start + _USERS_AT_ONCE]).numpy()
            for start in range(0, len(read.histories), _USERS_AT_ONCE)
        ]
        vectors = pl.Series("vector", np.concatenate(chunks))
        return to_native(pl.DataFrame([read.users, vectors]), read.kind)

    def export_vectors(
        self, address: str, *, attributes: Sequence[str] | None = None, replace: bool = False
    ) -> "Exported":
        """Write the item vectors to a file or a vector database; see `h2rec.retrieval.export.export_vectors`."""
        from h2rec.retrieval.export import export_vectors

        return export_vectors(self.recommender, address, attributes=attributes, replace=replace)

    def _check_vectors(self) -> None:
        if not self.recommender.bundle.item_vectors.shape[1]:
            raise DataError("the model counts alone: it has no vectors")

    def add_items(self, items: Any, *, item_id: str | None = None) -> "ShownGrowth":
        """Let the model know more items, by their text, without training; `save` keeps them.

        `items`: a frame of ids and texts, with the columns of the items that it was trained on. `item_id`: its column
        of ids, where that is not obvious. Raises `DataError` or `BundleError` where nothing can be added; see
        `h2rec add-items`.
        """
        from h2rec.python.new_data import read_new_items
        from h2rec.retrieval.growth import add_items  # which loads encoders and quantizers

        known = self.recommender.bundle.manifest.columns
        try:
            rows, kind = read_new_items(items, ColumnSettings(item_id=item_id), known)
        except DataError as error:
            raise told_as(error, "{}=") from None
        growth = self._renewed(partial(add_items, self.recommender.bundle, rows))
        return growth.shown(self.recommender.given, kind)

    def update(
        self,
        events: Any,
        *,
        items: Any = None,
        budget: float = 0.1,
        user: str | None = None,
        item: str | None = None,
        timestamp: str | None = None,
        rating: str | None = None,
        item_id: str | None = None,
    ) -> "ShownUpdate":
        """Take in new interactions, users and items; `save` keeps them. See `h2rec update`.

        `events`: a frame of new interactions, a row each. `items`: a frame of items, new ones among them, as in
        `add_items`. The others are as in the command; columns are named where they are not those of the training.
        Raises `DataError` if interactions lie in the future, have no times where the bundle's have, or name no known
        item; `BundleError` if the bundle has no log of its training, or can't take new items.
        """
        from h2rec.python.new_data import take_in  # what trains is loaded here alone

        columns = ColumnSettings(user=user, item=item, timestamp=timestamp, rating=rating, item_id=item_id)
        taken = partial(take_in, self.recommender.bundle.folder, events, items, columns, budget=budget)
        try:
            return self._renewed(taken)
        except DataError as error:
            raise told_as(error, "{}=") from None

    def _read(self, histories: Any, columns: ColumnSettings) -> UserHistories:
        try:
            return read_histories(histories, columns, self.recommender.bundle.manifest.columns)
        except DataError as error:
            raise told_as(error, "{}=") from None

    def _renewed(self, work: Callable[[Path], T]) -> T:
        """Answer by the bundle that some work leaves in a folder of its own; return what the work returned."""
        room = TemporaryDirectory(prefix="h2rec-", ignore_cleanup_errors=True)
        made = work(Path(room.name) / "bundle")
        self._take(Recommender(Bundle.load(Path(room.name) / "bundle"), as_given=True))
        self._room = room
        return made

    def save(self, folder: str | Path) -> None:
        """Write the model's bundle, for `h2rec.load`, `h2rec serve` and the other commands.

        Raises
        ------
        H2RecError
            If the folder is there and holds anything but a bundle.
        BundleError
            If the files that the model was loaded from were changed or are gone.
        """
        bundle = self.recommender.bundle
        if read_manifest(bundle.folder) != bundle.manifest:
            raise BundleError(f"{bundle.folder}: it was replaced after it was loaded", "load it again")
        with atomic_folder(Path(folder), is_bundle) as fresh:
            shutil.copytree(bundle.folder, fresh, dirs_exist_ok=True)


class Model(TrainedModel):
    """A model from a bundle: what `h2rec.load` and `h2rec.fit` return.

    Examples
    --------
    >>> model = h2rec.load("shop")  # doctest: +SKIP
    >>> model.recommend(["1042", "77"], k=10)  # doctest: +SKIP
    """

    def __init__(self, recommender: Recommender) -> None:
        self._recommender = recommender

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Load a bundle. Raises `BundleError` if it is missing, damaged or of another format version."""
        return cls(Recommender(Bundle.load(Path(folder)), as_given=True))

    @property
    def recommender(self) -> Recommender:
        return self._recommender

    def _take(self, recommender: Recommender) -> None:
        self._recommender = recommender

    def __repr__(self) -> str:
        return f"Model of {len(self.recommender.item_ids):,} items, from {self.recommender.bundle.folder}"


def load(folder: str | Path) -> Model:
    """Load what was saved, or the bundle of a run, and answer from it; see `Model`."""
    return Model.load(folder)
