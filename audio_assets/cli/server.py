"""The Dagster UI and its daemon."""

import os
import signal
import sys
from enum import StrEnum
from typing import Annotated

import typer

from audio_assets.cli.opening import absolute_model, open_model
from audio_assets.cli.options import DEFAULT_DATA, DataDir, LibraryDir, ManifestFile, ModelName
from audio_assets.embeddings import DEFAULT_MODEL_ID


class ServerPart(StrEnum):
    """What `ui` starts."""

    ALL = "all"
    WEB = "web"
    DAEMON = "daemon"


def ui(
    library: LibraryDir,
    manifest: ManifestFile = None,
    data: DataDir = DEFAULT_DATA,
    clap_model: ModelName = DEFAULT_MODEL_ID,
    host: Annotated[str, typer.Option(help="Address to listen on. The UI has no login.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 3000,
    part: Annotated[
        ServerPart, typer.Option(help="Both, or one of them, where something else starts the other.")
    ] = ServerPart.ALL,
    automation: Annotated[
        bool | None,
        typer.Option(
            "--automation/--no-automation",
            help="Start sensors and schedule. Default: AUDIO_ASSETS_AUTOMATION.",
        ),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Nothing can be launched or changed. Only with --part web.")
    ] = False,
) -> None:
    """Open the Dagster UI and its daemon over a library."""
    from audio_assets.definitions import DATA_VARIABLE, LIBRARY_VARIABLE, MANIFEST_VARIABLE, MODEL_VARIABLE
    from audio_assets.pipeline import dagster_home

    if read_only and part is not ServerPart.WEB:
        raise typer.BadParameter("it is for viewers: give --part web as well", param_hint="--read-only")
    folder = data.expanduser().resolve()
    open_model(clap_model)  # a mistake is better told here than by a page that does not load
    environment = {
        **os.environ,
        DATA_VARIABLE: str(folder),
        LIBRARY_VARIABLE: str(library.resolve()),
        MANIFEST_VARIABLE: str(manifest.resolve()) if manifest else "",
        MODEL_VARIABLE: absolute_model(clap_model),
        "DAGSTER_HOME": str(dagster_home(folder)),
        # Else a file of the user's folder, say types.py, would stand in for a module of Dagster's.
        "PYTHONSAFEPATH": "1",
    }
    if automation is not None:
        environment["AUDIO_ASSETS_AUTOMATION"] = "on" if automation else "off"
    code, address = ["-m", "audio_assets.definitions"], ["-h", host, "-p", str(port)]
    viewing = ["--read-only"] if read_only else []
    module = {
        ServerPart.ALL: ["dagster", "dev", *code, *address],
        ServerPart.WEB: ["dagster_webserver", *code, *address, *viewing],
        ServerPart.DAEMON: ["audio_assets.daemon", "run", *code],
    }[part]
    command = [sys.executable, "-m", *module]
    # A script's shell starts what it puts into the background without them, and Dagster could not be stopped.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.execve(sys.executable, command, environment)  # noqa: S606
