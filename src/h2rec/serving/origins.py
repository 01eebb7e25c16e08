"""Who may ask where a browser stands between: names of the server, pages of other origins."""

from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

_FOREIGN = (b"cross-site", b"same-site")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def is_own_name(host: str, names: Sequence[str]) -> bool:
    """Whether a `Host` header names this server and not a page that was bound to its address.

    A page can give its own name any address (DNS rebinding); it can't make itself an address or `localhost`.

    `host`: the header's value, with a port or without. `names`: names that the server goes by beside these, in
    lower case; ``*`` for all.
    """
    if "*" in names:
        return True
    name = _hostname(f"//{host}")
    if name is None:
        return False
    try:
        ip_address(name)
    except ValueError:
        return name == "localhost" or name.endswith(".localhost") or name in names
    return True


def is_foreign(headers: Sequence[tuple[bytes, bytes]], method: str, names: Sequence[str]) -> bool:
    """Whether a page of another origin asks: browsers say so, other clients say nothing.

    Following a link to here is not asking.

    `headers`, `method`: of the request. `names`: hosts whose pages come through a proxy, which may ask under
    another name.
    """
    given = dict(headers)
    site, mode = given.get(b"sec-fetch-site"), given.get(b"sec-fetch-mode")
    if site in _FOREIGN:
        return not (method in ("GET", "HEAD") and mode == b"navigate")
    origin = given.get(b"origin")
    if origin is None:
        return False
    text = origin.decode("latin-1").lower()
    same = text.partition("://")[1:] == ("://", given.get(b"host", b"").decode("latin-1").lower())
    return not same and _hostname(text) not in names


def _hostname(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None
