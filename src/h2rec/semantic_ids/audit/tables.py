"""The audit as tables of text, for terminal and page alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group
from rich.table import Table
from rich.text import Text

from h2rec.semantic_ids.audit import Audit
from h2rec.semantic_ids.audit.shared import CollisionCount

SHOWN_BRANCHES = 10


@dataclass(frozen=True)
class Figures:
    """A table: heads, rows, heads of the columns that hold text (the others hold numbers), and a note."""

    title: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    texts: tuple[str, ...] = ()
    note: str = ""


def audit_tables(audit: Audit) -> Group:
    """The whole audit for a terminal."""
    largest = [
        (str(branch.codes[0]), f"{branch.items:,}", ", ".join(branch.words))
        for branch in audit.branches[:SHOWN_BRANCHES]
    ]
    title = f"largest of {len(audit.branches)} branches of the first level"
    branches = Figures(title, ("code", "items", "typical words"), largest, ("typical words",))
    tables = [_on_terminal(table) for table in (*figures(audit), branches) if table.rows]
    return Group(*map(Text, sentences(audit)), *tables)


def figures(audit: Audit) -> list[Figures]:
    """All tables that have rows, except the tree."""
    use = Figures(
        "use of the codes",
        ("level", "codes", "used", "perplexity", "entropy, bits", "prefixes", "fullest codes (items)"),
        [
            (
                str(level.level),
                str(level.codebook_size),
                f"{level.utilisation:.1%}",
                f"{level.perplexity:.1f}",
                f"{level.entropy:.2f}",
                f"{level.prefixes:,}",
                ", ".join(f"{code} ({items:,})" for code, items in level.fullest),
            )
            for level in audit.levels
        ],
        ("fullest codes (items)",),
    )
    errors = Figures(
        "left over by depth, share of variance",
        ("levels read", "reconstruction error", "spread within"),
        [
            (
                str(error.depth),
                "-" if error.reconstruction is None else f"{error.reconstruction:.4f}",
                f"{error.spread:.4f}",
            )
            for error in audit.errors
        ],
        note="Spread: what the best possible decoder of these codes would leave over.",
    )
    neighbours = Figures(
        "pairs of items that share the first codes",
        ("codes shared", "mean cosine", "closer than a random pair"),
        [
            (
                "random pair" if check.depth == 0 else f"{check.depth} or more",
                f"{check.similarity:.3f}",
                f"{check.closer_than_random:.1%}",
            )
            for check in audit.neighbours
        ],
    )
    largest = Figures(
        "fullest tuples",
        ("codes", "items", "contents", "titles"),
        [
            (
                " ".join(map(str, group.codes)),
                str(group.items),
                "?" if group.distinct is None else str(group.distinct),
                " | ".join(dict.fromkeys(name or "(no text)" for name in group.titles or group.item_ids))
                + (" | .." if group.items > len(group.titles or group.item_ids) else ""),
            )
            for group in audit.collisions.largest
        ],
        ("codes", "titles"),
        note="Contents: how many different ones the items have.",
    )
    return [table for table in (use, errors, neighbours, largest) if table.rows]


def sentences(audit: Audit) -> list[str]:
    """The results that are sentences."""
    stable = f"{audit.stable or 0:.1%} of the items keep their codes when they are decoded and encoded again."
    return [_collisions(audit.collisions), *([] if audit.stable is None else [stable])]


def _collisions(counted: CollisionCount) -> str:
    start = (
        f"{counted.items:,} items have {counted.distinct_tuples:,} different tuples of codes; "
        f"{counted.colliding:,} items ({counted.rate:.1%}) share theirs"
    )
    if counted.unavoidable is None or counted.avoidable is None:
        return f"{start}."
    sentence = (
        f"{start}: {counted.unavoidable:,} only with items of the same content, which no quantizer can tell "
        f"apart, and {counted.avoidable:,} with different items"
    )
    if not counted.same_words:
        return f"{sentence}."
    return f"{sentence} ({counted.same_words:,} of them only with the same words in another order)."


def _on_terminal(figures: Figures) -> Table:
    table = Table(title=figures.title)
    for head in figures.heads:
        table.add_column(head, justify="left" if head in figures.texts else "right")
    for row in figures.rows:
        table.add_row(*map(Text, row))
    return table
