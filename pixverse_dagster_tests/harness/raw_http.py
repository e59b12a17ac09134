"""A real server on a socket that answers as badly as it is told: what no HTTP library would send."""

from __future__ import annotations

import re
import socket
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress

MB = 1024 * 1024
Script = Callable[[socket.socket, int], None]
KEEP = "Connection: keep-alive"


class Server:
    """Reads one whole request per connection, hands the connection to a script, and keeps what it saw."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._socket.getsockname()[1]
        self.requests: list[bytes] = []
        self.times: list[float] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept)
        self._workers: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.append(connection)
            worker = threading.Thread(target=self._serve, args=(connection,))
            self._workers.append(worker)
            worker.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            if not (request := read_request(connection)):
                return
            with self._lock:
                self.requests.append(request)
                self.times.append(time.monotonic())
                number = len(self.requests)
            self._script(connection, number)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for worker in self._workers:
            worker.join()


def read_request(connection: socket.socket) -> bytes:
    """One request, head and body; empty if the client went away."""
    data = b""
    while not (whole := _whole_request(data)) and (more := connection.recv(65536)):
        data += more
    return data if whole else b""


def _whole_request(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return bool(end) and len(body) >= (int(length.group(1)) if length else 0)


def say(status: int, body: bytes, *headers: str) -> Script:
    """Answer with this."""

    def script(connection: socket.socket, number: int) -> None:
        del number
        connection.sendall(head(status, f"Content-Length: {len(body)}", *headers) + body)

    return script


def head(status: int, *headers: str) -> bytes:
    """Says that the connection ends here, unless told otherwise: a client that kept it would lose its next request."""
    ending = [] if KEEP in headers else ["Connection: close"]
    return "\r\n".join([f"HTTP/1.1 {status} X", "Content-Type: application/json", *ending, *headers, "", ""]).encode()


def in_turn(*scripts: Script) -> Script:
    """The first request gets the first script, and so on; the last one goes on for ever."""

    def script(connection: socket.socket, number: int) -> None:
        scripts[min(number, len(scripts)) - 1](connection, number)

    return script


def drop(connection: socket.socket, number: int) -> None:
    """Take the request, and end the connection without a word."""
    del connection, number


def reset(connection: socket.socket, number: int) -> None:
    """Take the request, and reset the connection."""
    del number
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def cut(connection: socket.socket, number: int) -> None:
    """Promise a body and end in its middle."""
    del number
    connection.sendall(head(200, "Content-Length: 100") + b'{"task_')


def gibberish(connection: socket.socket, number: int) -> None:
    """Answer with something that is not HTTP."""
    del number
    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


def silence(connection: socket.socket, number: int) -> None:
    """Take the request and say nothing until the client gives up."""
    del number
    connection.recv(1)


def trickle(connection: socket.socket, number: int) -> None:
    """An answer that never ends: a byte now and then, always sooner than any read times out."""
    del number
    connection.sendall(head(200, "Content-Length: 100000"))
    pause = threading.Event()
    while not pause.wait(0.02):
        connection.sendall(b" ")


def flood(connection: socket.socket, number: int) -> None:
    """An answer that never ends, as fast as it goes."""
    del number
    connection.sendall(head(200))
    while True:
        connection.sendall(b" " * MB)


_PACKER = zlib.compressobj(1, wbits=31)
BOMB = b"".join(_PACKER.compress(b" " * MB) for _ in range(256)) + _PACKER.flush()
