"""What a user already has is never overwritten or deleted: only what is plainly ours makes way."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from h2rec.errors import H2RecError

Ours = Callable[[Path], bool]
"""Whether h2rec wrote all that lies at a path."""

ELSEWHERE = "give another place, or move away what is there"


def claim_folder(path: Path, ours: Ours) -> Path:
    """Return the absolute path of a folder that may be replaced as a whole.

    That is so if it is missing, empty, or `ours` knows it.

    Raises `H2RecError` if it is a file, a link, the folder that the process is in, or holds what h2rec did not
    write.
    """
    path = absolute(path)
    if path.is_symlink():
        raise H2RecError(f"{path}: is a link, which would be replaced", "give the folder itself")
    if not path.exists():
        _check_above(path)
        return path
    if not path.is_dir():
        raise H2RecError(f"{path}: is a file, not a folder", ELSEWHERE)
    if any(path.iterdir()) and not ours(path):
        raise H2RecError(f"{path}: holds what h2rec did not write, and would be replaced", ELSEWHERE)
    if path.samefile(Path.cwd()) or path.is_mount():
        raise H2RecError(f"{path}: can't be replaced while it is in use", "give a folder below it")
    return path


def claim_file(path: Path, ours: Ours) -> Path:
    """Return the absolute path of a file that may be written: it is missing, empty, or `ours` knows it.

    Raises `H2RecError` if it is a folder, a link, a device, or a file that h2rec did not write.
    """
    path = absolute(path)
    if path.is_symlink():
        raise H2RecError(f"{path}: is a link, which would be replaced", "give the file itself")
    if path.exists():
        if not path.is_file():
            raise H2RecError(f"{path}: is no file that could be written", ELSEWHERE)
        if path.stat().st_size and not ours(path):
            raise H2RecError(f"{path}: is there already, and h2rec did not write it so", ELSEWHERE)
    else:
        _check_above(path)
    return path


def claim_names(folder: Path, names: Iterable[str], ours: Ours) -> None:
    """Refuse to write into a folder that has files or folders of the same names.

    Raises `H2RecError` if there is one and `ours` does not know the folder, or if the folder is a file.
    """
    folder = absolute(folder)
    if os.path.lexists(folder) and not folder.is_dir():
        raise H2RecError(f"{folder}: is no folder", ELSEWHERE)
    _check_above(folder)
    there = [name for name in names if os.path.lexists(folder / name)]
    if there and not ours(folder):
        raise H2RecError(
            f"{folder / there[0]}: is there already, and h2rec did not write it", "give another folder"
        )


def holds_nothing_but(folder: Path, names: Sequence[str] | set[str]) -> bool:
    """Whether all files and links in a folder, at any depth, are among some relative names."""
    return files_in(folder) <= set(names)


def files_in(folder: Path) -> set[str]:
    """Relative names of all files and links in a folder, at any depth."""
    names = set()
    for at, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(at) / name).is_symlink()]
        names |= {(Path(at) / name).relative_to(folder).as_posix() for name in (*files, *links)}
    return names


def absolute(path: Path) -> Path:
    """Absolute path with a name of its own at the end; a link at the end stays one."""
    path = path.absolute()
    return path.resolve() if path.name in ("", "..") else path


def _check_above(path: Path) -> None:
    for above in path.parents:
        if os.path.lexists(above):
            if not above.is_dir():
                raise H2RecError(f"{above}: is a file, and {path.name} would lie in it", ELSEWHERE)
            return
