"""Published files of codes, item -> ``["<a_12>", "<b_3>", ..]``, as LETTER, LC-Rec and MiniOneRec write."""

import re
from collections.abc import Sequence
from pathlib import Path

from h2rec.data.identifiers import clean_id
from h2rec.errors import SemanticIdError
from h2rec.files import read_json
from h2rec.semantic_ids.codes import SemanticIds, write_rows

TOKEN = re.compile(r"<([a-z]+)_([0-9]{1,9})>")


def read_codes(path: Path, item_ids: Sequence[str] | None = None) -> SemanticIds:
    """Read a file of codes: tokens (``*.index.json``) or integers (``semantic_ids.json``).

    `item_ids`: the items to return, in order; None takes all in the file's order. Codebook sizes come from all items of
    the file.

    Raises `SemanticIdError` for an item without codes or with two, a malformed token, a level out of order, or tuples
    of different length; item and level are named; `DataError` if the file is missing or not JSON.
    """
    content = read_json(path)
    if isinstance(content, dict):
        rows = {item: _parse_row(path, item, row) for item, row in content.items()}
        content = {clean_id(item): row for item, row in rows.items()}
        torn = next((item for item, row in rows.items() if content[clean_id(item)] != row), None)
        if torn is not None:
            raise SemanticIdError(f"{path}: item '{clean_id(torn)}' occurs twice, with other codes")
    return SemanticIds.from_mapping(content, item_ids, source=str(path))


def write_index(path: Path, semantic_ids: SemanticIds, item_ids: Sequence[str]) -> None:
    """Write ``*.index.json``: item -> one token per level.

    Raises `SemanticIdError` for more than 26 levels, which the format has no letters for.
    """
    if semantic_ids.levels > 26:
        raise SemanticIdError(f"{semantic_ids.levels} levels: the index format has letters for 26")
    rows = semantic_ids.codes.tolist()
    tokens = [[f"<{_letter(level)}_{code}>" for level, code in enumerate(row)] for row in rows]
    write_rows(path, item_ids, tokens)


def _parse_row(path: Path, item: str, row: object) -> object:
    if not isinstance(row, list) or not any(isinstance(token, str) for token in row):
        return row
    codes = []
    for level, token in enumerate(row):
        where = f"{path}: item '{item}', level {level + 1}"
        match = TOKEN.fullmatch(token) if isinstance(token, str) else None
        if match is None:
            raise SemanticIdError(
                f'{where}: expected a token such as "<{_letter(level)}_12>", found {token!r}'
            )
        if match[1] != _letter(level):
            raise SemanticIdError(f"{where}: expected the letter '{_letter(level)}', found {token!r}")
        codes.append(int(match[2]))
    return codes


def _letter(level: int) -> str:
    return chr(ord("a") + level) if level < 26 else "?"
