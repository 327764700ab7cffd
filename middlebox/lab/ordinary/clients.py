"""The client: carries out the jobs of one round.

Rule of this file: a job that fails says so in one line and harms no other. Truth is not made here.

    python3 -m middlebox.lab.ordinary.clients DIRECTORY JOBS
"""

import collections
import concurrent.futures
import contextlib
import logging
import os
import random
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from middlebox.lab.ordinary import media, programs
from middlebox.lab.ordinary.certificates import SHAPES, site_name
from middlebox.lab.ordinary.custom import FIRST_PORT, INSIDE_TLS, TCP, UDP, VARIANTS, Datagrams, read_exactly
from middlebox.lab.ordinary.files import page
from middlebox.lab.ordinary.plan import KIND_OF, Job, Worker, server_address

_PATIENCE_SECONDS = 15.0
THREADS = {Worker.LIBRARY: 16, Worker.PROGRAM: 6, Worker.BROWSER: 1, Worker.MEDIA: 24}
_MEGABYTES_OF_STACK = 1


def main(directory: Path, jobs: list[Job]) -> None:
    """Carry out every job; print how many of each kind went wrong and why."""
    logging.disable(logging.CRITICAL)
    threading.stack_size(_MEGABYTES_OF_STACK << 20)
    failures: collections.Counter[str] = collections.Counter()
    reasons: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        pools = {
            worker: stack.enter_context(concurrent.futures.ThreadPoolExecutor(count))
            for worker, count in THREADS.items()
        }
        waiting = {pools[KIND_OF[job.kind].worker].submit(carry_out, job, directory): job for job in jobs}
        for done in concurrent.futures.as_completed(waiting):
            error = done.exception()
            if error is not None:
                failures[waiting[done].kind] += 1
                reasons[waiting[done].kind] = f"{type(error).__name__}: {error}".replace("\n", " ")[:160]
    for kind, count in sorted(failures.items()):
        print(f"{kind}: {count} jobs ended early; last: {reasons[kind]}")
    sys.stdout.flush()
    os._exit(0)  # libraries leave threads behind; they end with the process


def carry_out(job: Job, directory: Path) -> None:
    """Do one job."""
    if KIND_OF[job.kind].worker in (Worker.PROGRAM, Worker.BROWSER) or job.kind in programs.MEDIA:
        programs.carry_out(job, directory)
        return
    if job.kind.startswith("file-"):
        _files(job, directory)
    elif job.kind in TCP or job.kind == "custom-tls":
        _custom_tcp(job)
    elif job.kind in UDP:
        _custom_udp(job)
    elif job.kind in media.TORRENTS:
        media.fetch_torrents(job, directory)
    elif job.kind == "webrtc-call":
        media.video_call(job, directory)
    else:
        _DOERS[job.kind](job, directory)


def _connect(job: Job, port: int) -> socket.socket:
    connection = socket.create_connection(
        (server_address(job.kind), port), _PATIENCE_SECONDS, source_address=(job.client, 0)
    )
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _pause(numbers: random.Random, often: float = 0.3) -> None:
    if numbers.random() < often:
        time.sleep(min(0.4, numbers.expovariate(20)))


def _site(numbers: random.Random) -> str:
    name = site_name(numbers.randrange(len(SHAPES)))
    return (
        name
        if numbers.random() < 0.5
        else f"{numbers.choice(['www', 'api', 'cdn', 'img'])}{numbers.randint(1, 99)}.{name}"
    )


# --- the web -----------------------------------------------------------------------------------------

_CIPHERS = ("DEFAULT", "ECDHE+AESGCM", "HIGH:!aNULL:!MD5", "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM", "ALL:@SECLEVEL=1")


def _tls(numbers: random.Random, *, newest: ssl.TLSVersion | None, old_servers: bool) -> ssl.SSLContext:
    """A client of some fingerprint."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if newest:
        context.maximum_version = newest
    if numbers.random() < 0.6:
        context.set_alpn_protocols(numbers.choice([["http/1.1"], ["http/1.1", "http/1.0"], ["spdy/1", "http/1.1"]]))
    if numbers.random() < 0.5:
        context.set_ciphers(numbers.choice(_CIPHERS))
    if newest is None and not old_servers and numbers.random() < 0.3:
        context.minimum_version = ssl.TLSVersion.TLSv1_3  # with TLS 1.2 the curve must be the certificate's, too
        context.set_ecdh_curve(numbers.choice(["prime256v1", "X25519"]))
    if numbers.random() < 0.2:
        context.options |= ssl.OP_NO_TICKET
    return context


def _requests(connection: socket.socket, numbers: random.Random, host: str) -> None:
    """Requests over one connection, as a program keeps it open."""
    for _ in range(numbers.choice([1, 1, 1, 2, 3, 6])):
        extra = "".join(
            f"X-{numbers.choice('abc') * 4}: {'v' * numbers.randint(4, 300)}\r\n"
            for _ in range(numbers.choice([0, 1, 3]))
        )
        if numbers.random() < 0.15:
            body = numbers.randbytes(int(10 ** numbers.uniform(1.5, 4.5)))
            head = f"POST /form HTTP/1.1\r\nHost: {host}\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
        else:
            connection.sendall(f"GET /{page(numbers)} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n{extra}\r\n".encode())
        waiting = bytearray()
        while b"\r\n\r\n" not in waiting:
            waiting += read_some(connection)
        head_bytes, _, rest = bytes(waiting).partition(b"\r\n\r\n")
        lengths = [
            int(line.split(b":")[1]) for line in head_bytes.lower().split(b"\r\n") if line.startswith(b"content-length")
        ]
        left = (lengths[0] if lengths else 0) - len(rest)
        while left > 0:
            left -= len(read_some(connection))
        _pause(numbers)


def read_some(connection: socket.socket) -> bytes:
    """What has come; at least a byte.

    Raises:
        EOFError: The other side has ended the connection.
    """
    part = connection.recv(65536)
    if not part:
        raise EOFError("the server ended the connection")
    return part


def _web_tls(job: Job, ports: tuple[int, ...], newest: ssl.TLSVersion | None) -> None:
    numbers = job.random()
    session: ssl.SSLSession | None = None
    for _ in range(job.flows):
        if session is None or numbers.random() < 0.6:
            context, host, session = _tls(numbers, newest=newest, old_servers=8443 in ports), _site(numbers), None
            port = numbers.choice(ports)
        name = None if numbers.random() < 0.05 else host
        raw = _connect(job, port)
        with context.wrap_socket(raw, server_hostname=name, session=session) as connection:
            _requests(connection, numbers, host)
            session = connection.session


def _web_python(job: Job, _directory: Path) -> None:
    _web_tls(job, (443,), None)


def _web_python_server(job: Job, _directory: Path) -> None:
    _web_tls(job, (443, 8443, 9443, 10443), None)


def _web_python_tls12(job: Job, _directory: Path) -> None:
    _web_tls(job, (443,), ssl.TLSVersion.TLSv1_2)


def _web_clear(job: Job, _directory: Path) -> None:
    numbers = job.random()
    for _ in range(job.flows):
        with _connect(job, 80) as connection:
            _requests(connection, numbers, _site(numbers))


def _web_httpx(job: Job, _directory: Path) -> None:
    import httpx

    numbers = job.random()
    for _ in range(job.flows):
        transport = httpx.HTTPTransport(http2=True, verify=False, local_address=job.client)
        with httpx.Client(transport=transport, timeout=_PATIENCE_SECONDS) as client:
            host = _site(numbers)
            for _ in range(numbers.choice([1, 2, 5])):
                client.get(
                    f"https://{server_address(job.kind)}/{page(numbers)}",
                    headers={"Host": host}, extensions={"sni_hostname": host},
                )  # fmt: skip
                _pause(numbers)


def _websocket(job: Job, _directory: Path) -> None:
    from websockets.sync.client import connect

    numbers = job.random()
    secure = job.kind == "websocket-tls"
    for _ in range(job.flows):
        host = _site(numbers)
        raw = _connect(job, 443 if secure else 80)
        options: dict[str, Any] = {"ssl": _plain_tls(), "server_hostname": host} if secure else {"compression": None}
        with connect(f"{'wss' if secure else 'ws'}://{host}/chat", sock=raw, max_size=None, **options) as chat:
            for _ in range(numbers.randint(2, 12)):
                size = int(10 ** numbers.uniform(0.8, 3.5))
                chat.send(numbers.randbytes(size) if numbers.random() < 0.5 else "x" * size)
                chat.recv(timeout=5)
                _pause(numbers)


def _plain_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _http3(job: Job, _directory: Path) -> None:
    programs.fetch_http3(job)


# --- names, time -------------------------------------------------------------------------------------


def _query(numbers: random.Random) -> bytes:
    import dns.message

    depth = numbers.randint(1, 4)
    labels = [
        "".join(numbers.choices("abcdefghijklmnopqrstuvwxyz0123456789-", k=numbers.randint(2, 18))).strip("-") or "x"
        for _ in range(depth)
    ]
    kind = numbers.choice(["A", "A", "A", "AAAA", "AAAA", "MX", "TXT", "HTTPS", "NS", "PTR"])
    wire: bytes = dns.message.make_query(
        ".".join(labels) + ".example.", kind, use_edns=numbers.random() < 0.6, id=numbers.getrandbits(16)
    ).to_wire()
    return wire


def _dns_udp(job: Job, _directory: Path) -> None:
    numbers = job.random()
    for _ in range(job.flows):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind((job.client, 0))
            client.settimeout(3)
            for _ in range(numbers.choice([1, 1, 1, 1, 2])):
                client.sendto(_query(numbers), (server_address(job.kind), 53))
                client.recv(65536)


def _dns_stream(connection: socket.socket, numbers: random.Random) -> None:
    for _ in range(numbers.choice([1, 1, 2, 4])):
        query = _query(numbers)
        connection.sendall(struct.pack(">H", len(query)) + query)
        read_exactly(connection, int.from_bytes(read_exactly(connection, 2), "big"))
        _pause(numbers, 0.2)


def _dns_tcp(job: Job, _directory: Path) -> None:
    numbers = job.random()
    for _ in range(job.flows):
        with _connect(job, 53) as connection:
            _dns_stream(connection, numbers)


def _dns_tls(job: Job, _directory: Path) -> None:
    numbers = job.random()
    for _ in range(job.flows):
        with _plain_tls().wrap_socket(_connect(job, 853), server_hostname=site_name(4)) as connection:
            _dns_stream(connection, numbers)


def _ntp(job: Job, _directory: Path) -> None:
    numbers = job.random()
    for _ in range(job.flows):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind((job.client, 0))
            client.settimeout(1)
            client.sendto(
                bytes([numbers.choice([0x23, 0x1B, 0xE3])]) + bytes(39) + numbers.randbytes(8),
                (server_address(job.kind), 123),
            )
            with contextlib.suppress(TimeoutError):
                client.recv(512)


def _syslog(job: Job, _directory: Path) -> None:
    numbers = job.random()
    for _ in range(job.flows):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind((job.client, 0))
            for _ in range(numbers.randint(1, 8)):
                words = "word " * numbers.randint(1, 40)
                when = f"Nov 24 12:00:{numbers.randint(10, 59)}"
                text = f"<{numbers.randint(0, 191)}>{when} host app[{numbers.randint(100, 9999)}]: {words}"
                client.sendto(text.encode(), (server_address(job.kind), 514))


def _stun(job: Job, _directory: Path) -> None:
    numbers = job.random()
    for _ in range(job.flows):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind((job.client, 0))
            client.settimeout(1)
            software = b"\x80\x22\x00\x04test" if numbers.random() < 0.5 else b""
            client.sendto(
                struct.pack(">HHI", 1, len(software), 0x2112A442) + numbers.randbytes(12) + software,
                (server_address(job.kind), 3478),
            )
            with contextlib.suppress(TimeoutError):
                client.recv(1500)


def _ping(job: Job, _directory: Path) -> None:
    numbers = job.random()
    for _ in range(job.flows):
        subprocess.run(
            ["ping", "-q", "-n", "-I", job.client, "-c", str(numbers.randint(1, 3)), "-i", "0.2", "-W", "1",
             "-s", str(numbers.choice([56, 56, 8, 32, 1000, 1400])), server_address(job.kind)],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False,
        )  # fmt: skip


# --- databases, queues -------------------------------------------------------------------------------


def _redis(job: Job, _directory: Path) -> None:
    import redis

    numbers = job.random()
    for _ in range(job.flows):
        client = redis.Redis(server_address(job.kind), socket_timeout=5, protocol=numbers.choice([2, 3]))
        for _ in range(numbers.randint(1, 6)):
            key = f"key:{numbers.randint(0, 9999)}"
            match numbers.randrange(4):
                case 0:
                    client.set(key, numbers.randbytes(int(10 ** numbers.uniform(1, 4))))
                case 1:
                    client.incr(f"count:{key}")
                case 2:
                    client.rpush(f"list:{key}", *[str(number) for number in range(numbers.randint(1, 20))])
                case _:
                    client.get(key)
        client.close()


def _memcached(job: Job, _directory: Path) -> None:
    from pymemcache.client.base import Client

    numbers = job.random()
    for _ in range(job.flows):
        client = Client((server_address(job.kind), 11211), timeout=5, connect_timeout=5)
        for _ in range(numbers.randint(1, 5)):
            key = f"key{numbers.randint(0, 999)}"
            if numbers.random() < 0.5:
                client.set(key, numbers.randbytes(int(10 ** numbers.uniform(1, 4))), noreply=False)
            else:
                client.get(key)
        client.close()


def _postgresql(job: Job, _directory: Path) -> None:
    import pg8000.native

    numbers = job.random()
    secure = _plain_tls() if job.kind.endswith("-tls") else None
    for _ in range(job.flows):
        client = pg8000.native.Connection(
            "postgres", host=server_address(job.kind), database="postgres", ssl_context=secure, timeout=10,
            source_address=(job.client, 0),
        )  # fmt: skip
        for _ in range(numbers.randint(1, 5)):
            client.run(f"select g, md5(g::text) from generate_series(1, {int(10 ** numbers.uniform(0, 2.8))}) g")
        client.close()


def _mariadb(job: Job, _directory: Path) -> None:
    import pymysql

    numbers = job.random()
    secure: dict[str, Any] = {"ssl": _plain_tls()} if job.kind.endswith("-tls") else {"ssl_disabled": True}
    for _ in range(job.flows):
        with pymysql.connect(
            host=server_address(job.kind), user="lab", password="secret", database="lab", bind_address=job.client,
            connect_timeout=10, **secure,
        ) as client:  # fmt: skip
            cursor = client.cursor()
            for _ in range(numbers.randint(1, 5)):
                cursor.execute(f"select seq, md5(seq) from seq_1_to_{int(10 ** numbers.uniform(0, 2.8))}")
                cursor.fetchall()


def _mqtt(job: Job, _directory: Path) -> None:
    from paho.mqtt import client as mqtt

    numbers = job.random()
    for _ in range(job.flows):
        version = numbers.choice([mqtt.MQTTv31, mqtt.MQTTv311, mqtt.MQTTv5])
        client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=f"c{numbers.getrandbits(30)}", protocol=version
        )
        port = 1883
        if job.kind == "mqtt-tls":
            client.tls_set_context(_plain_tls())
            client.tls_insecure_set(True)
            port = 8883
        client.connect(server_address(job.kind), port, bind_address=job.client)
        client.loop_start()
        client.subscribe(f"room/{numbers.randint(0, 9)}/#")
        for _ in range(numbers.randint(1, 6)):
            sent = client.publish(
                f"room/{numbers.randint(10, 99)}/temperature",
                numbers.randbytes(numbers.randint(2, 300)),
                qos=numbers.choice([0, 1]),
            )
            with contextlib.suppress(RuntimeError, ValueError):
                sent.wait_for_publish(2)
            _pause(numbers)
        client.disconnect()
        client.loop_stop()


# --- mail, files -------------------------------------------------------------------------------------


def _smtp(job: Job, _directory: Path) -> None:
    import smtplib

    numbers = job.random()
    address = server_address(job.kind)
    for _ in range(job.flows):
        options: dict[str, Any] = {"timeout": 10, "source_address": (job.client, 0), "local_hostname": "client.example"}
        match job.kind:
            case "smtps":
                client: smtplib.SMTP = smtplib.SMTP_SSL(address, 465, context=_plain_tls(), **options)
            case "smtp-starttls":
                client = smtplib.SMTP(address, 587, **options)
                client.starttls(context=_plain_tls())
            case _:
                client = smtplib.SMTP(address, 25, **options)
        for _ in range(numbers.choice([1, 1, 2])):
            body = "Subject: hello\r\n\r\n" + "some words in a line of a letter\r\n" * int(10 ** numbers.uniform(0, 3))
            client.sendmail("a@example", [f"b{count}@example" for count in range(numbers.randint(1, 4))], body)
        client.quit()


def _imap(job: Job, _directory: Path) -> None:
    import imaplib

    numbers = job.random()
    address = server_address(job.kind)
    for _ in range(job.flows):
        if job.kind == "imaps":
            client: imaplib.IMAP4 = imaplib.IMAP4_SSL(address, 993, ssl_context=_plain_tls(), timeout=10)
        else:
            client = imaplib.IMAP4(address, 143, timeout=10)
            if job.kind == "imap-starttls":
                client.starttls(_plain_tls())
        client.login(f"user{numbers.randint(0, 3)}", "secret")
        client.select()
        for number in range(1, numbers.randint(2, 6)):
            client.fetch(str(number), numbers.choice(["(RFC822)", "(FLAGS)", "(BODY[HEADER])"]))
            _pause(numbers)
        client.logout()


def _pop3(job: Job, _directory: Path) -> None:
    import poplib

    numbers = job.random()
    address = server_address(job.kind)
    for _ in range(job.flows):
        if job.kind == "pop3s":
            client: poplib.POP3 = poplib.POP3_SSL(address, 995, context=_plain_tls(), timeout=10)
        else:
            client = poplib.POP3(address, 110, timeout=10)
            if job.kind == "pop3-starttls":
                client.stls(_plain_tls())
        client.user(f"user{numbers.randint(0, 3)}")
        client.pass_("secret")
        client.stat()
        for number in range(1, numbers.randint(2, 5)):
            client.retr(number)
        client.quit()


def _ftp(job: Job, _directory: Path) -> None:
    import ftplib
    import io

    numbers = job.random()
    for _ in range(max(1, job.flows // 2)):  # each makes a connection for its data too
        client = ftplib.FTP_TLS(context=_plain_tls()) if job.kind == "ftps" else ftplib.FTP()
        client.connect(server_address(job.kind), 21, 10, source_address=(job.client, 0))
        if numbers.random() < 0.5:
            client.login("lab", "secret")
        else:
            client.login()
        if isinstance(client, ftplib.FTP_TLS):
            client.prot_p()
        if client.pwd() and numbers.random() < 0.3:
            with contextlib.suppress(ftplib.error_perm):
                client.storbinary(
                    f"STOR up{numbers.randint(0, 99)}", io.BytesIO(numbers.randbytes(int(10 ** numbers.uniform(2, 5))))
                )
        else:
            client.retrlines("NLST", lambda line: None)
        with contextlib.suppress(ftplib.error_perm):
            client.retrbinary(f"RETR {page(numbers)}", lambda block: None)
        with contextlib.suppress(OSError, EOFError, ftplib.Error):
            client.quit()


def _ssh_paramiko(job: Job, directory: Path) -> None:
    import paramiko

    numbers = job.random()
    for _ in range(job.flows):
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect(
            server_address(job.kind), username="root", key_filename=str(directory / "keys" / "ssh_client"),
            sock=_connect(job, 22), allow_agent=False, look_for_keys=False, timeout=10,
        )  # fmt: skip
        for _ in range(numbers.randint(1, 3)):
            _, output, _ = client.exec_command(f"head -c {int(10 ** numbers.uniform(1, 4.5))} /dev/zero | tr '\\0' x")
            output.read()
        client.close()


def _ssh_asyncssh(job: Job, directory: Path) -> None:
    import asyncio

    import asyncssh

    numbers = job.random()

    async def log_in() -> None:
        async with asyncssh.connect(
            server_address(job.kind), username="root", known_hosts=None, local_addr=(job.client, 0), config=None,
            client_keys=[str(directory / "keys" / "ssh_client")],
        ) as client:  # fmt: skip
            for _ in range(numbers.randint(1, 3)):
                await client.run(f"head -c {int(10 ** numbers.uniform(1, 4))} /dev/urandom | base64")

    for _ in range(job.flows):
        asyncio.run(asyncio.wait_for(log_in(), 15))


def _files(job: Job, directory: Path) -> None:
    numbers = job.random()
    paths = [
        path for path in sorted((directory / "files" / job.kind.removeprefix("file-")).iterdir()) if path.is_file()
    ]
    for _ in range(job.flows):
        way = numbers.randrange(3)
        with _connect(job, FIRST_PORT + way) as connection:
            if way == 2:
                connection.sendall(numbers.choice(paths).read_bytes())
                connection.shutdown(socket.SHUT_WR)
            elif way == 1:
                connection.sendall(f"GET {numbers.choice(paths).name}\n".encode())
            while connection.recv(65536):
                pass


# --- what nobody documents -----------------------------------------------------------------------------


def _custom_tcp(job: Job) -> None:
    numbers = job.random()
    for _ in range(job.flows):
        variant = numbers.randrange(VARIANTS)
        wire, port = TCP.get(job.kind), FIRST_PORT + variant
        raw = _connect(job, port if wire else port + VARIANTS * numbers.randrange(len(INSIDE_TLS)))
        with raw if wire else _plain_tls().wrap_socket(raw, server_hostname=_site(numbers)) as connection:
            inside = wire or INSIDE_TLS[(connection.getpeername()[1] - FIRST_PORT) // VARIANTS]
            end = inside(connection, numbers, variant, opens=True)
            largest = numbers.uniform(1.3, 4)
            for _ in range(int(10 ** numbers.uniform(0, 1.3))):
                end.send(int(10 ** numbers.uniform(0.7, largest)))
                end.receive()
                _pause(numbers)


def _custom_udp(job: Job) -> None:
    numbers = job.random()
    for _ in range(job.flows):
        variant = numbers.randrange(VARIANTS)
        flow = Datagrams(job.kind, numbers, variant)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind((job.client, 0))
            client.settimeout(0.05)
            for _ in range(int(10 ** numbers.uniform(0, 1.4))):
                client.sendto(
                    flow.next(int(10 ** numbers.uniform(1, 3.1))), (server_address(job.kind), FIRST_PORT + variant)
                )
                if numbers.random() < 0.7:
                    with contextlib.suppress(TimeoutError):
                        client.recv(65536)


_DOERS: dict[str, Callable[[Job, Path], None]] = {
    "web-python": _web_python,
    "web-python-server": _web_python_server,
    "web-python-tls12": _web_python_tls12,
    "web-clear": _web_clear,
    "web-httpx-http2": _web_httpx,
    "websocket": _websocket,
    "websocket-tls": _websocket,
    "http3-aioquic": _http3,
    "dns-udp": _dns_udp,
    "dns-tcp": _dns_tcp,
    "dns-tls": _dns_tls,
    "ntp": _ntp,
    "syslog-udp": _syslog,
    "stun": _stun,
    "ping": _ping,
    "redis": _redis,
    "memcached": _memcached,
    "postgresql": _postgresql,
    "postgresql-tls": _postgresql,
    "mariadb": _mariadb,
    "mariadb-tls": _mariadb,
    "mqtt": _mqtt,
    "mqtt-tls": _mqtt,
    "smtp": _smtp,
    "smtp-starttls": _smtp,
    "smtps": _smtp,
    "imap": _imap,
    "imap-starttls": _imap,
    "imaps": _imap,
    "pop3": _pop3,
    "pop3-starttls": _pop3,
    "pop3s": _pop3,
    "ftp": _ftp,
    "ftps": _ftp,
    "ssh-paramiko": _ssh_paramiko,
    "ssh-asyncssh": _ssh_asyncssh,
    "game-udp": lambda job, _: media.play(job),
    "rtp": lambda job, _: media.call(job),
    "sip": lambda job, _: media.telephone(job),
    "bittorrent-dht": lambda job, _: media.ask_peers(job),
}


if __name__ == "__main__":
    with Path(sys.argv[2]).open(encoding="utf-8") as lines:
        main(Path(sys.argv[1]), [Job.from_json(line) for line in lines])
