"""``h2rec serve``: a bundle over HTTP."""

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from h2rec.errors import ConfigError, needs_extra

TOKEN = "H2REC_TOKEN"


def serve(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="Folder of a bundle.", envvar="H2REC_BUNDLE")
    ],
    *,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on.")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help=f"File of a bearer token; or set {TOKEN}.")
    ] = None,
    without_token: Annotated[
        bool, typer.Option("--without-token", help="Let everyone in who can reach HOST.")
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="A name that requests may call the server by; can be repeated."),
    ] = None,
    index: Annotated[
        str,
        typer.Option(
            "--index",
            help="How items are searched: auto, exact, ivf, flat, or milvus://HOST:19530/NAME.",
        ),
    ] = "auto",
    histories: Annotated[
        Path | None,
        typer.Option("--histories", help="Users to find on the page: a file as `recommend --input` takes."),
    ] = None,
    experiment: Annotated[
        Path | None,
        typer.Option("--experiment", help="File of an experiment: arms, their shares, where it is logged."),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of the numerical libraries.")] = 1,
    workers: Annotated[int, typer.Option("--workers", min=1, max=256, help="Processes side by side.")] = 1,
) -> None:
    """Serve a bundle: recommendations, similar items, new items, metrics, and a page to explore it."""
    with needs_extra("the server", "serve"):
        from h2rec.serving.run import serve as run
        from h2rec.serving.settings import ServeSettings
    settings = ServeSettings.parse(
        {
            "host": host,
            "port": port,
            "token": _token(token_file),
            "without_token": without_token,
            "allowed_hosts": allow_host or [],
            "histories": histories,
            "experiment": experiment,
            "threads": threads,
            "workers": workers,
            "index": {"kind": {"name": re.split("[+:]", index)[0], "uri": index} if ":" in index else index},
        }
    )
    run(bundle, settings)


def _token(file: Path | None) -> str | None:
    if file is None:
        token, source = os.environ.get(TOKEN), TOKEN
        if token is None:
            return None
    else:
        source = f"--token-file {file}"
        try:
            token = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{source}: can't be read ({error})") from None
    if not token.strip():  # a secret that did not arrive must not open the server
        raise ConfigError(f"{source}: the token is empty", "give one, or unset it to ask for none")
    return token.strip()
