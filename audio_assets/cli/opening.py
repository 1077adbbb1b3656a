"""From what was typed to the library, the data folder and the model; a mistake ends in a sentence."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from audio_assets.cli.printing import fail

if TYPE_CHECKING:
    from resources.clap_model import ClapModel
    from resources.track_library import TrackLibrary
    from resources.warehouse import Warehouse


def open_library(root: Path, manifest: Path | None) -> "TrackLibrary":
    """Open a library, scanned or by a manifest."""
    from resources.track_library import library_from_environment

    return library_from_environment(root.resolve(), manifest.resolve() if manifest else None)


def open_warehouse(data: Path) -> "Warehouse":
    """Open a data folder, there or not, as of this moment."""
    from resources.warehouse import warehouse_from_environment

    warehouse = warehouse_from_environment(data)
    warehouse.refresh()
    return warehouse


def existing_data(data: Path) -> Path:
    """Resolve a data folder, or end the command where nothing was ever run; a new mirror is filled first."""
    folder = data.expanduser().resolve()
    if not (folder / "record").is_dir() and not open_warehouse(folder).record_store:
        if (folder / "dagster").is_dir():
            fail(f"{folder} holds no tracks yet: no look at the library has ended; ask again after the first")
        fail(f"{folder} is not a data folder yet; 'audio-assets run' makes one")
    return folder


def open_model(name: str, *, offline: bool = True) -> "ClapModel":
    """Name the model in force, as the environment sets it otherwise; nothing is loaded."""
    from resources.clap_model import ModelSettingError, clap_model_from_environment

    refuse_missing_folder(name)
    try:
        return clap_model_from_environment(model_id=name, offline=offline)
    except ModelSettingError as error:
        raise typer.BadParameter(str(error)) from error


def absolute_model(name: str) -> str:
    """Name a folder absolutely, since the UI's processes may run elsewhere."""
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def refuse_missing_folder(model: str) -> None:
    """Refuse a path that is not there: else it would be missed on the hub, after all features were made."""
    looks_like_path = model.startswith((".", "/", "~")) or model.count("/") > 1
    if looks_like_path and not Path(model).expanduser().is_dir():
        raise typer.BadParameter(f"there is no folder {model}", param_hint="--clap-model")
