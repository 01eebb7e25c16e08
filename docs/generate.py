"""Write the pages of docs/reference that come from the code: settings, commands, and the names of the package.

Run:  python docs/generate.py
"""

import importlib
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer

import h2rec
from h2rec.cli.main import GROUPS, make_app
from h2rec.files import write_text
from h2rec.losses import RANKING_LOSSES
from h2rec.models import MODELS
from h2rec.models.backbones.registry import BACKBONES
from h2rec.models.branches import BRANCHES
from h2rec.registry import Registry
from h2rec.run.config import RunConfig
from h2rec.semantic_ids.quantizers import QUANTIZERS
from h2rec.settings import Settings

FOLDER = Path(__file__).parent / "reference"
NAMED: dict[str, Registry] = {
    "model": MODELS,
    "model.branches": BRANCHES,
    "model.backbone": BACKBONES,
    "loss.ranking": RANKING_LOSSES,
    "semantic_ids.quantizer": QUANTIZERS,
}
"""Sections whose settings depend on a name."""
MADE = "<!-- Written by docs/generate.py; do not edit. -->\n\n"


def settings_page() -> str:
    """Return every setting with its default and what it decides, a table a section."""
    default = RunConfig.parse({"data": {"interactions": "i.csv"}}).model_dump(mode="json")
    sections: dict[str, list[str]] = {}
    for key, owners, field in every_setting(RunConfig):
        row = f"| `{key}` | {told_default(key, field, default)} | {told(key, owners, field)} |"
        rows = sections.setdefault(key.partition(".")[0] if "." in key else "", [])
        if row not in rows:
            rows.append(row)
    pages = [
        f"{MADE}# All settings\n\n"
        "Every key that a configuration may have. [Settings to know](../settings.md) has the 25 that matter most.\n"
        "A default is the value of the preset `h2rec`; `h2rec presets NAME` prints those of another preset.\n"
        "In `model.branches.*` the star stands for the name that you give the branch.\n"
    ]
    for section, rows in sections.items():
        pages.append(f"## {section or 'The top level'}\n")
        if section:
            pages.append(f"{one_line(RunConfig.model_fields[section].description)}\n")
        pages.append("| setting | default | what it decides |\n|---|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(pages)


def every_setting(settings: type[Settings], above: str = "") -> Iterator[tuple[str, str, Any]]:
    """Give the dotted key of every setting, the parts that have it where not all of a kind do, and its field."""
    for name, field in settings.model_fields.items():
        key = f"{above}{name}"
        if key in NAMED:
            yield from named_settings(key)
            continue
        kinds = (field.annotation, *get_args(field.annotation))
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings)]
        for part in inner:
            yield from every_setting(part, f"{key}.")
        if not inner:
            yield key, "", field


def named_settings(key: str) -> Iterator[tuple[str, str, Any]]:
    """Give the settings of all parts of a section that goes by a name, each once."""
    registry = NAMED[key]
    classes = {name: registry.get(name).settings_class for name in registry.names()}
    above = f"{key}.*." if key == "model.branches" else f"{key}."
    for part, settings in classes.items():
        for found, owners, field in every_setting(settings, above):
            last = found.removeprefix(above).partition(".")[0]
            having = [name for name, other in classes.items() if last in other.model_fields]
            # What the default model has needs no owner; all others tell whose it is.
            everywhere = len(having) == len(classes) or part == "branches"
            if part == having[0]:
                yield found, owners or ("" if everywhere else told_names(registry.what, having)), field


def told_names(what: str, names: list[str]) -> str:
    """Return parts of one kind by their names."""
    return f"{what} {', '.join(f'`{name}`' for name in names)}"


def told_default(key: str, field: Any, default: dict[str, Any]) -> str:
    """Return the value in the default preset; else that of the class."""
    value: Any = default
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            value = "required" if field.is_required() else field.get_default(call_default_factory=True)
            return value if field.is_required() else f"`{plain(value)}`"
        value = value[part]
    if key == "data.interactions":
        return "required, or `data.source`"
    return f"`{plain(value)}`"


def plain(value: Any) -> str:
    """Return a value as YAML would have it."""
    return value if isinstance(value, str) else json.dumps(value)


def told(key: str, owners: str, field: Any) -> str:
    """Return a field's description, for whom it is, and what it may be."""
    text = one_line(field.description)
    choices = list(get_args(field.annotation)) if get_origin(field.annotation) is Literal else []
    section, _, last = key.rpartition(".")
    if last == "name":
        choices = NAMED[section].names()
    missing = [choice for choice in choices if str(choice) not in text]
    of = f"({owners}) " if owners else ""
    return of + text + (f" One of {', '.join(f'`{choice}`' for choice in choices)}." if missing else "")


def one_line(text: str | None) -> str:
    """Return a docstring as one line of a table's cell."""
    return " ".join((text or "").split()).replace("|", "\\|")


def api_page() -> str:
    """Return the public names, by their docstrings; the site shows the rest of each."""
    pages = [
        f"{MADE}# Names in Python\n\n"
        "Everything that `import h2rec` offers. `help(h2rec.Model)` shows the parameters and methods of a name. The\n"
        "site (`make site`) shows them here, in place of the lines that begin with `:::`.\n"
    ]
    for name in sorted(h2rec.__all__, key=str.lower):
        value = getattr(h2rec, name)
        home = importlib.import_module(value.__module__).__name__
        first = (inspect.getdoc(value) or "").partition("\n\n")[0]
        pages.append(f"## h2rec.{name}\n\n{' '.join(first.split())}\n\n::: {home}.{name}\n")
    return "\n".join(pages)


def commands_page() -> str:
    """Return every command with its arguments and options, from the command line's own help."""
    heads, parts = [], []
    for name, command in every_command():
        told = one_line(command.help)
        first = told.partition(". ")[0]
        heads.append(f"| [`h2rec {name}`](#h2rec-{name.replace(' ', '-')}) | {first.rstrip('.')} |")
        rows = [
            f"| `{parameter.metavar or parameter.name}` | {one_line(parameter.help)} |"
            if parameter.param_type_name == "argument"
            else f"| `{', '.join(parameter.opts)}` | {one_line(parameter.help)} |"
            for parameter in command.params
        ]
        table = "| argument or option | what it is |\n|---|---|\n" + "\n".join(rows) if rows else ""
        parts.append(f"## h2rec {name}\n\n{told}\n\n{table}".rstrip() + "\n")
    overview = "| command | what it does |\n|---|---|\n" + "\n".join(heads) + "\n"
    return "\n".join([f"{MADE}# Commands\n\n`h2rec COMMAND --help` says the same.\n", overview, *parts])


def every_command() -> Iterator[tuple[str, Any]]:
    """Give every command by its words."""
    top: Any = typer.main.get_group(make_app(["--help"]))
    for name, command in top.commands.items():
        for inner, below in (command.commands if name in GROUPS else {"": command}).items():
            yield f"{name} {inner}".strip(), below


PAGES = {"settings.md": settings_page, "commands.md": commands_page, "api.md": api_page}

if __name__ == "__main__":
    for page, made in PAGES.items():
        write_text(FOLDER / page, made())
