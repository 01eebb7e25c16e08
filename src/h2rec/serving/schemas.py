"""Bodies of requests and answers, as in the OpenAPI document."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from h2rec.retrieval.answers import Query, Recommendation, RecommendedItem, as_columns, as_json
from h2rec.retrieval.catalogue import Attribute, Branch
from h2rec.retrieval.filters import ItemFilter


def whole_as_text(value: Any) -> Any:
    """Turn whole numbers into texts, as the catalogue has them; leave anything else alone."""
    return str(value) if type(value) is int else value


ItemId = Annotated[
    str,
    Field(max_length=512),
    BeforeValidator(whole_as_text),
    WithJsonSchema({"anyOf": [{"type": "string", "maxLength": 512}, {"type": "integer"}]}),
]
"""A text, or a whole number, which is taken as its text."""


_MOST_FIELDS = 1000


def _few_fields(value: Any) -> Any:
    if isinstance(value, dict) and len(value) > _MOST_FIELDS:
        raise ValueError(f"{len(value)} fields are more than {_MOST_FIELDS}")
    return value


# Only the first mistake is reported: all mistakes of a megabyte take minutes and a gigabyte to list.
FewFields = BeforeValidator(_few_fields)
ItemIds = Annotated[list[ItemId], Field(fail_fast=True)]


class Body(BaseModel):
    """What a request brings: other names than its own are refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _no_other_names(cls, values: Any) -> Any:
        if isinstance(values, dict) and len(values) > len(cls.model_fields):
            other = next(name for name in values if name not in cls.model_fields)
            raise ValueError(f"extra input '{other[:80]}' is not permitted")
        return values


UserId = Annotated[ItemId, Field(min_length=1)]


class FilterBody(Body):
    """Which items may be recommended; all restrictions hold."""

    allow: ItemIds | None = None
    """Ids of the only items that may be listed."""
    deny: ItemIds = []
    """Ids of items that may not be listed."""
    where: Annotated[dict[str, ItemIds], FewFields] = {}
    """Field and accepted values."""
    seen: bool | None = None
    """Whether items of the history may come again; null as the bundle says."""

    def size(self) -> int:
        """Ids and values in it."""
        return len(self.allow or ()) + len(self.deny) + sum(1 + len(values) for values in self.where.values())


class RecommendBody(Body):
    """One question."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"history": ["i3", "i17"], "k": 5},
                {"history": ["i3"], "k": 5, "explain": True, "tail_share": 0.4},
                {"history": ["i3"], "k": 100, "fields": ["item_id"]},
                {"history": ["i3"], "filter": {"where": {"category": ["razor"]}, "deny": ["i7"]}},
            ]
        },
    )

    history: ItemIds
    """Item ids, oldest first; unknown ones are skipped and reported; empty gives popular items."""
    user_id: UserId | None = None
    """Who asks: decides on the arm of an experiment. Without it the question is outside of any."""
    k: int = Field(10, ge=1)
    """How many items."""
    filter: FilterBody = FilterBody()
    """Which items may be recommended."""
    tail_share: float | None = Field(None, ge=0, le=1)
    """Least share of tail items."""
    explain: bool = False
    """Whether to tell each branch's part of the scores, alpha, and the items of the history that speak for an item."""

    fields: Annotated[tuple[Literal["item_id", "score"], ...], Field(min_length=1, max_length=2)] | None = (
        None
    )
    """What is told of items, a list of each: `["item_id"]` or `["item_id", "score"]`; null tells all, item by item."""

    @model_validator(mode="after")
    def _explains_whole_items(self) -> Self:
        if self.explain and self.fields is not None:
            raise ValueError("explanations go with whole items: leave out 'fields' or 'explain'")
        return self

    def query(self) -> Query:
        """Turn it into a question to the recommender."""
        chosen = ItemFilter.make(
            allow=self.filter.allow, deny=self.filter.deny, where=self.filter.where, seen=self.filter.seen
        )
        return Query(self.history, self.k, chosen, self.tail_share, self.explain, self.fields is not None)

    def told(self, answer: Recommendation) -> dict[str, Any]:
        """Plain values of the answer, in the form that was asked for."""
        return as_json(answer) if self.fields is None else as_columns(answer, self.fields)


class VectorBody(Body):
    """Whose vector is wanted."""

    history: ItemIds
    """Item ids, oldest first; unknown ones are skipped."""


class BatchBody(Body):
    """Several questions."""

    queries: Annotated[list[RecommendBody], Field(fail_fast=True)] = Field(min_length=1)
    """Answered in this order."""


class NewItem(Body):
    """An item to add."""

    item_id: ItemId = Field(min_length=1)
    """Its id."""
    fields: Annotated[dict[str, Annotated[str, Field(max_length=20_000)] | None], FewFields]
    """Its text fields, by the names that the catalogue uses."""


class ItemsBody(Body):
    """Items to add."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"items": [{"item_id": "new1", "fields": {"title": "Gentle shampoo"}}]}]
        },
    )

    items: Annotated[list[NewItem], Field(fail_fast=True)] = Field(min_length=1)
    """Known ids are passed over and reported."""


class ColumnsAnswer(BaseModel):
    """An answer to a question with `fields`."""

    item_id: list[str | int] | None = None
    score: list[float] | None = None
    unknown: list[str | int]
    from_popularity: bool


class ErrorAnswer(BaseModel):
    """What went wrong, and what to do about it."""

    error: str
    hint: str | None = None


@dataclass(frozen=True, repr=False)
class ServedAnswer(Recommendation):
    """An answer, and where an experiment runs, what the question is to it."""

    request_id: str | None = None
    """Names the answer, for the events that come of it."""
    experiment: str | None = None
    """The experiment's name."""
    arm: str | None = None
    """The user's arm; null outside the experiment."""


class ServedColumns(ColumnsAnswer):
    """The same in columns."""

    request_id: str | None = None
    experiment: str | None = None
    arm: str | None = None


class BatchAnswer(BaseModel):
    """Answers, in the order of the questions."""

    answers: list[ServedAnswer | ServedColumns]


class VectorAnswer(BaseModel):
    """A user's vector; its inner product with an exported item vector is a score."""

    vector: list[float]


class SimilarAnswer(BaseModel):
    """Items like an item, most similar first."""

    items: list[RecommendedItem]


class ListedItem(BaseModel):
    """An item of the catalogue."""

    item_id: str
    title: str
    head: bool
    train_count: int
    fields: dict[str, str | None]
    codes: list[int] | None = None


class ItemsAnswer(BaseModel):
    """Items of the catalogue, most popular first."""

    items: list[ListedItem]


class FieldsAnswer(BaseModel):
    """What items can be filtered by."""

    fields: list[Attribute]


class HistoryAnswer(BaseModel):
    """What a user had, oldest first; the newest, where it is more than the server answers for."""

    user_id: str
    history: list[str]


class TreeAnswer(BaseModel):
    """What lies below a prefix of codes."""

    prefix: list[int]
    levels: int
    branches: list[Branch]
    items: list[ListedItem]


class ExperimentState(BaseModel):
    """The experiment that runs, and whether it is switched on, as the process that answers has it."""

    name: str
    enabled: bool


class StateAnswer(BaseModel):
    """Whether the server is well."""

    status: Literal["ok", "stopping"]
    items: int
    bundle: str
    users: int | None = None
    experiment: ExperimentState | None = None


ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "The body is no JSON."},
    401: {"model": ErrorAnswer, "description": "A bearer token is needed."},
    408: {"model": ErrorAnswer, "description": "The body took too long."},
    409: {
        "model": ErrorAnswer,
        "description": "The bundle on disk, or the one in service, can't be used for this.",
    },
    413: {"model": ErrorAnswer, "description": "The body is too large."},
    422: {"model": ErrorAnswer, "description": "The request can't be understood, or asks for too much."},
    507: {
        "model": ErrorAnswer,
        "description": "The server can't write: a full disk, a folder without permission.",
    },
    503: {
        "model": ErrorAnswer,
        "description": "Too many requests at once, or the server is stopping: try again.",
    },
}
