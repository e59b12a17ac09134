"""Servers that answer as badly as a server can: slow, endless, packed, wrong."""

import gzip
import socket
import time
import zlib
from threading import Event

from pixverse_dagster_tests.harness.hostile_answers import MB
from pixverse_dagster_tests.harness.raw_http import BOMB, Script, flood, head, say, trickle

TICK = 0.02


def drip(data: bytes, *, first: bytes = b"") -> Script:
    """Send this a byte at a time, each soon enough for any read, for up to six seconds."""

    def script(connection: socket.socket, number: int) -> None:
        del number
        connection.sendall(first)
        pause, end = Event(), time.monotonic() + 6
        for byte in data:
            if pause.wait(TICK) or time.monotonic() > end:
                return
            connection.sendall(bytes([byte]))

    return script


def storm(piece: bytes, *, first: bytes = b"", seconds: float = 6) -> Script:
    """Send this again and again, as fast as it is read, for up to six seconds."""

    def script(connection: socket.socket, number: int) -> None:
        del number
        connection.sendall(first)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            connection.sendall(piece)

    return script


def raw(data: bytes) -> Script:
    """Send these bytes and end the connection."""

    def script(connection: socket.socket, number: int) -> None:
        del number
        connection.sendall(data)

    return script


def zipped(wbits: int, megabytes: int) -> bytes:
    packer = zlib.compressobj(9, wbits=wbits)
    return b"".join(packer.compress(bytes(MB)) for _ in range(megabytes)) + packer.flush()


STATUS_LINE = b"HTTP/1.1 200 OK\r\n"
OK_BODY = b'{"task_id": "t1", "code": 1, "data": {"task_id": "t1"}}'
CHUNKED = head(200, "Transfer-Encoding: chunked")
NESTED = gzip.compress(BOMB)
HOSTILE: dict[str, Script] = {
    "headers a byte at a time": drip(b"X-Slow: " + b"x" * 100_000, first=STATUS_LINE),
    "header lines a byte at a time": drip(b"X: y\r\n" * 20_000, first=STATUS_LINE),
    "a status line a byte at a time": drip(b"HTTP/1.1 200 " + b"O" * 100_000),
    "a body a byte at a time": drip(b" " * 100_000, first=head(200)),
    "chunks of a byte": drip(b"1\r\n \r\n" * 20_000, first=CHUNKED),
    "a slow body": trickle,
    "a storm of 100s": storm(b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "100s now and then": drip(b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" * 1000),
    "endless headers": storm(b"X-More: " + b"x" * 8000 + b"\r\n", first=STATUS_LINE),
    "one endless header": storm(b"x" * MB, first=STATUS_LINE + b"X: "),
    "an endless status line": storm(b"O" * MB, first=b"HTTP/1.1 200 "),
    "an endless body": flood,
    "endless chunks": storm(b"100000\r\n" + b" " * MB + b"\r\n", first=CHUNKED),
    "endless trailers": storm(b"X: y\r\n" * 1000, first=CHUNKED + b"2\r\n{}\r\n0\r\n"),
    "an endless chunk size": storm(b"0" * MB, first=CHUNKED),
    "a chunk of no size": raw(CHUNKED + b"zz\r\nkite\r\n"),
    "a chunk of all sizes": raw(CHUNKED + b"ffffffffffffffff\r\n" + OK_BODY),
    "a negative chunk": raw(CHUNKED + b"-5\r\n" + OK_BODY),
    "a gzip bomb": say(200, BOMB, "Content-Encoding: gzip"),
    "a deflate bomb": say(200, zipped(15, 256), "Content-Encoding: deflate"),
    "a bomb in a bomb": say(200, NESTED, "Content-Encoding: gzip, gzip"),
    "a bomb in a bomb, on two lines": say(200, NESTED, "Content-Encoding: gzip", "Content-Encoding: GZIP"),
    "brotli": say(200, b"\x1b\xff\xff", "Content-Encoding: br"),
    "zstandard": say(200, b"(\xb5/\xfd", "Content-Encoding: zstd"),
    "a short length": raw(head(200, "Content-Length: 5") + OK_BODY),
    "a long length": raw(head(200, "Content-Length: 500") + OK_BODY),
    "a length of all sizes": raw(head(200, "Content-Length: " + "9" * 30) + OK_BODY),
    "a negative length": raw(head(200, "Content-Length: -1") + OK_BODY),
    "two lengths": raw(head(200, "Content-Length: 5", "Content-Length: 6") + OK_BODY),
    "a redirect to itself": say(307, b"", "Location: /"),
    "a redirect inside": say(308, b"", "Location: http://169.254.169.254/latest/meta-data/"),
    "a redirect to a file": say(302, b"", "Location: file:///etc/passwd"),
    "a redirect to nothing": say(301, b"", "Location: http://["),
    "an end in the headers": raw(STATUS_LINE + b"Content-Le"),
    "TLS": raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500),
    "another protocol": raw(b"\x00\xff" * 50_000),
    "HTTP/2": raw(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" * 20),
    "an upgrade": raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n" + OK_BODY),
    "a status of its own": raw(b"HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\n{}"),
    "a status that is none": raw(b"HTTP/1.1 000 Odd\r\nContent-Length: 2\r\n\r\n{}"),
    "a header with a NUL": raw(STATUS_LINE + b"X: a\x00b\r\nContent-Length: 2\r\n\r\n{}"),
    "nothing but a body": raw(OK_BODY),
    "wrong types": say(200, b'{"task_id": {"a": 1}, "code": [], "data": 7, "errors": {}}'),
    "a nest": say(200, b"[" * 4 * MB),
    "a number without end": say(200, b'{"task_id": ' + b"9" * 4 * MB + b"}"),
    "an id without end": say(200, b'{"code": 1, "task_id": "' + b"x" * 4 * MB + b'"}'),
}
