"""What the scripts have in common that keep results of a run in the repository."""

import argparse
import re
from pathlib import Path


def asked_folders(description: str | None) -> list[Path]:
    """Folders of runs, from the command line."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, help="Folders of finished runs.")
    folders: list[Path] = parser.parse_args().folders
    return folders


def without_paths(command: str) -> str:
    """The command with folders left out: where a run was kept does not change it."""
    command = re.sub(r" --(out|stages)[ =]\S+", "", command)
    return re.sub(r"(?<=[ =])(?:/|\.\./|~/)\S*/(?=[^/\s]+)", "", command)
