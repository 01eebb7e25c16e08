"""Where a result comes from."""

import shlex
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from h2rec import __version__
from h2rec.runtime import describe_machine


def provenance(seed: int) -> dict[str, Any]:
    """Where a result of the present run comes from: `origin`, and the seed."""
    return origin() | {"seed": seed}


def origin() -> dict[str, Any]:
    """Command, software version and commit, machine and date of the present run."""
    name = Path(sys.argv[0]).name
    # `python -m h2rec` is the same command under another name.
    command = ["h2rec" if name == "__main__.py" else name, *sys.argv[1:]]
    return {
        "command": shlex.join(command),
        "h2rec": __version__,
        "commit": _commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
    }


@cache
def _commit() -> str | None:
    """The commit of the code that this process has loaded: asked once, since a checkout may move on under it."""
    # Only a checkout of this project counts: an installed package may lie inside somebody else's repository.
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return None
    try:
        described = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()
