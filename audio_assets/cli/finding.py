"""Commands that find tracks: similar and search."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from audio_assets.cli.opening import existing_data, refuse_missing_folder
from audio_assets.cli.options import DEFAULT_DATA, DataDir, Format
from audio_assets.cli.printing import OutputFormat, err, fail, out, print_result

if TYPE_CHECKING:
    import pyarrow as pa

    from audio_assets.client import PublishedWarehouse

K = Annotated[int, typer.Option("-k", help="Tracks wanted.", min=1)]
Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        help="Only tracks for which this SQL condition on the columns of tracks holds, such as "
        "\"tempo_bpm < 90 AND genre = 'folk'\".",
    ),
]


def similar(
    song_id: Annotated[str, typer.Argument(help="Id of a track, or its path in the library.")],
    k: K = 10,
    where: Where = None,
    output: Format = OutputFormat.TABLE,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Find the tracks that sound most like one of the library; it comes first itself, at 1."""
    with _published(data) as warehouse:
        _print_hits(warehouse.similar(song_id, k, where=where), output)


def search(
    text: Annotated[str | None, typer.Option("--text", help="What to look for, in English.")] = None,
    audio: Annotated[
        Path | None, typer.Option("--audio", help="An audio file, of the library or from anywhere.")
    ] = None,
    k: K = 10,
    where: Where = None,
    output: Format = OutputFormat.TABLE,
    data: DataDir = DEFAULT_DATA,
    clap_model: Annotated[
        str | None,
        typer.Option(
            "--clap-model",
            envvar="AUDIO_ASSETS_CLAP_MODEL",
            help="Where the model is that the index was made with; left out, where it was then.",
        ),
    ] = None,
) -> None:
    """Find the tracks that are nearest to a text, or sound most like an audio file."""
    if (text is None) == (audio is None):
        raise typer.BadParameter("one of them is needed, and not both", param_hint="--text / --audio")
    if clap_model is not None:
        refuse_missing_folder(clap_model)
    with _published(data) as warehouse:
        model = warehouse.model(clap_model)
        if audio is None:
            found = warehouse.search_text(text or "", k, where=where, model=model)
            for concern in model.concerns():
                err.print(f"WARNING {escape(concern)}")
        else:
            found = warehouse.search_audio(audio, k, where=where, model=model)
    _print_hits(found, output)
    if text is not None and output is OutputFormat.TABLE:
        out.print("Scores rank tracks for this text. They do not say how well a track fits it.")


@contextmanager
def _published(data: Path) -> "Iterator[PublishedWarehouse[pa.Table]]":
    """Open what is published; every refusal ends the command with its sentence."""
    from audio_assets.client import NotPublishedError, open_warehouse
    from audio_assets.embeddings import ModelError
    from audio_assets.retrieval import QueryError
    from audio_assets.search import SearchRefusedError
    from audio_assets.warehouse import RecordError
    from resources.clap_model import ModelSettingError

    try:
        with open_warehouse(existing_data(data), as_arrow=True) as warehouse:
            yield warehouse
    except ModelSettingError as error:
        raise typer.BadParameter(str(error)) from error
    except (ModelError, NotPublishedError, QueryError, RecordError, SearchRefusedError) as error:
        fail(str(error))


def _print_hits(found: "pa.Table", output: OutputFormat) -> None:
    columns = [column.to_pylist() for column in found.columns]
    print_result(found.column_names, list(zip(*columns, strict=True)), output)
