"""`h2rec datasets`: the named public data sets."""

from pathlib import Path
from typing import Annotated

import typer

from h2rec.claims import claim_names
from h2rec.data.sources import fetch, list_sources

app = typer.Typer(help="List and fetch public data sets.", no_args_is_help=True)


@app.command("list")
def list_command() -> None:
    """List the data sets that can be named in a configuration (`data: {source: NAME}`)."""
    sources = list_sources()
    width = max(len(source.name) for source in sources)
    for source in sources:
        typer.echo(f"{source.name:<{width}}  {source.description}")


@app.command("fetch")
def fetch_command(
    name: Annotated[str, typer.Argument(help="A name that `h2rec datasets list` shows.")],
    folder: Annotated[
        Path | None, typer.Option(help="Where the files go; by default the cache folder.")
    ] = None,
) -> None:
    """Download and convert a data set, unless that is done already, and print its two files."""
    if folder is not None:
        claim_names(
            folder, (f"{name}.inter", f"{name}.item"), lambda known: (known / "fetched.json").is_file()
        )
    fetched = fetch(name, folder)
    typer.echo(f"interactions: {fetched.interactions}")
    typer.echo(f"items: {fetched.items}")
