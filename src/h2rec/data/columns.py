"""Which column of a file plays which part."""

import difflib
import logging
import re

import polars as pl

from h2rec.data.readers import Table
from h2rec.errors import DataError

logger = logging.getLogger(__name__)

Tiers = tuple[tuple[str, ...], ...]

_ITEM = """
    itemid item iid parentasin productid movieid businessid articleid sku skuid stockcode itemcode productcode bookid
    gameid trackid songid videoid contentid newsid listingid offerid goodsid recipeid courseid itemno itemnumber
    productno"""
_OTHER_ITEM = ("asin", "isbn", "ean", "gtin", "upc", "artistid")
_USER = """userid user uid reviewerid customerid customer visitorid clientid memberid buyerid accountid shopperid custid
    customerno customernumber customeruniqueid personid profileid readerid playerid listenerid"""
_OTHER_USER = "userpseudoid fullvisitorid sessionid username reviewername anonymousid deviceid"
_TIME = """timestamp time eventtime eventtimestamp unixreviewtime datetime eventdatetime unixtimestamp unixtime timems
    timestampms ts tdat orderpurchasetimestamp ordertime orderdatetime orderedat orderdate purchasetime purchasedat
    purchasedate boughtat transactiontime transactedat transactiondate invoicedate playedat watchedat listenedat
    viewedat clickedat ratedat reviewedat clicktime viewtime visittime interactiontime ratingtime reviewtime reviewdate
    occurredat logtime epoch createdat createdtime creationtime creationdate createdate"""
_OBVIOUS: dict[str, Tiers] = {
    "user": (tuple(_USER.split()), tuple(_OTHER_USER.split())),
    "item": (tuple(_ITEM.split()), _OTHER_ITEM),
    "item_id": (tuple(_ITEM.split()), _OTHER_ITEM, ("id",)),
    "timestamp": (tuple(_TIME.split()), ("date", "eventdate", "dt", "day")),
    "rating": (("rating", "overall", "stars", "score"),),
    "rank": (("rank", "rankfull", "position", "place"),),
    "items": (("items", "itemids", "recommendations", "recommended", "recommendeditems", "list"),),
}
"""Names taken for each part, without case, `_`, `-` and blanks, best first. A later tier counts only where the
earlier ones have none."""

_PLAIN = ("userid", "user", "itemid", "item", "timestamp", "time", "rating")
"""Names that need no word."""
_TIME_LIKE = re.compile(r"time|date|(?:^|[^a-z])(?:ts|dt|day|when|epoch|at)$", re.IGNORECASE)


def find_column(table: Table, part: str, wanted: str | None) -> str | None:
    """Return the column that was asked for, or else the one whose name is obvious, or None.

    Of several obvious names the best is taken, and a warning names the others.

    `part`: what the column means: user, item, timestamp, rating, item_id in the item file, or rank and items in another
    system's answers. `wanted`: the
    configured name. Raises `DataError` if the configured column is missing, naming the nearest, or if two columns
    differ in case, blanks and the like alone.
    """
    if wanted is not None:
        if wanted in table.columns:
            return wanted
        nearest = difflib.get_close_matches(wanted, table.columns, n=1, cutoff=0.5)
        hint = f"did you mean '{nearest[0]}'?" if nearest else None
        raise DataError(f"{table.path}: no column '{wanted}'; there are: {_names(table)}", hint)
    if (known := table.known.get(part)) in table.columns:
        return known
    for tier in _OBVIOUS[part]:
        rivals = sorted(
            (name for name in table.columns if _bare(name) in tier), key=lambda n: tier.index(_bare(n))
        )
        if not rivals:
            continue
        best, *others = rivals
        words = part.replace("_", " ")
        if others and _bare(others[0]) == _bare(best):
            raise DataError(
                f"{table.path}: '{best}' and '{others[0]}' are both obviously the {words}",
                f"name one of them with data.columns.{part}",
            )
        if others:
            rest = "', '".join(others)
            logger.warning(
                "%s: '%s' is read as the %s, not '%s': data.columns.%s names another",
                table.path,
                best,
                words,
                rest,
                part,
            )
        elif _bare(best) not in _PLAIN:
            logger.info("%s: '%s' is read as the %s", table.path, best, words)
        return best
    return None


def require_column(table: Table, part: str, wanted: str | None) -> str:
    """Return what `find_column` finds.

    Raises `DataError` if there is none, naming the setting.
    """
    column = find_column(table, part, wanted)
    if column is not None:
        return column
    hint = f"name it with data.columns.{part}"
    if table.separator is not None:
        shown = {"\t": "a tab"}.get(table.separator, f"'{table.separator}'")
        hint += "; a file without a header needs one"
        hint += f"; fields are separated by {shown}, and data.separator names something else"
    names = _names(table)
    raise DataError(
        f"{table.path}: none of the columns is obviously the {part.replace('_', ' ')}: {names}", hint
    )


def time_like(table: Table, others: tuple[str, ...], is_time: pl.Expr) -> list[str]:
    """Columns that look like times, by their names or by their first values.

    `others`: columns that mean something else. `is_time`: whether a string, `pl.element()`, is plainly a time.
    """
    columns = [name for name in table.columns if name not in others]
    first = table.collect(table.scan().select(columns).head(100))
    by_value = {
        name
        for name in columns
        if len(values := first[name].str.strip_chars().replace("", None).drop_nulls())
        and bool(values.to_frame("").select(is_time.all()).item())
    }
    likely = [name for name in columns if name in by_value or _TIME_LIKE.search(name)]
    return likely + [name for name in table.left_out if _TIME_LIKE.search(name.partition(" ")[0])]


def _names(table: Table) -> str:
    left_out = f"; left out: {', '.join(table.left_out)}" if table.left_out else ""
    return ", ".join(table.columns) + left_out


def _bare(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
