"""Downloads that go on where they broke off, are checked, and appear whole or not at all."""

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path

from h2rec.errors import DataError
from h2rec.progress import progress_bar

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 20
_PAUSE_SECONDS = 1.0


def download(url: str, path: Path, *, md5: str | None = None, attempts: int = 3) -> Path:
    """Fetch a file, unless it is there already.

    What was received of a broken download is kept beside the target as `.part` and continued.

    `md5`: published checksum, checked also for a file that was put there by hand. `attempts`: tries, each going on
    from what is there. Raises `DataError` if the file can't be had or its checksum is wrong; the hint tells how to
    put it there by hand.
    """
    if not path.exists():
        part = path.with_name(path.name + ".part")
        path.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(attempts):
            try:
                _continue(url, part)
                break
            except (OSError, http.client.HTTPException) as error:
                if attempt + 1 == attempts or not _worth_another_try(error):
                    reason = getattr(error, "reason", None) or error
                    raise DataError(f"{url}: can't be fetched ({reason})", _by_hand(url, path)) from None
                time.sleep(_PAUSE_SECONDS * 2**attempt)
        _check(part, url, md5, path)
        part.replace(path)
    else:
        _check(path, url, md5, path)
    return path


def _continue(url: str, part: Path) -> None:
    start = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "h2rec", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_SECONDS
        )
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            if error.headers.get("Content-Range") == f"bytes */{start}":
                return  # it was complete already
            part.unlink()
        raise
    with response:
        continued = response.status == http.HTTPStatus.PARTIAL_CONTENT
        length = response.headers.get("Content-Length")
        received = start if continued else 0
        total = None if length is None else received + int(length)
        with part.open("ab" if continued else "wb") as stream, progress_bar(part.stem, total, "B") as advance:
            advance(received)
            while chunk := response.read(_CHUNK):
                stream.write(chunk)
                received += len(chunk)
                advance(len(chunk))
    if total is not None and received < total:
        raise http.client.IncompleteRead(b"", total - received)


def _worth_another_try(error: Exception) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code in (408, 416, 429)
    # A name that can't be resolved or a refused connection fails at once, and would again.
    return not isinstance(error, urllib.error.URLError)


def _check(file: Path, url: str, md5: str | None, target: Path) -> None:
    if md5 is None:
        return
    with file.open("rb") as stream:
        checksum = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if checksum != md5:
        file.unlink()
        raise DataError(f"{url}: the checksum is {checksum}, published is {md5}", _by_hand(url, target))


def _by_hand(url: str, path: Path) -> str:
    return f"run it again, or get {url} by other means and put it at {path}"
