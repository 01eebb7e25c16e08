"""What an update took in, for programs and for people."""

from dataclasses import dataclass, field, fields

import polars as pl

from h2rec.native import POLARS, Kind
from h2rec.retrieval.growth import Growth
from h2rec.retrieval.manifest import Update
from h2rec.shown import Shown


@dataclass(frozen=True)
class Updated:
    """What an update took in."""

    update: Update
    """As the lineage of the new bundle has it."""
    due: list[str]
    """Why a full training is due; nothing where none is."""
    repeated: int = 0
    """Interactions that were known already, or given twice; they count once."""
    late: int = 0
    """New interactions that are older than what was known of their users; they went in between."""
    unknown: list[str] = field(default_factory=list)
    """Items that the catalogue does not have; their interactions were left out."""
    left_out: int = 0
    """How many these were."""
    growth: Growth | None = None
    """What became of new items."""

    def shown(self, kind: Kind) -> "ShownUpdate":
        """Return the same for a person, whose frames are of a kind."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return ShownUpdate(**values, kind=kind)


@dataclass(frozen=True, repr=False)
class ShownUpdate(Shown, Updated):
    """What an update took in, as a table of one row."""

    kind: Kind = field(default=POLARS, kw_only=True, compare=False)
    """What `to_frame` gives."""

    @property
    def title(self) -> str:
        return "; ".join(["updated", *(f"a full training is due: {reason}" for reason in self.due)])

    def table(self) -> pl.DataFrame:
        made = self.update
        columns = {
            "new_interactions": made.events,
            "new_users": made.new_users,
            "new_items": made.new_items,
            "repeated": self.repeated,
            "late": self.late,
            "left_out": self.left_out,
            "targets_learned": made.targets,
            "drift": made.drift,
        }
        return pl.DataFrame(columns)
