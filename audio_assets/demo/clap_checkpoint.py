"""The demo's CLAP model: CLAP's architecture, files and tokenizer format at a hundredth of its size.

It was trained from scratch on music of the demo's synthesiser, with ``tools/train_demo_clap.py``; its
model card is ``clap/README.md``. It knows that music and nothing else: ``config.json`` says so under
`DEMO_MARKER`, and whoever loads it can see it in ``is_demo``.

What belongs here: putting that model where it is wanted. What does not: how it came about (``tools``).
"""

import filecmp
import json
import shutil
import tempfile
from pathlib import Path

from audio_assets.embeddings import DEMO_MARKER

PACKAGED = Path(__file__).with_name("clap")


def copy_demo_checkpoint(folder: Path) -> Path:
    """Write the demo checkpoint, unless this very one is there already.

    Parameters
    ----------
    folder : Path
        Where; appears whole or not at all. The demo checkpoint of another version is replaced.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    FileExistsError
        If the folder holds anything but a demo checkpoint.
    """
    if _is_copy(folder):
        return folder
    _refuse_anything_else(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".tmp-clap-") as scratch:
        draft = Path(scratch) / "checkpoint"
        draft.mkdir()
        for path in PACKAGED.iterdir():
            shutil.copyfile(path, draft / path.name)
        if folder.exists():
            folder.replace(Path(scratch) / "previous")
        try:
            draft.replace(folder)
        except OSError:
            if not _is_copy(folder):  # there when another process was faster
                raise
    return folder


def _is_copy(folder: Path) -> bool:
    names = [path.name for path in PACKAGED.iterdir()]
    _, different, missing = filecmp.cmpfiles(PACKAGED, folder, names, shallow=False)
    return not different and not missing


def _refuse_anything_else(folder: Path) -> None:
    if not folder.exists():
        return
    config = folder / "config.json"
    if not config.is_file() or DEMO_MARKER not in json.loads(config.read_text(encoding="utf-8")):
        raise FileExistsError(f"{folder} is there and is no demo checkpoint: choose another folder")
