"""The routes; all that they do is check bounds and call the service."""

import asyncio
import json
from dataclasses import asdict
from typing import Annotated, Any

import polars as pl
from fastapi import APIRouter, Query, Request, Response

from h2rec.errors import DataError
from h2rec.retrieval.answers import item_as_json
from h2rec.retrieval.catalogue import Catalogue
from h2rec.retrieval.export import user_vectors
from h2rec.retrieval.growth import Growth
from h2rec.serving import schemas
from h2rec.serving.experiment.events import EventsAnswer, EventsBody
from h2rec.serving.service import Service
from h2rec.serving.settings import ServeSettings

router = APIRouter(responses=schemas.ERRORS)

ItemQuery = Annotated[str, Query(max_length=512)]


def service_of(request: Request) -> Service:
    """Return the service behind the application."""
    service: Service = request.app.state.service
    return service


def plain(values: Any, status: int = 200) -> Response:
    """Answer with JSON in ASCII: an id that is no valid text is echoed and not choked on."""
    return Response(_json(values), status, media_type="application/json")


def _json(values: Any) -> str:
    return json.dumps(values, allow_nan=False, separators=(",", ":"))


@router.post(
    "/recommend",
    response_model=schemas.ServedAnswer | schemas.ServedColumns,
    summary="Recommend items for a history",
)
async def recommend(body: schemas.RecommendBody, request: Request) -> Response:
    """Items to follow a history, nothing of the history among them."""
    return await recommended(service_of(request), body)


async def recommended(service: Service, body: schemas.RecommendBody) -> Response:
    """Answer one question."""
    _check(body, service.settings)
    question = service.question(body.query(), body.user_id)
    (answer,) = await service.batcher.ask([question])
    return plain(body.told(answer) | service.told(question))


@router.post(
    "/recommend/batch", response_model=schemas.BatchAnswer, summary="Recommend for several histories"
)
async def recommend_batch(body: schemas.BatchBody, request: Request) -> Response:
    """Several questions at once, of any kind."""
    service = service_of(request)
    _at_most("queries", len(body.queries), service.settings.max_queries)
    for query in body.queries:
        _check(query, service.settings)
    questions = [service.question(query.query(), query.user_id) for query in body.queries]
    answers = await service.batcher.ask(questions)
    # Much to write: beside the loop, and one by one, as the writer holds the interpreter until it is done.
    text = await asyncio.to_thread(
        lambda: ", ".join(
            _json(query.told(answer) | service.told(question))
            for query, question, answer in zip(body.queries, questions, answers, strict=True)
        )
    )
    return Response(f'{{"answers": [{text}]}}', media_type="application/json")


@router.post("/users/vector", response_model=schemas.VectorAnswer, summary="A user's vector")
def user_vector(body: schemas.VectorBody, request: Request) -> Response:
    """Return the vector of a history, to search exported item vectors with; 422 where none of its items is known."""
    service = service_of(request)
    _at_most("history", len(body.history), service.settings.max_history)
    return plain({"vector": user_vectors(service.recommender, [body.history])[0].tolist()})


@router.get("/similar", response_model=schemas.SimilarAnswer, summary="Items like an item")
def similar(
    request: Request, item_id: ItemQuery, k: Annotated[int, Query(ge=1)] = 10, branch: str | None = None
) -> Response:
    """Items like an item: in all branches, or in one by its name, such as `codes` or `ids`."""
    service = service_of(request)
    _at_most("k", k, service.settings.max_k)
    return plain(
        {"items": [item_as_json(item) for item in service.recommender.similar(item_id, k, branch=branch)]}
    )


@router.get("/items", response_model=schemas.ItemsAnswer, summary="Find items by words of their text")
def find_items(
    request: Request,
    query: Annotated[str, Query(max_length=200)] = "",
    item_id: Annotated[list[str] | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """Items whose id or text holds every word, most popular first; or the items of given ids."""
    catalogue = service_of(request).recommender.catalogue
    items = catalogue.find(query, limit) if item_id is None else catalogue.known(item_id)
    return plain({"items": _listed(catalogue, items)})


@router.get("/fields", response_model=schemas.FieldsAnswer, summary="What items can be filtered by")
def fields(request: Request) -> Response:
    """Fields whose values many items share, such as a category, and their most frequent values."""
    found = service_of(request).recommender.catalogue.attributes
    return plain({"fields": [asdict(attribute) for attribute in found]})


@router.get("/history", response_model=schemas.HistoryAnswer, summary="The history of a user")
def history(request: Request, user_id: ItemQuery) -> Response:
    """What a user had, by the table that the server was started with (`--histories`)."""
    service = service_of(request)
    if service.users is None:
        raise DataError("this server has no table of histories", "h2rec serve BUNDLE --histories FILE")
    return plain({"user_id": user_id, "history": service.users.history(user_id)})


@router.post("/items", response_model=Growth, summary="Add items without retraining")
async def add_items(body: schemas.ItemsBody, request: Request) -> Response:
    """Place new items by their text and serve them; they survive a restart."""
    service = service_of(request)
    _at_most("items", len(body.items), service.settings.max_new_items)
    names = sorted({name for item in body.items for name in item.fields})
    fields = [name for name in service.recommender.catalogue.fields.columns if name in names]
    rows = [
        {"item_id": item.item_id, **{name: item.fields.get(name) for name in fields}} for item in body.items
    ]
    table = pl.DataFrame(rows, schema={"item_id": pl.String, **dict.fromkeys(fields, pl.String)})
    return plain(asdict(await service.add(table)))


@router.post("/events", response_model=EventsAnswer, summary="Tell what users did with what was shown")
def events(body: EventsBody, request: Request) -> Response:
    """Clicks, conversions and dwell times; when this is answered they are in the log of the experiment."""
    service = service_of(request)
    _at_most("events", len(body.events), service.settings.max_events)
    if service.experiment is None:
        raise DataError("this server has no experiment", "h2rec serve BUNDLE --experiment FILE")
    service.experiment.take([event.row() for event in body.events])
    return plain({"accepted": len(body.events)})


@router.get("/codes", response_model=schemas.TreeAnswer, summary="Walk the tree of codes")
def codes(
    request: Request,
    prefix: Annotated[str, Query(pattern=r"^(\d{1,6}(,\d{1,6}){0,15})?$")] = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 30,
) -> Response:
    """What lies below a prefix of codes such as `3,17`: the next codes, and the items, most popular first."""
    catalogue = service_of(request).recommender.catalogue
    path = [int(code) for code in prefix.split(",")] if prefix else []
    items = catalogue.members(path, limit)
    ids = catalogue.semantic_ids
    levels = 0 if ids is None else ids.levels
    branches = catalogue.below(path) if len(path) < levels else []
    return plain(
        {
            "prefix": path,
            "levels": levels,
            "branches": [asdict(branch) for branch in branches],
            "items": _listed(catalogue, items),
        }
    )


@router.post("/reload", response_model=schemas.StateAnswer, summary="Serve the bundle as it is on disk now")
async def reload(request: Request) -> Response:
    """Read the bundle again; no request is lost, and a damaged one is refused and the present one kept."""
    service = service_of(request)
    await service.reload()
    return plain(_state(service))


@router.get("/healthz", response_model=schemas.StateAnswer, summary="Is the process alive")
async def healthz(request: Request) -> Response:
    """Answer as long as the process lives."""
    return plain(_state(service_of(request)))


@router.get("/readyz", response_model=schemas.StateAnswer, summary="May requests be sent here")
async def readyz(request: Request) -> Response:
    """Answer 503 once the server was told to stop."""
    service = service_of(request)
    return plain(_state(service), 503 if service.stopping else 200)


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
def metrics(request: Request) -> Response:
    """Metrics in Prometheus' text format."""
    return Response(service_of(request).metrics.text(), media_type="text/plain; version=0.0.4")


def _check(body: schemas.RecommendBody, settings: ServeSettings) -> None:
    _at_most("history", len(body.history), settings.max_history)
    _at_most("k", body.k, settings.max_k)
    _at_most("filter", body.filter.size(), settings.max_filter)


def _at_most(name: str, count: int, most: int) -> None:
    if count > most:
        raise DataError(f"{name}: {count} is more than {most}")


def _listed(catalogue: Catalogue, items: list[int]) -> list[dict[str, Any]]:
    listed = []
    titles = catalogue.titles(items)
    for item, title, fields in zip(items, titles, catalogue.field_rows(items), strict=True):
        values = {
            "item_id": catalogue.item_ids[item - 1],
            "title": title,
            "head": bool(catalogue.head[item]),
            "train_count": int(catalogue.train_counts[item]),
            "fields": fields,
        }
        codes = catalogue.codes(item)
        listed.append(values if codes is None else values | {"codes": codes})
    return listed


def _state(service: Service) -> dict[str, Any]:
    values: dict[str, Any] = {
        "status": "stopping" if service.stopping else "ok",
        "items": len(service.recommender.catalogue),
        "bundle": service.recommender.bundle.folder.name,
    }
    if service.users is not None:
        values["users"] = len(service.users)
    if service.experiment is not None:
        settings = service.experiment.settings
        values["experiment"] = {"name": settings.name, "enabled": settings.enabled}
    return values
