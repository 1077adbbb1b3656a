"""Commands that read the tables: sql and search."""

import sys
from typing import Annotated

import typer
from rich.markup import escape

from audio_assets.cli.opening import existing_data, open_model, open_warehouse
from audio_assets.cli.options import DEFAULT_DATA, DataDir, ModelName
from audio_assets.cli.printing import OutputFormat, err, fail, out, print_result, print_rows
from audio_assets.embeddings import DEFAULT_MODEL_ID


def sql(
    query: Annotated[str, typer.Argument(help="One SQL query, or - to read it from standard input.")] = "-",
    data: DataDir = DEFAULT_DATA,
    live: Annotated[
        bool, typer.Option("--live", help="Ask the record as it is now, not the last published generation.")
    ] = False,
    output: Annotated[
        OutputFormat, typer.Option("--format", help="How rows are printed.")
    ] = OutputFormat.TABLE,
) -> None:
    """Query the tables: manifest, audio_features, clap_embeddings, track_failures, batches and the rest.

    A worked query from a file: audio-assets sql < examples/sql/01_library_overview.sql
    """
    import duckdb

    from audio_assets.warehouse import LINK_NAME, open_live

    text = sys.stdin.read() if query == "-" else query
    folder = existing_data(data)
    published = folder / LINK_NAME
    if not live and not published.exists():
        fail(f"nothing is published in {folder} yet; run 'audio-assets run', or ask the record with --live")
    try:
        with (
            open_live(open_warehouse(data).record)
            if live
            else duckdb.connect(str(published.resolve()), read_only=True)
        ) as connection:
            cursor = connection.execute(text)
            names = [column[0] for column in cursor.description or ()]
            rows = cursor.fetchall()
    except duckdb.Error as error:
        fail(str(error))
    print_result(names, rows, output)


def search(
    text: Annotated[str, typer.Option("--text", help="What to look for, in English.")],
    limit: Annotated[int, typer.Option("-k", help="Tracks wanted.", min=1)] = 10,
    data: DataDir = DEFAULT_DATA,
    clap_model: ModelName = DEFAULT_MODEL_ID,
) -> None:
    """Find the tracks that are nearest to a text, with the model the index was made with."""
    from audio_assets.embeddings import ModelError
    from audio_assets.retrieval import QueryError
    from audio_assets.search import SearchRefusedError, search_text

    record = open_warehouse(existing_data(data)).record
    model = open_model(clap_model)
    try:
        hits = search_text(record, model, text, limit)
        concerns = model.concerns()
    except (ModelError, QueryError, SearchRefusedError) as error:
        fail(str(error))
    for concern in concerns:
        err.print(f"WARNING {escape(concern)}")
    rows = ((rank, hit.song_id, hit.title, f"{hit.score:.3f}") for rank, hit in enumerate(hits, start=1))
    print_rows(("rank", "song_id", "track", "score"), rows)
    out.print("Scores rank tracks for this text. They do not say how well a track fits it.")
