"""A whole system over a Kafka that wants a password and TLS, and a Redis that wants TLS: by settings alone, with real servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from tests import parts
from tests.serving.system import event, note
from tools.parts import LOOPBACK, answers_kafka, free_port, listening

USER, PASSWORD = "upwell", "s3cret-sasl"


def certificate(folder: Path) -> tuple[Path, Path]:
    """Key and certificate of `localhost`, signed by itself: its own authority."""
    folder.mkdir(parents=True, exist_ok=True)
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost"
    names = ["-addext", f"subjectAltName=IP:{LOOPBACK},DNS:localhost"]
    subprocess.run([*command.split(), *names], check=True, capture_output=True, cwd=folder)
    return folder / "key.pem", folder / "cert.pem"


class SecuredKafka(parts.Kafka):
    """One more listener beside the brokers' own, for clients: TLS, and a password checked by `mechanism`."""

    def __init__(self, folder: Path, protocol: str, mechanism: str) -> None:
        super().__init__(folder)
        self.inside = free_port(lambda port: port in (self.port, self.controller) or listening(port))
        self.protocol, self.mechanism = protocol, mechanism
        key, cert = certificate(Path(folder) / "tls")
        (Path(folder) / "tls" / "both.pem").write_text(key.read_text() + cert.read_text())
        self.cert = cert
        login = "plain.PlainLoginModule" if mechanism == "PLAIN" else "scram.ScramLoginModule"
        users = f' user_{USER}="{PASSWORD}"' if mechanism == "PLAIN" else ""
        self.settings |= {
            "listeners": f"CLIENT://{self.address},INSIDE://{LOOPBACK}:{self.inside},CONTROLLER://{LOOPBACK}:{self.controller}",
            "advertised.listeners": f"CLIENT://{self.address},INSIDE://{LOOPBACK}:{self.inside}",
            "listener.security.protocol.map": f"CLIENT:{protocol},INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "INSIDE",
            "listener.name.client.sasl.enabled.mechanisms": mechanism,
            f"listener.name.client.{mechanism.lower()}.sasl.jaas.config": (
                f'org.apache.kafka.common.security.{login} required username="broker" password="broker"{users};'
            ),
            "listener.name.client.ssl.keystore.type": "PEM",
            "listener.name.client.ssl.keystore.location": str(Path(folder) / "tls" / "both.pem"),
        }

    def ready(self) -> bool:
        return answers_kafka(self.inside)

    def formatting(self) -> Sequence[str]:
        """SCRAM keeps its users in the cluster's own metadata, from its first record on."""
        user = () if self.mechanism == "PLAIN" else ("--add-scram", f"{self.mechanism}=[name={USER},password={PASSWORD}]")
        return (*super().formatting(), *user)


class SecuredRedis(parts.Redis):
    """TLS alone, and a password."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.key, self.cert = certificate(Path(folder) / "tls")

    @property
    def url(self) -> str:
        return f"rediss://:s3cret-redis@{LOOPBACK}:{self.port}/0"

    def options(self) -> list[str]:
        return [
            "--port", "0", "--tls-port", str(self.port), "--tls-cert-file", str(self.cert), "--tls-key-file", str(self.key),
            "--tls-auth-clients", "no", "--requirepass", "s3cret-redis",
        ]  # fmt: skip

    def ready(self) -> bool:
        return listening(self.port)


class System:
    """Topics, a worker and an API under `environ`, each command a process of its own."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.port = free_port()
        self.environ = {**os.environ, "UPWELL_KAFKA__PARTITIONS": "2", "UPWELL_FEED__AFTER_MS": "10000", **environ}
        folder.mkdir(exist_ok=True)
        self.log = folder / "processes.log"
        self.running: list[subprocess.Popen[bytes]] = []
        self.http = httpx.Client(base_url=f"http://{LOOPBACK}:{self.port}", timeout=30)

    def start(self, *words: str) -> None:
        with self.log.open("ab") as log:
            self.running.append(subprocess.Popen([sys.executable, "-m", "upwell", *words], env=self.environ, stdout=log, stderr=log))

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """A command to its end."""
        command = [sys.executable, "-m", "upwell", *words]
        return subprocess.run(command, env={**self.environ, **more}, capture_output=True, text=True, timeout=100, check=False)

    def close(self) -> None:
        self.http.close()
        self.kill()

    def kill(self) -> None:
        """Every process that runs."""
        while self.running:
            process = self.running.pop()
            process.kill()
            process.wait()

    def ready(self, until: float) -> None:
        """Until the API is, or fails when it is `until` (monotonic)."""
        while True:
            assert time.monotonic() < until, self.log.read_text()[-3000:]
            try:
                if self.http.get("/readyz").json() == {"status": "ready", "reasons": []}:
                    return
            except (httpx.HTTPError, ValueError):
                pass
            time.sleep(0.2)

    def lives(self) -> None:
        """Every client of ours is used: commands, a worker's consumers and producer, the API's producer and its look at the logs."""
        made = self.run("topics", "create")
        assert made.returncode == 0, made.stderr
        assert self.run("topics", "check").stderr == ""
        self.start("worker")
        self.start("api", "--port", str(self.port))
        until = time.monotonic() + 90
        self.ready(until)
        self.http.post("/v1/notes", json=note("n1", "a1", ["t"]))
        position = self.http.post("/v1/events", json=event("like", "u1", "n1")).json()["position"]
        while self.http.get("/v1/notes/n1", params={"after": position}).json().get("counts", {}).get("like") != 1:
            assert time.monotonic() < until, self.log.read_text()[-3000:]
        sent = self.run("send", "collect", "--user", "u1", "--note", "n1")
        assert sent.returncode == 0, sent.stderr
        while self.http.get("/v1/notes/n1").json()["counts"]["collect"] != 1:
            assert time.monotonic() < until, self.log.read_text()[-3000:]
            time.sleep(0.1)
        lag = self.run("lag", "--json", "--max-seconds", "60")
        assert lag.returncode == 0, lag.stdout + lag.stderr
        assert {json.loads(line)["stage"] for line in lag.stdout.splitlines()} >= {"intake", "users", "notes"}
        doctor = self.run("doctor")
        told = self.log.read_text() + doctor.stdout + doctor.stderr + self.http.get("/metrics").text + self.run("config").stdout
        assert "s3cret" not in told

    def refuses(self, words: list[str], name: str, **more: str) -> None:
        """With something of it wrong: one line that names what does not answer, and no secret."""
        done = self.run(*words, **more)
        assert done.returncode == 1
        [line] = done.stderr.strip().splitlines()
        assert line.startswith("upwell: ")
        assert name in line
        assert "s3cret" not in line


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    parts.need(lambda: parts.program("openssl", "openssl"))
    return tmp_path


@pytest.mark.kafka
@pytest.mark.timeout(300)
@pytest.mark.parametrize("protocol, mechanism", [("SASL_SSL", "SCRAM-SHA-512"), ("SASL_PLAINTEXT", "PLAIN")])
def test_a_kafka_that_wants_a_password_is_reached_by_settings(
    folder: Path, own_valkey: parts.EmbeddedStore, protocol: str, mechanism: str
) -> None:
    parts.need(parts.kafka_jars)
    with SecuredKafka(folder / "kafka", protocol, mechanism) as kafka:
        environ = {
            "UPWELL_KAFKA": kafka.address, "UPWELL_REDIS": own_valkey.url, "UPWELL_KAFKA__SECURITY_PROTOCOL": protocol,
            "UPWELL_KAFKA__SASL_MECHANISM": mechanism, "UPWELL_KAFKA__SASL_USERNAME": USER, "UPWELL_KAFKA__SASL_PASSWORD": PASSWORD,
            "UPWELL_KAFKA__SSL_CAFILE": str(kafka.cert),
        }  # fmt: skip
        system = System(folder, environ)
        try:
            system.lives()
            system.refuses(["topics", "check"], kafka.address, UPWELL_KAFKA__SASL_PASSWORD="s3cret-wrong")
            if protocol == "SASL_SSL":
                system.refuses(["topics", "check"], kafka.address, UPWELL_KAFKA__SSL_CAFILE="")
        finally:
            system.close()


@pytest.mark.redis
@pytest.mark.timeout(300)
def test_a_redis_that_wants_tls_and_a_password_is_reached_by_settings(folder: Path, own_broker: parts.EmbeddedBroker) -> None:
    parts.need(lambda: parts.program("redis-server", "redis-server"))
    with SecuredRedis(folder / "redis") as redis:
        environ = {
            "UPWELL_KAFKA": own_broker.address, "UPWELL_KAFKA__FETCH_WAIT_MS": "20", "UPWELL_REDIS": redis.url,
            "UPWELL_REDIS__SSL_CAFILE": str(redis.cert),
        }  # fmt: skip
        system = System(folder, environ)
        try:
            system.lives()
            system.refuses(["lag"], redis.address, UPWELL_REDIS__SSL_CAFILE="")
            system.refuses(["lag"], redis.address, UPWELL_REDIS=redis.url.replace("s3cret-redis", "s3cret-wrong"))
        finally:
            system.close()
