"""``h2rec export``: a bundle for other systems."""

from pathlib import Path
from typing import Annotated

import typer

from h2rec.errors import ConfigError
from h2rec.retrieval.export import export_encoder, export_transitions, export_vectors
from h2rec.retrieval.index import IndexSettings
from h2rec.retrieval.recommender import Recommender
from h2rec.terminal import Console


def export(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of a bundle.")],
    *,
    vectors: Annotated[
        str | None,
        typer.Option(
            "--vectors",
            metavar="FILE|URL",
            help="Item vectors: .parquet, .npy, or SCHEME://HOST:PORT/NAME of qdrant, milvus, postgresql, "
            "elasticsearch, opensearch.",
        ),
    ] = None,
    transitions: Annotated[
        Path | None, typer.Option("--transitions", help="Counts, which have no vectors: a Parquet file.")
    ] = None,
    encoder: Annotated[Path | None, typer.Option("--encoder", help="User encoder: an ONNX file.")] = None,
    attributes: Annotated[
        str | None,
        typer.Option("--attributes", help="Item fields beside the vectors, by commas; all, where not given."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace what is there though h2rec did not write it.")
    ] = False,
) -> None:
    """Give item vectors, counts and the user encoder to other systems."""
    if vectors is None and transitions is None and encoder is None:
        raise ConfigError("nothing to export", "give --vectors, --transitions or --encoder")
    if attributes is not None and vectors is None:
        raise ConfigError("--attributes go along with --vectors")
    recommender = Recommender.load(bundle, IndexSettings(kind="exact"))
    if encoder is not None:
        difference = export_encoder(recommender, encoder, replace=replace)
        typer.echo(f"user encoder, {difference:.0e} from torch: {encoder}")
    if transitions is not None:
        rows = export_transitions(recommender, transitions, replace=replace)
        typer.echo(f"{rows:,} transitions: {transitions}")
    if vectors is not None:
        names = (
            None if attributes is None else [name.strip() for name in attributes.split(",") if name.strip()]
        )
        done = export_vectors(recommender, vectors, attributes=names, replace=replace)
        typer.echo(f"{done.items:,} item vectors, {done.recall:.1%} of the best found again: {done.place}")
        model = recommender.bundle.model
        decoding = [name for name, ranked in zip(model.branch_names, model.ranked, strict=True) if not ranked]
        if decoding:
            told = f"no other system has the scores of {', '.join(decoding)}: they are decoded, not looked up"
            Console(stderr=True).print(told, markup=False)
        counted = model.transitions()
        if counted and transitions is None:
            told = f"the counts of {', '.join(counted)} have no vectors: --transitions exports them"
            Console(stderr=True).print(told, markup=False)
