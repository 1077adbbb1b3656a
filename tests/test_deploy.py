"""What is deployed elsewhere, as far as it can be told from here, without a cluster or Docker."""

import re
from pathlib import Path

import pytest
import yaml
from dagster._config import Shape, validate_config
from dagster._core.instance.config import dagster_instance_config_schema
from dagster_k8s.job import DagsterK8sJobConfig, UserDefinedDagsterK8sConfig, construct_dagster_k8s_job

from audio_assets.assets import ASSETS

ROOT = Path(__file__).parents[1]
VALUES = yaml.safe_load((ROOT / "deploy/k8s/values.yaml").read_text(encoding="utf-8"))
SHIPPED = yaml.safe_load((ROOT / "audio_assets/dagster.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
(CODE_LOCATION,) = VALUES["dagster-user-deployments"]["deployments"]
DEPLOYMENTS = {
    "code location": CODE_LOCATION,
    "daemon": VALUES["dagsterDaemon"],
    "web server": VALUES["dagsterWebserver"],
}
USER = int(re.search(r"--uid (\d+)", DOCKERFILE)[1])


def test_the_image_is_not_run_by_root() -> None:
    instructions = [line.split() for line in DOCKERFILE.splitlines() if re.match(r"[A-Z]+ ", line)]
    users = [words[1] for words in instructions if words[0] == "USER"]
    assert users[-1] == re.search(r"useradd .*?(\w+) \\", DOCKERFILE)[1]
    assert "--constraint requirements.lock" in DOCKERFILE, "the image would not be of the locked versions"


@pytest.mark.parametrize("part", DEPLOYMENTS)
def test_containers_are_confined_and_limited(part: str) -> None:
    container, pod = DEPLOYMENTS[part]["securityContext"], DEPLOYMENTS[part]["podSecurityContext"]
    assert is_confined(container)
    assert pod["runAsNonRoot"] is True
    assert pod["runAsUser"] == container["runAsUser"] == USER
    assert {"cpu", "memory"} <= set(DEPLOYMENTS[part]["resources"]["limits"])
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in DEPLOYMENTS[part]["volumeMounts"]}
    assert "/tmp" in mounts, "nothing else can be written to"
    assert mounts.get("/music", True), "the music is to be read only"


def test_a_run_is_a_confined_pod_of_the_same_volumes() -> None:
    """The very job that Dagster would hand to Kubernetes, which refuses keys that are none of its own."""
    launcher = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
    given = {snake_case(name): value for name, value in launcher["runK8sConfig"].items()}
    job = construct_dagster_k8s_job(
        DagsterK8sJobConfig(
            job_image="image",
            dagster_home=VALUES["global"]["dagsterHome"],
            volumes=CODE_LOCATION["volumes"],
            volume_mounts=CODE_LOCATION["volumeMounts"],
            env_secrets=[secret["name"] for secret in CODE_LOCATION["envSecrets"]],
        ),
        args=["dagster", "api", "execute_run"],
        job_name="run",
        user_defined_k8s_config=UserDefinedDagsterK8sConfig.from_dict(given),
    ).to_dict()
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert is_confined({camel_case(name): value for name, value in container["security_context"].items()})
    assert pod["security_context"]["run_as_user"] == USER
    assert pod["restart_policy"] == "Never"
    assert job["spec"]["backoff_limit"] == 0, "Dagster repeats a run; twice would be too often"
    assert {"cpu", "memory"} <= set(container["resources"]["limits"])
    assert pod["automount_service_account_token"] is False
    assert {volume["name"] for volume in pod["volumes"]} >= {"data", "music", "tmp"}
    assert [source["secret_ref"]["name"] for source in container["env_from"]] == ["audio-assets-secrets"]


def test_batches_wait_for_their_pools() -> None:
    given = VALUES["additionalInstanceConfig"]
    schema = dagster_instance_config_schema()
    result = validate_config(Shape({name: schema[name] for name in given}), given)
    assert result.success, result.errors
    pools = given["concurrency"]["pools"]
    assert pools["granularity"] == SHIPPED["concurrency"]["pools"]["granularity"]
    assert given["concurrency"]["runs"]["max_concurrent_runs"] > pools["default_limit"], (
        "no run could publish"
    )
    assert {op.pool for asset in ASSETS for op in [asset.op] if op.pool} == {"cpu", "clap"}


def test_secrets_are_named_and_not_given() -> None:
    assert VALUES["generatePostgresqlPasswordSecret"] is False
    assert VALUES["global"]["postgresqlSecretName"]
    text = yaml.safe_dump(VALUES).lower()
    assert "password:" not in text
    assert not re.search(
        r"(secret_access_key|webhook|token): *\S", text.replace("automountserviceaccounttoken", "")
    )


def test_the_web_server_is_not_open_to_the_world() -> None:
    assert VALUES["dagsterWebserver"]["service"]["type"] == "ClusterIP"
    assert VALUES["dagsterWebserver"]["enableReadOnly"] is True
    assert VALUES["ingress"]["enabled"] is False
    policy = yaml.safe_load((ROOT / "deploy/k8s/networkpolicy.yaml").read_text(encoding="utf-8"))
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert all(rule["from"] for rule in policy["spec"]["ingress"])


def test_pods_of_one_backfill_are_of_one_version() -> None:
    assert CODE_LOCATION["image"]["tag"] not in (None, "", "latest")
    assert CODE_LOCATION["includeConfigInLaunchedRuns"]["enabled"] is True


def is_confined(container: dict[str, object]) -> bool:
    wanted = {
        "runAsNonRoot": True,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
    }
    return wanted.items() <= container.items() and container["capabilities"]["drop"] == ["ALL"]


def snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda found: f"_{found[1].lower()}", name)


def camel_case(name: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)
