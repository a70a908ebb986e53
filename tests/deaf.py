"""A TCP proxy whose connections can go deaf: they stay open, and nothing comes through any more, as when a firewall forgets them."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self

from tools.parts import LOOPBACK, free_port


class Proxy:
    """Forwards to `port` until told otherwise."""

    def __init__(self, port: int = 0) -> None:
        self.to = port
        self.port = free_port()
        self.server = socket.create_server((LOOPBACK, self.port))
        self.deaf: set[socket.socket] = set()
        self.open: set[socket.socket] = set()

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def deafen(self) -> int:
        """Connections that stand now carry nothing from here on; how many there are. New ones work."""
        self.deaf |= self.open
        return len(self.deaf) // 2

    def __enter__(self) -> Self:
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()
        for one in list(self.open):
            one.close()

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self.server.accept()
                try:
                    there = socket.create_connection((LOOPBACK, self.to))
                except OSError:
                    here.close()
                    continue
                self.open |= {here, there}
                for one, other in ((here, there), (there, here)):
                    threading.Thread(target=self.carry, args=(one, other), daemon=True).start()

    def carry(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while (data := one.recv(65_536)) and one not in self.deaf:
                other.sendall(data)
        if one not in self.deaf:
            for end in (one, other):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                self.open.discard(end)
