"""The audit on a terminal."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from h2rec.semantic_ids.audit import Audit
from h2rec.semantic_ids.audit.shared import CollisionCount

SHOWN_BRANCHES = 10


def audit_tables(found: Audit) -> Group:
    """Everything that was found, as rich tables."""
    parts: list[RenderableType] = [_levels(found), Text(collision_sentence(found.collisions))]
    if found.collisions.largest:
        parts.append(_largest(found.collisions))
    if found.errors:
        parts.append(_errors(found))
    if found.stable is not None:
        parts.append(Text(f"{found.stable:.1%} of the items keep their codes when decoded and encoded again"))
    if found.neighbours:
        parts.append(_neighbours(found))
    if found.branches:
        parts.append(_branches(found))
    return Group(*parts)


def collision_sentence(counted: CollisionCount) -> str:
    """Return the collisions in one sentence."""
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


def _levels(found: Audit) -> Table:
    table = Table(title="use of the codes")
    for name in ("level", "codes", "used", "perplexity", "entropy", "prefixes", "fullest codes (items)"):
        table.add_column(name, justify="left" if name.startswith("fullest") else "right")
    for level in found.levels:
        table.add_row(
            str(level.level),
            str(level.codebook_size),
            f"{level.utilisation:.1%}",
            f"{level.perplexity:.1f}",
            f"{level.entropy:.2f} bits",
            f"{level.prefixes:,}",
            ", ".join(f"{code} ({items:,})" for code, items in level.fullest),
        )
    return table


def _largest(counted: CollisionCount) -> Table:
    table = Table(title="fullest tuples")
    for name in ("codes", "items", "contents", "titles"):
        table.add_column(name, justify="right" if name in ("items", "contents") else "left")
    for group in counted.largest:
        names = group.titles or group.item_ids
        shown = " | ".join(dict.fromkeys(names)) + (" | .." if group.items > len(names) else "")
        contents = "?" if group.distinct is None else str(group.distinct)
        table.add_row(" ".join(map(str, group.codes)), str(group.items), contents, Text(shown))
    return table


def _errors(found: Audit) -> Table:
    table = Table(title="left over by depth, share of variance")
    for name in ("levels read", "reconstruction error", "spread within"):
        table.add_column(name, justify="right")
    for error in found.errors:
        shown = "-" if error.reconstruction is None else f"{error.reconstruction:.4f}"
        table.add_row(str(error.depth), shown, f"{error.spread:.4f}")
    return table


def _neighbours(found: Audit) -> Table:
    table = Table(title=f"pairs of items that share the first codes (by {found.neighbours_by})")
    for name in ("codes shared", "mean cosine", "closer than a random pair"):
        table.add_column(name, justify="right")
    for check in found.neighbours:
        name = "random pair" if check.depth == 0 else f"{check.depth} or more"
        table.add_row(name, f"{check.similarity:.3f}", f"{check.closer_than_random:.1%}")
    return table


def _branches(found: Audit) -> Table:
    table = Table(title=f"largest of {len(found.branches)} branches of the first level")
    table.add_column("code", justify="right")
    table.add_column("items", justify="right")
    table.add_column("typical words")
    for branch in found.branches[:SHOWN_BRANCHES]:
        table.add_row(str(branch.codes[0]), f"{branch.items:,}", Text(", ".join(branch.words)))
    return table
