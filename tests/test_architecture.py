"""The house keeps its order: who may import whom, and what an import may cost."""

import ast
import tomllib
from pathlib import Path

import pytest
from fresh_process import run_fresh

ROOT = Path(__file__).parents[1]
DOMAIN = ("library", "audio", "features", "embeddings", "retrieval", "warehouse")
HEAVY = (
    "torch",
    "transformers",
    "librosa",
    "essentia",
    "soundfile",
    "scipy",
    "sklearn",
    "numba",
    "av",
    "soxr",
    "matplotlib",
    "PIL",
)


def imports_of(path: Path) -> set[str]:
    """Modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def files_below(folder: str) -> list[Path]:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    return files


@pytest.mark.parametrize("package", DOMAIN)
def test_domain_code_knows_neither_dagster_nor_what_is_above_it(package: str) -> None:
    above = ("dagster", "resources", "audio_assets.assets", "audio_assets.checks", "audio_assets.definitions")
    for path in files_below(f"audio_assets/{package}"):
        for module in imports_of(path):
            assert not module.startswith(above), f"{path} imports {module}"


@pytest.mark.parametrize("package", DOMAIN)
def test_domain_packages_use_each_other_only_by_their_front_door(package: str) -> None:
    for path in files_below(f"audio_assets/{package}"):
        for module in imports_of(path):
            parts = module.split(".")
            if parts[0] == "audio_assets" and len(parts) > 2 and parts[1] in DOMAIN:
                assert parts[1] == package, f"{path} reaches into {module}"


def test_resources_depend_on_domain_packages_and_never_on_assets() -> None:
    allowed = {f"audio_assets.{package}" for package in DOMAIN} | {
        "audio_assets.cores",
        "audio_assets.environment",
        "audio_assets.failures",
    }
    for path in files_below("resources"):
        ours = {module for module in imports_of(path) if module.startswith("audio_assets")}
        assert ours <= allowed, f"{path} imports {ours - allowed}"


def test_dagster_is_known_only_where_it_belongs() -> None:
    knowing = {
        path.relative_to(ROOT / "audio_assets").parts[0]
        for path in files_below("audio_assets")
        if any(module.split(".")[0] == "dagster" for module in imports_of(path))
    }
    assert knowing == {
        *("assets", "automation", "builds.py", "checks.py", "daemon.py", "definitions.py", "distributed"),
        *("gate.py", "maintenance.py", "outstanding.py", "partitions.py", "pipeline.py"),
    }


def test_the_definitions_load_without_the_heavy_stack() -> None:
    """In a process of their own."""
    modules = run_fresh("import sys, audio_assets.definitions; print(*sys.modules)").split()
    assert not {module.split(".")[0] for module in modules} & set(HEAVY)


def test_every_dependency_of_the_project_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    locked = {line.partition("==")[0].lower() for line in lines if not line.startswith("#")}
    assert all("==" in line and "://" not in line for line in lines if not line.startswith("#"))
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {requirement.split("==")[0].split(">=")[0].strip().lower() for requirement in wanted}
    assert names <= locked, names - locked
