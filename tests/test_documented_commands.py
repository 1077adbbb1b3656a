"""Every command and query that the README and the docs show, run as they stand there.

Commands run in bash, in a folder that has what the reader has by then: ``./data`` of the demo, ``examples``,
``~/Music`` and some ``song.mp3``. Only the placeholders below are filled in.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
import typer

from audio_assets import open_warehouse
from audio_assets.cli import app
from resources.warehouse import Warehouse
from tools.write_python_docs import PAGE, page

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: What is not run, by how it begins, and why.
NOT_RUN = {
    "make demo": "it runs 'audio-assets demo', as a fixture here does",
    "make test": "this is it",
    ". .venv/bin/activate": "only finds the command",
    "audio-assets ui": "runs until it is stopped; test_ui.py starts it",
    "audio-assets model pull": "needs the internet",
    **dict.fromkeys(
        (
            *("useradd", "cd /opt", "python3 -m venv", ".venv/bin/pip", "install -m", "editor", "cp deploy/"),
            *("as_service", "systemctl", "sudo -u postgres", "install -d"),
        ),
        "needs root and systemd",
    ),
}
#: Which fenced blocks are there, and how their commands and queries are told apart.
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(audio-assets [^`]+)`")


@dataclass(frozen=True)
class Reader:
    """Somebody who has run the demo, and reads on."""

    folder: Path
    home: Path
    placeholders: dict[str, str]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program where the reader is."""
        environment = {
            **os.environ,
            "HOME": str(self.home),
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "AUDIO_ASSETS_CLAP_MODEL": str(self.folder / "data" / "demo-clap"),
        }
        return subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def filled_in(self, text: str) -> str:
        """Put values for the placeholders."""
        for placeholder, value in self.placeholders.items():
            text = text.replace(placeholder, value)
        return text


@pytest.fixture
def reader(tmp_path: Path, demo: tuple[Path, str], tracks: dict[str, Path]) -> Reader:
    shutil.copytree(demo[0], tmp_path / "data", symlinks=True)
    Warehouse(data_dir=str(tmp_path / "data")).publish()  # so that there is one to go back to
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    music = tmp_path / "home" / "Music"
    music.mkdir(parents=True)
    for path in list(tracks.values())[:2]:
        shutil.copyfile(path, music / path.name)
    shutil.copyfile(
        next(path for name, path in tracks.items() if name.endswith(".mp3")), tmp_path / "song.mp3"
    )
    program = tmp_path / "bin" / "audio-assets"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m audio_assets "$@"\n')
    program.chmod(0o755)
    with open_warehouse(tmp_path / "data") as warehouse:
        song_id = warehouse.tracks()["song_id"].iloc[0]
    model = str(tmp_path / "data" / "demo-clap")
    return Reader(tmp_path, tmp_path / "home", {"SONG_ID": song_id, "laion/larger_clap_general": model})


def blocks(path: Path, language: str) -> list[str]:
    found = FENCED.findall(path.read_text(encoding="utf-8"))
    return [body for kind, body in found if kind == language]


def commands(block: str) -> list[str]:
    """Commands of a block, without comments; one goes on while a quote is open."""
    found, begun = [], ""
    for line in block.splitlines():
        begun = f"{begun}\n{line}" if begun else line
        try:
            words = shlex.split(begun, comments=True)
        except ValueError:
            continue
        if words:
            found.append(begun)
        begun = ""
    return found


def is_run(command: str) -> bool:
    return not command.startswith(tuple(NOT_RUN))


def to_run(path: Path) -> list[str]:
    return [command for block in blocks(path, "sh") for command in commands(block) if is_run(command)]


@pytest.mark.parametrize("path", [p for p in PAGES if to_run(p)], ids=lambda path: path.name)
def test_commands_do_what_they_say(reader: Reader, path: Path) -> None:
    for command in to_run(path):
        done = reader.run("bash", "-c", reader.filled_in(command))
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        assert done.stdout or ">" in command, f"{command}\nprinted nothing"


def test_each_command_that_is_not_run_is_still_shown() -> None:
    shown = [command for path in PAGES for block in blocks(path, "sh") for command in commands(block)]
    assert [start for start in NOT_RUN if not any(command.startswith(start) for command in shown)] == []


@pytest.mark.parametrize("path", [p for p in PAGES if blocks(p, "sql")], ids=lambda path: path.name)
def test_queries_find_something(demo: tuple[Path, str], path: Path) -> None:
    published = (demo[0] / "warehouse.duckdb").resolve()
    with duckdb.connect(str(published), read_only=True) as connection:
        for block in blocks(path, "sql"):
            for statement in connection.extract_statements(block):
                assert connection.execute(statement).fetchall(), statement.query


def test_the_python_page_is_the_docstrings_and_its_example_runs(reader: Reader) -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tools.write_python_docs"
    example = reader.filled_in(blocks(PAGE, "python")[0])
    done = reader.run(
        sys.executable, "-c", f"{example}\nprint(len(features), len(alike), len(organs), len(keys))"
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"24 \d 5 \d+", done.stdout.strip())


def test_the_python_of_the_readme_runs(reader: Reader) -> None:
    (example,) = blocks(ROOT / "README.md", "python")
    done = reader.run(sys.executable, "-c", f"{reader.filled_in(example)}\nprint(len(features), len(alike))")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"24 [1-5]", done.stdout.strip())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_commands_within_sentences_exist(path: Path) -> None:
    group = typer.main.get_command(app)
    for shown in INLINE.findall(path.read_text(encoding="utf-8")):
        name, *arguments = shlex.split(shown)[1:]
        assert name in group.commands, shown
        options = {option for parameter in group.commands[name].params for option in parameter.opts}
        options |= {
            option for parameter in group.commands[name].params for option in parameter.secondary_opts
        }
        used = {word.partition("=")[0] for word in arguments if word.startswith("-")}
        assert used <= options | {"--help"}, shown
