"""``h2rec presets``: what there is, and the resolved configuration of one."""

from typing import Annotated

import typer
import yaml

from h2rec.run.config import RunConfig
from h2rec.run.presets import DEFAULT, preset_names, preset_title

PLACEHOLDER = "interactions.csv"


def presets(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Print the whole configuration of this one.")
    ] = None,
) -> None:
    """List the presets that a configuration can name (`preset: NAME`), or print one as a whole configuration."""
    if name is None:
        names = preset_names()
        width = max(map(len, names)) + 2
        for known in names:
            mark = "*" if known == DEFAULT else " "
            typer.echo(f"{mark} {known:<{width}}{preset_title(known)}")
        typer.echo("\n* where a configuration names none; `h2rec presets NAME` prints all its values")
        return
    config = RunConfig.parse({"preset": name, "data": {"interactions": PLACEHOLDER}})
    typer.echo(f"# {preset_title(name)}")
    typer.echo(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True), nl=False)
