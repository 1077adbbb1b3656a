"""The deployment files for workers say what they have to; nothing of it is started here."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "celery"
COMPOSE = yaml.safe_load((FOLDER / "docker-compose.yaml").read_text())
SETTINGS = yaml.safe_load((FOLDER / "dagster.yaml").read_text())
SHIPPED = yaml.safe_load((ROOT / "audio_assets" / "dagster.yaml").read_text())
UNIT = (FOLDER / "audio-assets-worker@.service").read_text()
LAUNCHER = SETTINGS["run_launcher"]["config"]


def variables(settings: object) -> set[str]:
    """Variables that settings are taken from."""
    if isinstance(settings, dict):
        return (
            {settings["env"]} if set(settings) == {"env"} else set().union(*map(variables, settings.values()))
        )
    return set()


def queues(command: list[str]) -> set[str]:
    return set(command[command.index("--queues") + 1].split(","))


def worker_commands() -> list[list[str]]:
    return [service["command"] for name, service in COMPOSE["services"].items() if name.startswith("worker-")]


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_no_service_is_root_or_reachable_from_other_machines(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["user"] not in ("root", "0", 0)
    assert service["cap_drop"] == ["ALL"]
    assert not {"privileged", "network_mode", "cap_add", "pid"} & set(service)
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_passwords_have_no_default() -> None:
    for variable in re.findall(
        r"\$\{(\w*PASSWORD\w*)([^}]*)\}", (FOLDER / "docker-compose.yaml").read_text()
    ):
        assert variable[1] == ":?", variable


def test_each_volume_and_each_service_that_is_waited_for_is_there() -> None:
    for service in COMPOSE["services"].values():
        named = {volume.split(":")[0] for volume in service["volumes"]}
        assert {name for name in named if name.isalpha()} <= set(COMPOSE["volumes"])
        assert set(service.get("depends_on", ())) <= set(COMPOSE["services"])


def test_every_queue_has_workers_and_every_worker_a_queue_that_is_used() -> None:
    used = {*LAUNCHER["queues"].values(), "dagster"}
    assert set().union(*map(queues, worker_commands())) == used
    assert all("dagster" in queues(command) for command in worker_commands())
    assert queues(shlex.split(UNIT.partition("ExecStart=")[2].splitlines()[0])) == {"%i", "dagster"}


def test_the_variables_of_the_settings_are_set_for_whoever_reads_them() -> None:
    ours = [s for s in COMPOSE["services"].values() if s.get("image") == "audio-assets:celery"]
    assert len(ours) == 4
    for service in ours:
        assert variables(SETTINGS) <= set(service["environment"])
        assert "./dagster.yaml:/data/dagster/dagster.yaml:ro" in service["volumes"]


def test_other_settings_are_those_for_one_machine() -> None:
    own = {"storage", "run_launcher", "concurrency", "run_monitoring"}
    assert {k: v for k, v in SETTINGS.items() if k not in own} == {
        k: v for k, v in SHIPPED.items() if k not in own
    }
    differing = {k for k, v in SETTINGS["run_monitoring"].items() if SHIPPED["run_monitoring"][k] != v}
    assert differing == {"start_timeout_seconds"}


def test_results_are_kept_for_longer_than_a_run_may_take() -> None:
    assert LAUNCHER["config_source"]["result_expires"] > SETTINGS["run_monitoring"]["max_runtime_seconds"]
