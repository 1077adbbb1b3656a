"""The web server as others reach it: through a proxy that asks for a password, and for viewers only.

One server over one data folder, all of it with secrets in its environment, for which everything that was
written is searched in the end.
"""

import base64
import json
import os
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
from commands import cli
from programs import needs
from servers import processes_over, wait_until_it_answers

SITE = Path(__file__).parents[1] / "deploy/proxy/nginx.conf"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
OPENSSL = shutil.which("openssl")
#: Generous, for a machine that does other things as well.
WAIT_S = 180
USER, PASSWORD = "ANNA", "a password of hers"
HOST = "music.example.org"
#: What a server of ours may have in its environment, each with a value that is nowhere else.
SECRETS = {
    "AUDIO_ASSETS_ALERT_WEBHOOK": "http://127.0.0.1:9/hook/S3CR3T-OF-THE-WEBHOOK",
    "AWS_ACCESS_KEY_ID": "AKIAS3CR3TOFTHEKEYID",
    "AWS_SECRET_ACCESS_KEY": "S3CR3T-OF-THE-OBJECT-STORE",
    "DAGSTER_PG_PASSWORD": "S3CR3T-OF-THE-DATABASE",
    "HF_TOKEN": "hf_S3CR3TOFTHEHUB",
}
MARKS = [value.rpartition("/")[2].encode() for value in SECRETS.values()]
LAUNCH = """
mutation { launchRun(executionParams: {mode: "default", selector: {
  jobName: "refresh_manifest",
  repositoryName: "__repository__", repositoryLocationName: "audio_assets.definitions"}}) { __typename } }
"""
PERMISSIONS = "{ permissions { permission value } }"


@dataclass(frozen=True)
class Site:
    """A data folder, the web server over it, and all that was said meanwhile."""

    data: Path
    port: int
    logs: list[Path]

    def ask(self, query: str) -> dict:
        """Ask the web server itself, as a program on the same machine can."""
        answer, body = request(self.port, "/graphql", json.dumps({"query": query}))
        assert answer == 200, body
        return json.loads(body)


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, clap_checkpoint: Path, tracks: dict[str, Path]
) -> Iterator[Site]:
    """Two tracks and a broken one, analysed, published and served read-only, with secrets all around."""
    folder = tmp_path_factory.mktemp("server")
    library, data = folder / "music", folder / "data"
    library.mkdir()
    for path in list(tracks.values())[:2]:
        shutil.copyfile(path, library / path.name)
    (library / "broken.mp3").write_bytes(b"no music at all" * 100)
    options = ["--library", library, "--data", data, "--clap-model", clap_checkpoint]
    environment = {**SECRETS, "AUDIO_ASSETS_AUTOMATION": "on"}
    done = cli("run", *options, **environment)
    told = folder / "told.txt"
    told.write_text(done.stdout + done.stderr)
    port, log = free_port(), folder / "server.log"
    command = [sys.executable, "-m", "audio_assets", "ui", *options, "--part", "web", "--read-only"]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*map(str, command), "--port", str(port)],
            env={**os.environ, **environment},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}/server_info", server, log, WAIT_S)
        yield Site(data, port, [told, log])
    finally:
        for pid in {server.pid, *processes_over(data)}:
            os.kill(pid, signal.SIGKILL)
        server.wait()


@pytest.fixture
def proxy(site: Site, tmp_path: Path) -> Iterator[int]:
    """nginx with the site that is shipped, on another port and with a certificate of its own."""
    port, certificate, key, passwords = (
        free_port(),
        tmp_path / "tls.pem",
        tmp_path / "tls.key",
        tmp_path / "htpasswd",
    )
    subject = ["-subj", f"/CN={HOST}", "-days", "1", "-nodes", "-newkey", "rsa:2048"]
    subprocess.run(
        [OPENSSL, "req", "-x509", *subject, "-out", certificate, "-keyout", key],
        check=True,
        capture_output=True,
    )
    hashed = subprocess.run(
        [OPENSSL, "passwd", "-6", PASSWORD], check=True, capture_output=True, text=True
    ).stdout
    passwords.write_text(f"{USER}:{hashed}")
    shipped = SITE.read_text(encoding="utf-8")
    for here, there in {
        "443 ssl": f"127.0.0.1:{port} ssl",
        "MUSIC.EXAMPLE.ORG": HOST,
        "/etc/ssl/certs/audio-assets.pem": certificate,
        "/etc/ssl/private/audio-assets.key": key,
        "/etc/nginx/audio-assets.htpasswd": passwords,
        "127.0.0.1:3000": f"127.0.0.1:{site.port}",
    }.items():
        changed = shipped.replace(here, str(there))
        assert changed != shipped, f"{here} is not in {SITE.name} any more"
        shipped = changed
    # Root's workers would be nobody's, who may not read this folder.
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = "\n".join(
        f"{kind}_temp_path {tmp_path / kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = tmp_path / "main.conf"
    main.write_text(
        f"{user} daemon off; pid {tmp_path / 'pid'}; error_log {tmp_path / 'error.log'}; events {{}}\n"
        f"http {{ access_log {tmp_path / 'access.log'};\n{temporary}\n{shipped} }}\n"
    )
    server = subprocess.Popen([NGINX, "-e", tmp_path / "error.log", "-c", main], stderr=subprocess.PIPE)
    try:
        wait_for_port(port, server)
        yield port
    finally:
        server.terminate()
        server.wait()


def test_viewers_see_everything_and_launch_nothing(site: Site) -> None:
    assets = site.ask("{ assetsOrError { ... on AssetConnection { nodes { key { path } } } } }")
    seen = {node["key"]["path"][0] for node in assets["data"]["assetsOrError"]["nodes"]}
    assert {"audio_features", "warehouse_tables"} <= seen
    permitted = site.ask(PERMISSIONS)["data"]["permissions"]
    assert permitted
    assert [it["permission"] for it in permitted if it["value"]] == []
    before = n_runs(site)
    assert site.ask(LAUNCH)["data"]["launchRun"]["__typename"] == "UnauthorizedError"
    assert n_runs(site) == before


def test_read_only_is_refused_where_dagster_would_not_heed_it(tmp_path: Path) -> None:
    done = cli("ui", "--library", tmp_path, "--data", tmp_path / "data", "--read-only")
    assert done.returncode == 2
    assert "--part web" in done.stderr


@needs(None if NGINX and OPENSSL else "no nginx or openssl on this machine")
def test_the_proxy_asks_for_a_password_and_lets_everything_else_through(proxy: int) -> None:
    assert request(proxy, "/server_info", tls=True)[0] == 401
    assert request(proxy, "/server_info", tls=True, password="a wrong one")[0] == 401
    answer, body = request(proxy, "/server_info", tls=True, password=PASSWORD)
    assert (answer, "dagster_version" in body) == (200, True)
    query = json.dumps({"query": "{ version }"})
    assert request(proxy, "/graphql", query, tls=True)[0] == 401
    assert request(proxy, "/graphql", query, tls=True, password=PASSWORD)[0] == 200
    # Live updates: a real handshake with the real server behind.
    upgrade = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Protocol": "graphql-ws",
    }
    assert request(proxy, "/graphql", tls=True, **upgrade)[0] == 401
    assert request(proxy, "/graphql", tls=True, password=PASSWORD, **upgrade)[0] == 101
    # Another site, in the browser of somebody whose browser knows the password.
    own = {"Origin": f"https://{HOST}:{proxy}"}
    foreign = {"Origin": "https://evil.example"}
    assert request(proxy, "/graphql", query, tls=True, password=PASSWORD, **own)[0] == 200
    assert request(proxy, "/graphql", query, tls=True, password=PASSWORD, **foreign)[0] == 403
    assert request(proxy, "/graphql", tls=True, password=PASSWORD, **foreign, **upgrade)[0] == 403


def test_no_secret_of_the_environment_is_written_anywhere(site: Site) -> None:
    site.ask(PERMISSIONS)
    searched = [*site.logs, *(path for path in site.data.rglob("*") if path.is_file())]
    found = {path.name for path in searched for mark in MARKS if mark in path.read_bytes()}
    assert found == set()
    databases = [path for path in searched if path.suffix == ".db"]
    assert any("runs" in path.name for path in databases), "Dagster's records are not where they were"
    for path in databases:
        for table, row in rows_of(path):
            assert not any(mark in part for part in map(as_bytes, row) for mark in MARKS), (path.name, table)
    with duckdb.connect(str((site.data / "warehouse.duckdb").resolve()), read_only=True) as connection:
        tables = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        text = "".join(str(connection.execute(f"FROM {table}").fetchall()) for table in tables)
    assert "broken.mp3" in text
    assert not any(mark.decode() in text for mark in MARKS)


def rows_of(path: Path) -> Iterator[tuple[str, tuple]]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (name,) in names:
            yield from ((name, row) for row in connection.execute(f'SELECT * FROM "{name}"'))


def as_bytes(value: object) -> bytes:
    """Text of a cell; Dagster keeps descriptions of jobs compressed."""
    if isinstance(value, bytes):
        try:
            return zlib.decompress(value)
        except zlib.error:
            return value
    return str(value).encode()


def n_runs(site: Site) -> int:
    counted = site.ask("{ runsOrError { ... on Runs { count } } }")
    return counted["data"]["runsOrError"]["count"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_for_port(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.1)
    server.kill()
    pytest.fail(server.stderr.read().decode() if server.stderr else "no proxy")


def request(
    port: int, path: str, body: str = "", *, tls: bool = False, password: str | None = None, **headers: str
) -> tuple[int, str]:
    """Send a request by hand, as none of the clients at hand leaves a websocket's handshake alone."""
    sent = {"Host": HOST, "Connection": "close", **headers}
    if password is not None:
        sent["Authorization"] = "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()
    if body:
        sent |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = [f"{'POST' if body else 'GET'} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in sent.items())]
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as plain:
        connection = unverified().wrap_socket(plain, server_hostname=HOST) if tls else plain
        connection.sendall(("\r\n".join(lines) + f"\r\n\r\n{body}").encode())
        answer = b""
        while b"\r\n\r\n" not in answer or not answer.startswith(b"HTTP/1.1 101"):
            if not (part := connection.recv(65536)):
                break
            answer += part
    head, _, text = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), text.decode(errors="replace")


def unverified() -> ssl.SSLContext:
    """Trust the certificate that was made a moment ago."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
