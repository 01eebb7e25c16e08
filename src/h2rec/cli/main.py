"""The entry point: mounts the commands and reports mistakes without a traceback."""

import importlib
import logging
import sys
import warnings
from collections.abc import Sequence

import typer
from rich.logging import RichHandler

from h2rec import __version__
from h2rec.errors import H2RecError, H2RecWarning
from h2rec.terminal import Console

COMMANDS = {
    "quickstart": "h2rec.cli.quickstart:quickstart",
    "run": "h2rec.cli.run:run",
    "presets": "h2rec.cli.presets:presets",
    "tokenize": "h2rec.cli.run:tokenize",
    "train": "h2rec.cli.run:train",
    "evaluate": "h2rec.cli.run:evaluate",
    "tune": "h2rec.cli.tune:tune",
    "tune-suite": "h2rec.cli.tune_suite:tune_suite_command",
    "compare": "h2rec.cli.compare:compare",
    "cold-start": "h2rec.cli.cold_start:cold_start_command",
    "bundle": "h2rec.cli.run:bundle",
    "recommend": "h2rec.cli.recommend:recommend",
    "export": "h2rec.cli.export:export",
    "add-items": "h2rec.cli.add_items:add_items_command",
    "update": "h2rec.cli.update:update_command",
    "replay": "h2rec.cli.replay:replay_command",
    "serve": "h2rec.cli.serve:serve",
    "abtest": "h2rec.cli.abtest:abtest",
    "rehearse": "h2rec.cli.rehearse:rehearse_command",
    "audit": "h2rec.cli.audit:audit",
    "stages": "h2rec.cli.stages:stages",
}
GROUPS = {"datasets": "h2rec.cli.datasets:app"}

INTERRUPTED = 130
"""Exit code of a command that the user stopped."""


def _version(shown: bool) -> None:
    if shown:
        typer.echo(__version__)
        raise typer.Exit


def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print warnings and results only."),
) -> None:
    """Sequential recommendation for the long tail: hash IDs and semantic IDs, harmonized."""
    handler = RichHandler(
        console=Console(stderr=True), show_path=False, show_level=False, log_time_format="%H:%M:%S"
    )
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler], force=True)
    logging.getLogger("h2rec").setLevel(logging.WARNING if quiet else logging.INFO)


def _load(path: str) -> object:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def make_app(arguments: Sequence[str]) -> typer.Typer:
    """Return the command line with the commands that the arguments ask for."""
    app = typer.Typer(
        name="h2rec", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False
    )
    app.callback()(_options)
    # A command imports what it needs and nothing else; the overview of all commands needs all of them.
    asked = next((word for word in arguments if word in COMMANDS or word in GROUPS), None)
    for name, path in COMMANDS.items():
        if asked in (None, name):
            # A server is often set by its environment: H2REC_HOST is --host.
            settings = {"auto_envvar_prefix": "H2REC"} if name == "serve" else None
            app.command(name, context_settings=settings)(_load(path))  # type: ignore[type-var]
    for name, path in GROUPS.items():
        if asked in (None, name):
            app.add_typer(_load(path), name=name)  # type: ignore[arg-type]
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake ends with its message and exit code 2.

    `arguments`: words of the command line; None for those of the process.
    """
    warnings.showwarning = _show_warning
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        make_app(words)(words)
    except OSError as error:
        if error.filename is None:
            raise
        _print("[bold red]error:[/]", f"{error.filename}: {error.strerror}")
        sys.exit(2)
    except H2RecError as error:
        _print("[bold red]error:[/]", str(error))
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as ended:
        # Typer turns an interrupt into this code by itself, without a word.
        if isinstance(ended, SystemExit) and ended.code != INTERRUPTED:
            raise
        Console(stderr=True).print("stopped; the same command goes on from the last checkpoint")
        sys.exit(INTERRUPTED)


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    if issubclass(category, H2RecWarning):
        _print("[yellow]warning:[/]", str(message))


def _print(label: str, text: str) -> None:
    escaped = text.replace("[", r"\[")
    Console(stderr=True).print(f"{label} {escaped}", soft_wrap=True, highlight=False)
