"""What users did with what they were shown, as `POST /events` takes it and the log has it."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from h2rec.serving.schemas import Body, ItemId, UserId

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Event(Body):
    event_id: str = Field(min_length=1, max_length=200)
    """Unique: an event that is sent again with the same id is counted once."""
    request_id: str = Field(min_length=1, max_length=200)
    """The answer that showed the item."""
    user_id: UserId
    """Who it was."""
    item_id: ItemId = Field(min_length=1)
    """The item."""
    position: int | None = Field(None, ge=1)
    """Its place in the answer, the first is 1."""
    time: AwareDatetime | None = None
    """When it happened: ISO 8601 with its zone, or seconds since 1970; null for now."""

    def row(self) -> dict[str, Any]:
        """As the log has it: what was not told is not there, times are in UTC."""
        time = self.time or datetime.now(UTC)
        values = self.model_dump(exclude_none=True)
        return values | {"time": time.astimezone(UTC).isoformat(timespec="milliseconds")}


class Click(_Event):
    """A click on an item."""

    event: Literal["click"]
    spend: Amount | None = None
    """What the advertiser was charged for it."""


class Conversion(_Event):
    """A purchase, or whatever the advertiser wants."""

    event: Literal["conversion"]
    bid: Amount | None = None
    """The advertiser's bid for it: ADVV adds these up."""
    spend: Amount | None = None
    """What the advertiser was charged for it: COST adds these up."""


class Dwell(_Event):
    """How long somebody stayed with an item."""

    event: Literal["dwell"]
    seconds: Amount
    """How long."""


class EventsBody(Body):
    """Several events."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "events": [
                        {
                            "event": "conversion",
                            "event_id": "order-4711",
                            "request_id": "0b9d8c41f3a24c1c8f0c0a5a5d0c7f11",
                            "user_id": "u17",
                            "item_id": "i3",
                            "bid": 2.5,
                            "spend": 1.9,
                        }
                    ]
                }
            ]
        }
    )

    events: Annotated[
        list[Annotated[Click | Conversion | Dwell, Field(discriminator="event")]], Field(fail_fast=True)
    ] = Field(min_length=1)
    """Of any kinds, in any order."""


class EventsAnswer(BaseModel):
    """What was written down."""

    accepted: int
