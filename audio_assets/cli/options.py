"""Options and arguments that several commands share.

What belongs here: names, environment variables, help texts. What does not: making something of them
(``opening``).
"""

from pathlib import Path
from typing import Annotated

import typer

from audio_assets.cli.printing import OutputFormat

DataDir = Annotated[
    Path,
    typer.Option(
        "--data", envvar="AUDIO_ASSETS_DATA", help="Data folder: record, warehouse.duckdb, exports."
    ),
]
LibraryDir = Annotated[
    Path,
    typer.Option(
        "--library",
        envvar="AUDIO_ASSETS_LIBRARY",
        help="Library root. Only files below it are read.",
        exists=True,
        file_okay=False,
    ),
]
ManifestFile = Annotated[
    Path | None,
    typer.Option(
        "--manifest",
        envvar="AUDIO_ASSETS_MANIFEST",
        help="CSV with song_id and audio_path, or a TOML preprocessing recipe. Default: scan the library.",
        exists=True,
        dir_okay=False,
    ),
]
ModelName = Annotated[
    str,
    typer.Option(
        "--clap-model",
        envvar="AUDIO_ASSETS_CLAP_MODEL",
        help="Model id on the hub, or a local folder. In the environment, "
        "AUDIO_ASSETS_CLAP_PRECISION, _BACKEND, _WINDOWS, _DEVICE and _STRICT say the rest.",
    ),
]
OnlyPath = Annotated[
    Path | None,
    typer.Option(
        "--path", help="Only batches with tracks below this folder, or this one file, of the library."
    ),
]
Offline = Annotated[bool, typer.Option("--offline", help="Never download a model.")]
Workers = Annotated[int, typer.Option(help="Worker processes; 0 for one a core.", min=0)]
Format = Annotated[OutputFormat, typer.Option("--format", help="How rows are printed.")]
DEFAULT_DATA = Path("data")
