"""The command line: the same assets, run and read from a terminal.

What belongs here: options, printing, exit codes. What does not: anything a UI run would also need.
"""

import sys

import typer
from rich.markup import escape

from audio_assets.cli.finding import search, similar
from audio_assets.cli.machine import demo, doctor
from audio_assets.cli.model import model_app
from audio_assets.cli.pictures import report, show_map
from audio_assets.cli.printing import EXIT_FAILED, err
from audio_assets.cli.publication import maintain, rollback, versions
from audio_assets.cli.queries import SqlCommand, sql
from audio_assets.cli.refusals import database_refusal
from audio_assets.cli.runs import backfill, retry, run, scan
from audio_assets.cli.server import ui
from audio_assets.cli.state import status

app = typer.Typer(
    name="audio-assets",
    help="Turn a music library into tables: audio features, CLAP embeddings and a retrieval index.\n\n"
    "Exit codes: 0 all well; 1 something failed; 2 wrong usage; 3 no track could be analysed; "
    "130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (
    *(scan, run, retry, backfill, status),
    *(similar, search),
    *(report,),
    *(versions, rollback, maintain),
    *(ui, doctor, demo),
):
    app.command()(command)
app.command("map")(show_map)
app.command(cls=SqlCommand)(sql)
app.add_typer(model_app, name="model")


def main() -> None:
    """Run the command line; configuration errors end in one sentence, not in a traceback."""
    from audio_assets.library import LibraryVanishedError, ManifestError
    from audio_assets.warehouse import StorageError

    try:
        app()
    except (ManifestError, LibraryVanishedError, StorageError) as error:
        err.print(f"error: {escape(str(error))}")
        sys.exit(EXIT_FAILED)
    except Exception as error:
        from audio_assets.automation.settings import SettingError  # here, as it takes seconds

        refusal = str(error) if isinstance(error, SettingError) else database_refusal(error)
        if refusal is None:
            raise
        err.print(f"error: {escape(refusal)}")
        sys.exit(EXIT_FAILED)
