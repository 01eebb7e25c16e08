"""Whether a run's figures are those that a suite asks for: of its settings, and of what the data files hold now."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from h2rec.data.prepare import input_fingerprint
from h2rec.data.settings import DataSettings
from h2rec.errors import DataError
from h2rec.files import differing, file_hash, read_json, write_json
from h2rec.run.config import RunConfig
from h2rec.run.stages import stage_key

logger = logging.getLogger(__name__)

HASHES = "hashes.json"
"""File of a run's folder in a suite: hashes of the files that tables are made of."""
_TOLD = ("metrics.json", "ranks.parquet", "head.json", "audit.json", "intent.json", "shares.json")


def write_hashes(folder: Path) -> None:
    """Write the hashes of what tables are made of."""
    write_json(
        folder / HASHES, {name: file_hash(folder / name) for name in _TOLD if (folder / name).exists()}
    )


class Figures:
    """Reads what runs were made with; asked again it reads only what was written since."""

    def __init__(self) -> None:
        self._fingerprints: dict[str, dict[str, Any] | None] = {}
        self._known: dict[Path, tuple[int, str]] = {}
        self._whole: dict[Path, int] = {}

    def made_with(self, folder: Path, config: RunConfig) -> str | None:
        """Key of the settings that a run's figures were made with.

        Parameters
        ----------
        folder
            The run's.
        config
            What is asked for: its data files are compared with those that the figures are of.

        Returns
        -------
        str or None
            ``config.key`` where the figures are the ones that are asked for; None without figures.
        """
        figures = folder / "metrics.json"
        if not figures.exists() or not self._is_whole(folder):
            return None
        stamp = figures.stat().st_mtime_ns
        known, key = self._known.get(folder, (0, ""))
        if known != stamp:
            key = self._settings_of(folder, config)
            self._known[folder] = (stamp, key)
        return key

    def _is_whole(self, folder: Path) -> bool:
        """Whether a run's files are as they were written; so taken where older software left no hashes."""
        path = folder / HASHES
        if not path.exists():
            return True
        stamp = path.stat().st_mtime_ns
        if self._whole.get(folder) != stamp:
            try:
                name = differing(folder, read_json(path))
            except (DataError, AttributeError):
                name = HASHES
            if name is not None:
                logger.warning(
                    "%s is missing, or was changed after it was written: run the suite again", folder / name
                )
                return False
            self._whole[folder] = stamp
        return True

    def _settings_of(self, folder: Path, config: RunConfig) -> str:
        origin = read_json(folder / "metrics.json")["provenance"]
        return str(origin.get("settings")) if self._are_of_these_data(config.data, origin) else "other data"

    def _are_of_these_data(self, data: DataSettings, origin: Mapping[str, Any]) -> bool:
        """Whether figures are of what the data files hold now; so taken where these are not at hand."""
        files = self._fingerprint(data)
        if files is None or "made" not in origin:
            return True
        version = origin["made"]["data"]["h2rec"]
        return bool(stage_key("data", files, version) == origin["stages"]["data"])

    def _fingerprint(self, data: DataSettings) -> dict[str, Any] | None:
        key = data.model_dump_json()
        if key not in self._fingerprints:
            try:
                # Named data sets are made by the program or fetched from where they don't change.
                self._fingerprints[key] = None if data.source else input_fingerprint(data)
            except DataError:
                self._fingerprints[key] = None
        return self._fingerprints[key]
