"""``h2rec audit``: what the semantic IDs of a catalogue are worth."""

import warnings
from pathlib import Path
from typing import Annotated

import typer

from h2rec.claims import claim_file
from h2rec.data.identifiers import clean_id
from h2rec.data.items import read_items
from h2rec.data.readers import open_table
from h2rec.data.settings import ColumnSettings
from h2rec.errors import H2RecWarning, SemanticIdError
from h2rec.files import read_json
from h2rec.semantic_ids import audit as auditing
from h2rec.semantic_ids.audit.picture import write_html
from h2rec.semantic_ids.audit.tables import audit_tables
from h2rec.semantic_ids.interchange import read_codes
from h2rec.semantic_ids.quantizers import load_quantizer
from h2rec.templates import is_page
from h2rec.terminal import printable_json, result_console
from h2rec.text.encoders.precomputed import read_matrix
from h2rec.text.fields import item_texts

CodesArgument = Annotated[
    Path, typer.Argument(metavar="SEMANTIC_IDS", help="semantic_ids.json or *.index.json.")
]
ItemsOption = Annotated[
    Path | None, typer.Option("--items", help="Item file with text, for titles and typical words.")
]
EmbeddingsOption = Annotated[
    Path | None,
    typer.Option("--embeddings", help="NPY of text embeddings, rows in the order of SEMANTIC_IDS."),
]
QuantizerOption = Annotated[
    Path | None,
    typer.Option("--quantizer", help="Folder of the fitted quantizer, for the reconstruction error."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
HtmlOption = Annotated[
    Path | None, typer.Option("--html", help="Write pictures and figures to this HTML file.")
]


def audit(  # noqa: PLR0917  # typer turns the parameters into options
    semantic_ids: CodesArgument,
    items: ItemsOption = None,
    embeddings: EmbeddingsOption = None,
    quantizer: QuantizerOption = None,
    as_json: JsonOption = False,
    html: HtmlOption = None,
) -> None:
    """Use of the codes, collisions, what they hold of the text, and what they mean.

    Codebook sizes are those of the quantizer; without one, a level's largest code plus one.
    """
    if html is not None:
        claim_file(html, is_page)
    fitted = None if quantizer is None else load_quantizer(quantizer)
    codes = read_codes(semantic_ids)
    if fitted is not None:
        codes = codes.with_sizes(
            (*fitted.codebook_sizes, *codes.codebook_sizes[len(fitted.codebook_sizes) :])
        )
    item_ids = list(dict.fromkeys(map(clean_id, read_json(semantic_ids))))
    report = auditing.audit(
        codes,
        embeddings=None if embeddings is None else read_matrix(embeddings),
        quantizer=fitted,
        texts=None if items is None else _texts_of(items, item_ids),
        item_ids=item_ids,
    )
    if html is not None:
        write_html(html, report, f"Semantic IDs of {semantic_ids.name}")
    if as_json:
        typer.echo(printable_json(report.to_json(), indent=1))
    else:
        result_console().print(audit_tables(report))


def _texts_of(path: Path, item_ids: list[str]) -> list[str]:
    table, _ = read_items(open_table(path), ColumnSettings(), {})
    texts = dict(zip(table["item_id"], item_texts(table.drop("file_row"), None), strict=True))
    missing = sum(item not in texts for item in item_ids)
    if missing == len(item_ids):
        raise SemanticIdError(f"{path}: none of the {missing} items with codes is in this file")
    if missing:
        warnings.warn(
            f"{path}: {missing} of {len(item_ids)} items have no row here", H2RecWarning, stacklevel=2
        )
    return [texts.get(item, "") for item in item_ids]
