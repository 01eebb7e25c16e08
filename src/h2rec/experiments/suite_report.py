"""report"""

from pathlib import Path
from typing import Any


def write_suite_report(path: Path, found: dict[str, Any]) -> None:
    """Write."""
