"""Fixtures that more than one test module needs."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import huggingface_hub.constants
import pytest
from commands import cli
from filelock import FileLock

from audio_assets.demo.clap_checkpoint import copy_demo_checkpoint
from audio_assets.demo.library import make_demo_library
from audio_assets.pipeline import Pipeline, RunReport, open_instance
from resources.analysis_pool import AnalysisPool
from resources.clap_model import ClapModel
from resources.progress import Progress
from resources.track_library import TrackLibrary
from resources.warehouse import Warehouse

#: The files that take longest, so that none of them is begun when all others have ended.
LONG = [
    "recovery",
    "unattended",
    "ui",
    "pipeline",
    "automation",
    "recovery_machine",
    "cli",
    "documented_commands",
    "checks",
    "storage",
    "server",
    "clap_encoder",
    "map",
    "crash",
    "hostile",
    "object_store",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first, each at its place in the list."""
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.stem.removeprefix("test_"), len(LONG)))


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Make a folder that all of pytest-xdist's workers read; the first that wants it makes it."""
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = base / name
    made = base / f"{name}.made"
    with FileLock(f"{folder}.lock"):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of one that failed
            make(folder)
            made.touch()
    return folder


@pytest.fixture(scope="session", autouse=True)
def no_model_of_the_developers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what this machine's user has downloaded or set from deciding a test, here and in child processes.

    The compiled feature code stays where it was: making it anew takes a minute.
    """
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AUDIO_ASSETS_")]:
            patch.delenv(name)
        if not os.environ.get("XDG_CACHE_HOME"):
            patch.setenv("XDG_CACHE_HOME", str(Path("~/.cache").expanduser()))
        patch.setenv("HOME", str(home))
        patch.setenv("HF_HOME", str(home / "huggingface"))
        patch.setenv("HF_HUB_CACHE", str(home / "huggingface" / "hub"))
        # Read from the environment once, when the hub's library was imported.
        patch.setattr(huggingface_hub.constants, "HF_HOME", str(home / "huggingface"))
        patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(home / "huggingface" / "hub"))
        yield


@pytest.fixture(scope="session")
def demo_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo library, made once: ``audio/`` and ``truth.csv``. Read it, never write to it."""
    return made_once(tmp_path_factory, "demo-library", make_demo_library)


@pytest.fixture(scope="session")
def clap_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's CLAP model. Read it, never write to it."""
    return copy_demo_checkpoint(tmp_path_factory.mktemp("model") / "demo-clap")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The demo command over an empty folder, and what it printed. Read it, never write to it."""

    def make(folder: Path) -> None:
        done = cli("demo", "--data", folder / "data")
        assert done.returncode == 0, done.stdout + done.stderr
        (folder / "said").write_text(done.stdout + done.stderr)

    folder = made_once(tmp_path_factory, "demo", make)
    return folder / "data", (folder / "said").read_text()


@pytest.fixture(scope="session")
def warm_kernels() -> None:
    """Compile or load all kernels at once: a test that patches some must not leave an incomplete cache."""
    from audio_assets.features.fast import warm

    warm()


@pytest.fixture(scope="session")
def tracks(demo_library: Path) -> dict[str, Path]:
    """Demo tracks by file name, to copy into libraries of a test's own."""
    return {path.name: path for path in sorted((demo_library / "audio").rglob("*")) if path.is_file()}


@pytest.fixture(scope="session")
def merge_data() -> Path:
    """The real MERGE manifest and feature table, which are not ours to hand on."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the MERGE tables are not in {folder}")
    return folder


@dataclass(frozen=True)
class Workplace:
    """A library and a data folder of a test's own, and the pipeline over them."""

    library: Path
    data: Path
    model: str

    def add(self, source: Path, name: str | None = None) -> Path:
        """Copy a file into the library."""
        target = self.library / (name or source.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        return target

    def run(self, manifest: Path | None = None, **overrides: object) -> RunReport:
        """Run the pipeline as the command line does, in this process."""
        warehouse = Warehouse(data_dir=str(self.data))
        warehouse.prepare()
        settings: dict[str, object] = {"root": str(self.library), **overrides}
        if manifest:
            settings["manifest"] = str(manifest)
        with open_instance(self.data) as instance:
            return Pipeline(
                library=TrackLibrary(**settings),
                warehouse=warehouse,
                clap_model=ClapModel(model_id=self.model, offline=True),
                analysis_pool=AnalysisPool(workers=2, track_timeout_s=60),
                progress=Progress(),
            ).run(instance)

    def sql(self, query: str) -> list[tuple[object, ...]]:
        """Query the published tables, read-only, as anyone would."""
        with duckdb.connect(str((self.data / "warehouse.duckdb").resolve()), read_only=True) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
def workplace(tmp_path: Path, clap_checkpoint: Path) -> Workplace:
    library = tmp_path / "music"
    library.mkdir()
    return Workplace(library, tmp_path / "data", str(clap_checkpoint))
