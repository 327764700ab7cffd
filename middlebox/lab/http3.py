"""The lab's HTTP/3 server and client, on aioquic: serve files from one directory, fetch one file.

Rule of this file: it is a program of the lab's hosts and imports nothing of ours.

    python3 -m middlebox.lab.http3 serve PORT CERTIFICATE KEY DIRECTORY ADDRESS...
    python3 -m middlebox.lab.http3 fetch ADDRESS PORT LOCAL-PORT CA NAME PATH OUTPUT
"""

import asyncio
import sys
from pathlib import Path

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, ProtocolNegotiated, QuicEvent


class Server(QuicConnectionProtocol):
    """Answers every request with the file of that name."""

    directory: Path
    _http: H3Connection | None = None

    def quic_event_received(self, event: QuicEvent) -> None:
        """Called by aioquic."""
        if isinstance(event, ProtocolNegotiated):
            self._http = H3Connection(self._quic)
        if self._http is None:
            return
        for received in self._http.handle_event(event):
            if isinstance(received, HeadersReceived):
                self._answer(received.stream_id, dict(received.headers)[b":path"].decode())

    def _answer(self, stream: int, path: str) -> None:
        assert self._http is not None
        file = self.directory / Path(path).name
        status, body = (b"200", file.read_bytes()) if file.is_file() else (b"404", b"")
        self._http.send_headers(stream, [(b":status", status), (b"content-length", str(len(body)).encode())])
        self._http.send_data(stream, body, end_stream=True)
        self.transmit()


class Client(QuicConnectionProtocol):
    """Fetches one file."""

    _http: H3Connection | None = None
    _body: bytearray
    _done: asyncio.Future[bytes]

    async def fetch(self, name: str, path: str) -> bytes:
        """The body of one file.

        Raises:
            ConnectionError: The server or something on the way ended the connection.
        """
        self._http = H3Connection(self._quic)
        self._body = bytearray()
        self._done = asyncio.get_running_loop().create_future()
        request = {":method": "GET", ":scheme": "https", ":authority": name, ":path": path}
        stream = self._quic.get_next_available_stream_id()
        self._http.send_headers(stream, [(k.encode(), v.encode()) for k, v in request.items()], end_stream=True)
        self.transmit()
        return await self._done

    def quic_event_received(self, event: QuicEvent) -> None:
        """Called by aioquic."""
        if self._http is None or self._done.done():
            return
        if isinstance(event, ConnectionTerminated):
            self._done.set_exception(ConnectionError(event.reason_phrase or "connection ended"))
            return
        for received in self._http.handle_event(event):
            if isinstance(received, DataReceived):
                self._body += received.data
                if received.stream_ended:
                    self._done.set_result(bytes(self._body))


async def _serve(port: int, certificate: str, key: str, directory: str, addresses: list[str]) -> None:
    configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN)
    configuration.load_cert_chain(certificate, key)
    Server.directory = Path(directory)
    for address in addresses:
        await serve(address, port, configuration=configuration, create_protocol=Server)
    await asyncio.Event().wait()


async def _fetch(address: str, port: int, local_port: int, authority: str, name: str, path: str) -> bytes:
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=name)
    configuration.load_verify_locations(authority)
    connection = connect(address, port, configuration=configuration, create_protocol=Client, local_port=local_port)
    async with connection as client:
        assert isinstance(client, Client)
        return await client.fetch(name, path)


def main(arguments: list[str]) -> int:
    """Run one of the two commands; the exit status."""
    match arguments:
        case ["serve", port, certificate, key, directory, *addresses]:
            asyncio.run(_serve(int(port), certificate, key, directory, addresses))
        case ["fetch", address, port, local_port, authority, name, path, output]:
            try:
                body = asyncio.run(_fetch(address, int(port), int(local_port), authority, name, path))
            except (ConnectionError, OSError) as error:
                print(f"http3: {error}", file=sys.stderr)
                return 1
            Path(output).write_bytes(body)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
