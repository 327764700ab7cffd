"""The servers that are Python: one program on the server's host, with one address for each kind.

Rule of this file: it answers, and ends when it is told to; nothing here decides what a flow is.

    python3 -m middlebox.lab.ordinary.serve DIRECTORY
"""

import asyncio
import contextlib
import logging
import os
import random
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from middlebox.lab.ordinary import media
from middlebox.lab.ordinary.certificates import SHAPES, site_name
from middlebox.lab.ordinary.custom import FIRST_PORT, INSIDE_TLS, TCP, UDP, VARIANTS, Datagrams, read_exactly
from middlebox.lab.ordinary.plan import server_address

_PATIENCE_SECONDS = 30.0
QUIC_FIRST_PORT = 4430
"The HTTP/3 servers for browsers: one port for each certificate chain, since aioquic chooses none by name."
MAIL_HOST = "mail.site1.example"


def main(directory: Path) -> None:
    """Serve until the process is ended."""
    logging.disable(logging.ERROR)
    threading.excepthook = _ignore
    keys = directory / "keys"
    for kind, wire in TCP.items():
        for variant in range(VARIANTS):
            _listen(server_address(kind), FIRST_PORT + variant, _custom(wire, variant))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(keys / "chain2.crt", keys / "chain2.key")
    for number, wire in enumerate(INSIDE_TLS):
        for variant in range(VARIANTS):
            port = FIRST_PORT + number * VARIANTS + variant
            _listen(server_address("custom-tls"), port, _custom(wire, variant, tls))
    for kind in UDP:
        for variant in range(VARIANTS):
            _thread(_datagrams, kind, variant)
    for path in sorted((directory / "files").iterdir()):
        address = server_address(f"file-{path.name}") if path.name != "plain" else None
        if address:
            _listen(address, FIRST_PORT, _send_file(path))
            _listen(address, FIRST_PORT + 1, _send_asked_file(path))
            _listen(address, FIRST_PORT + 2, _take_file)
    for port, context in _tls_servers(keys):
        _listen(server_address("web-python-server"), port, _web(directory / "www", context))
    _thread(_sink, server_address("syslog-udp"), 514)
    for port in (5004, 5005):
        _thread(_sink, server_address("rtp-ffmpeg"), port)
    _thread(media.answer_games, server_address("game-udp"))
    _thread(media.answer_rtp, server_address("rtp"))
    _thread(media.answer_sip, server_address("sip"))
    _start_mail(keys)
    _start_ftp(directory)
    _thread(lambda: media.seed_torrents(directory))
    asyncio.run(_serve_asynchronously(directory))


def _ignore(_arguments: Any) -> None:
    """Clients go away in the middle of things; that is their affair."""


def _thread(function: Callable[..., object], *arguments: object) -> None:
    threading.Thread(target=function, args=arguments, daemon=True).start()


def _listen(address: str, port: int, answer: Callable[[socket.socket], object]) -> None:
    listener = socket.create_server((address, port), backlog=256)

    def one(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, EOFError, ValueError):
            connection.settimeout(_PATIENCE_SECONDS)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answer(connection)

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            _thread(one, connection)

    _thread(accept)


def _custom(
    wire: Callable[..., Any], variant: int, tls: ssl.SSLContext | None = None
) -> Callable[[socket.socket], None]:
    def answer(raw: socket.socket) -> None:
        connection = tls.wrap_socket(raw, server_side=True) if tls else raw
        numbers = random.Random()
        end = wire(connection, numbers, variant, opens=False)
        while True:
            end.receive()
            end.send(int(10 ** numbers.uniform(0.7, 3.9)))

    return answer


def _datagrams(kind: str, variant: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind((server_address(kind), FIRST_PORT + variant))
        flows: dict[Any, Datagrams] = {}
        numbers = random.Random()
        while True:
            _, client = listener.recvfrom(65536)
            if len(flows) > 4000:
                flows.clear()
            flow = flows.setdefault(client, Datagrams(kind, numbers, variant))
            for _ in range(numbers.choice([0, 1, 1, 1, 2]) if flow.count else 1):
                listener.sendto(flow.next(int(10 ** numbers.uniform(1.2, 3.1))), client)


def _send_file(directory: Path) -> Callable[[socket.socket], None]:
    contents = [path.read_bytes() for path in sorted(directory.iterdir()) if path.is_file()]

    def answer(connection: socket.socket) -> None:
        connection.sendall(random.choice(contents))

    return answer


def _send_asked_file(directory: Path) -> Callable[[socket.socket], None]:
    send = _send_file(directory)

    def answer(connection: socket.socket) -> None:
        line = b""
        while not line.endswith(b"\n"):
            line += read_exactly(connection, 1)
        send(connection)

    return answer


def _take_file(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass
    with contextlib.suppress(OSError):
        connection.sendall(b"OK")


def _tls_servers(keys: Path) -> list[tuple[int, ssl.SSLContext]]:
    """Python's TLS in four flavours, each with every certificate chain."""

    def plain(context: ssl.SSLContext) -> None:
        context.set_alpn_protocols(["http/1.1"])

    def old(context: ssl.SSLContext) -> None:
        context.maximum_version = ssl.TLSVersion.TLSv1_2

    def no_tickets(context: ssl.SSLContext) -> None:
        context.num_tickets = 0

    def chacha(context: ssl.SSLContext) -> None:
        context.set_ciphers("ECDHE+CHACHA20:ECDHE+AESGCM")

    servers = []
    for port, adapt in ((443, plain), (8443, old), (9443, no_tickets), (10443, chacha)):
        contexts = {}
        for index in range(len(SHAPES)):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(keys / f"chain{index}.crt", keys / f"chain{index}.key")
            adapt(context)
            contexts[site_name(index)] = context
        first = contexts[site_name(port % len(SHAPES))]

        def choose(
            connection: ssl.SSLObject | ssl.SSLSocket,
            name: str | None,
            _: ssl.SSLContext,
            contexts: dict[str, ssl.SSLContext] = contexts,
        ) -> None:
            site = ".".join((name or "").split(".")[-2:])
            if site in contexts:
                connection.context = contexts[site]

        first.sni_callback = choose
        servers.append((port, first))
    return servers


def _web(directory: Path, context: ssl.SSLContext) -> Callable[[socket.socket], None]:
    def answer(raw: socket.socket) -> None:
        with context.wrap_socket(raw, server_side=True) as connection:
            waiting = b""
            while True:
                while b"\r\n\r\n" not in waiting:
                    part = connection.recv(65536)
                    if not part:
                        return
                    waiting += part
                head, _, waiting = waiting.partition(b"\r\n\r\n")
                length = next(
                    (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length:" in line), 0
                )
                while len(waiting) < length:
                    waiting += read_exactly(connection, 1)
                waiting = waiting[length:]
                path = head.split(b" ")[1].decode().strip("/")
                body = (directory / path).read_bytes() if (directory / path).is_file() else b"ok"
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nServer: python\r\nContent-Length: %d\r\n\r\n" % len(body) + body
                )

    return answer


def _sink(address: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind((address, port))
        while True:
            listener.recv(65536)


def _start_mail(keys: Path) -> None:
    from aiosmtpd.controller import Controller
    from aiosmtpd.handlers import Sink

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "chain1.crt", keys / "chain1.key")
    for kind, port, options in (
        ("smtp", 25, {}),
        ("smtp-starttls", 587, {"tls_context": context}),
        ("smtps", 465, {"ssl_context": context}),
    ):
        Controller(Sink(), hostname=server_address(kind), port=port, server_hostname=MAIL_HOST, **options).start()


def _start_ftp(directory: Path) -> None:
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
    from pyftpdlib.servers import FTPServer

    authorizer = DummyAuthorizer()
    (directory / "ftp").mkdir(exist_ok=True)
    authorizer.add_anonymous(str(directory / "www"))
    authorizer.add_user("lab", "secret", str(directory / "ftp"), perm="elradfmw")
    pem = directory / "keys" / "ftp.pem"
    pem.touch(0o600)
    pem.write_bytes(b"".join((directory / "keys" / f"chain2.{end}").read_bytes() for end in ("key", "crt")))

    class Plain(FTPHandler):  # type: ignore[misc]
        authorizer: Any = None

    class Secure(TLS_FTPHandler):  # type: ignore[misc]
        certfile = str(pem)
        authorizer: Any = None

    for kind, handler in (("ftp", Plain), ("ftps", Secure)):
        handler.authorizer = authorizer
        server = FTPServer((server_address(kind), 21), handler)
    _thread(server.serve_forever)  # all FTP servers of a process share one loop


async def _serve_asynchronously(directory: Path) -> None:
    import websockets
    from aioquic.asyncio.server import serve
    from aioquic.h3.connection import H3_ALPN
    from aioquic.quic.configuration import QuicConfiguration

    from middlebox.lab.http3 import Server

    class Files(Server):
        directory = Path("/")

        def _answer(self, stream: int, path: str) -> None:
            assert self._http is not None
            file = directory / "www" / path.split("?")[0].strip("/")
            body = file.read_bytes() if file.is_file() else b"<html>not here</html>"
            kind = b"image/svg+xml" if ".svg" in path else b"text/html"
            headers = [(b":status", b"200"), (b"content-type", kind), (b"content-length", str(len(body)).encode())]
            self._http.send_headers(stream, headers)
            self._http.send_data(stream, body, end_stream=True)
            self.transmit()

    keys = directory / "keys"
    for kind in ("http3-aioquic", "chromium-quic"):
        for index in range(len(SHAPES)):
            configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN)
            configuration.load_cert_chain(keys / f"chain{index}.crt", keys / f"chain{index}.key")
            for offset in (0, 20):
                await serve(
                    server_address(kind), QUIC_FIRST_PORT + index + offset,
                    configuration=configuration, create_protocol=Files,
                )  # fmt: skip

    async def chat(connection: Any) -> None:
        numbers = random.Random()
        async for message in connection:
            size = int(10 ** numbers.uniform(1, 3.7))
            await connection.send(numbers.randbytes(size) if isinstance(message, bytes) else "x" * size)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "chain5.crt", keys / "chain5.key")
    await websockets.serve(chat, server_address("websocket"), 80, compression=None)
    await websockets.serve(chat, server_address("websocket-tls"), 443, ssl=context)
    await media.answer_calls(directory)
    (directory / "serving").write_text(f"{os.getpid()} {time.time():.0f} {struct.calcsize('P')}\n")
    await asyncio.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
