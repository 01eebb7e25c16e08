"""``h2rec serve``: a bundle over HTTP."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from h2rec.errors import ConfigError, MissingExtraError

TOKEN = "H2REC_TOKEN"


def serve(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of a bundle.")],
    *,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on.")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help=f"File of a bearer token; or set {TOKEN}.")
    ] = None,
    index: Annotated[
        Literal["auto", "exact", "hnsw", "ivf"], typer.Option("--index", help="How items are searched.")
    ] = "auto",
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of the numerical libraries.")] = 1,
) -> None:
    """Serve a bundle: recommendations, similar items, new items, metrics, and a page to explore it."""
    try:
        from h2rec.serving.run import serve as run
        from h2rec.serving.settings import ServeSettings
    except ImportError:
        raise MissingExtraError("the server", "serve") from None
    settings = ServeSettings.parse(
        {
            "host": host,
            "port": port,
            "token": _token(token_file),
            "threads": threads,
            "index": {"kind": index},
        }
    )
    run(bundle, settings)


def _token(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(TOKEN) or None
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--token-file {file}: can't be read ({error})") from None
    if not token:
        raise ConfigError(f"--token-file {file}: the file is empty")
    return token
