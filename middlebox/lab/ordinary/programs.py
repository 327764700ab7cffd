"""The client's programs: curl, wget, openssl, ssh, git, rsync, ffmpeg, Chromium, each started for its job.

Rule of this file: every program has a limit, and is killed with all that it started when it reaches it.
"""

import asyncio
import base64
import contextlib
import hashlib
import os
import random
import shutil
import signal
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from middlebox.lab.hosts import environment
from middlebox.lab.ordinary.certificates import SHAPES, site_name
from middlebox.lab.ordinary.files import page, page_sizes
from middlebox.lab.ordinary.plan import Job, server_address
from middlebox.lab.ordinary.servers import BROWSER_PORTS, DTLS_PORTS, OPENSSL_PORTS

_SECONDS = 30.0
_BROWSER_SECONDS = 25.0
QUIC_FIRST_PORT = 4430
MEDIA = ("rtp-ffmpeg", "dtls-openssl")
"Kinds that programs carry out, though they take seconds."


class ProgramError(Exception):
    """A program that reported failure."""


def carry_out(job: Job, directory: Path) -> None:
    """Do one job."""
    _DOERS[job.kind](job, directory)


def _run(*command: str, seconds: float = _SECONDS, feed: bytes = b"", where: Path | None = None) -> None:
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment() | _QUIET,
        start_new_session=True, cwd=where,
    )  # fmt: skip
    try:
        _, errors = process.communicate(feed, timeout=seconds)
    except subprocess.TimeoutExpired:
        errors = b"out of time"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode != 0:
        last = errors.decode(errors="replace").strip().splitlines() or ["no message"]
        raise ProgramError(f"{command[0]}: status {process.returncode}: {last[-1]}")


_QUIET = {"GIT_CONFIG_NOSYSTEM": "1", "HOME": "/nonexistent", "GIT_TERMINAL_PROMPT": "0"}


# --- curl, wget, openssl -----------------------------------------------------------------------------


def _curl(job: Job, *options: str, scheme: str = "https") -> None:
    """One curl for several sites, so several connections; some are asked for several pages."""
    numbers = job.random()
    port = "443" if scheme == "https" else "80"
    command = ["curl", "--silent", "--show-error", "--insecure", "--max-time", "20", "--interface", job.client,
               "--user-agent", f"Mozilla/5.0 (X11; Linux x86_64) {'x' * numbers.randint(0, 60)}",
               "--connect-to", f"::{server_address(job.kind)}:{port}", *options]  # fmt: skip
    if numbers.random() < 0.4:
        command += ["--parallel", "--parallel-max", "6"]
    if numbers.random() < 0.3:
        command.append("--compressed")
    # With TLS 1.2 a curve would have to be that of the server's certificate, too.
    if scheme == "https" and "--tls-max" not in options and numbers.random() < 0.3:
        command += numbers.choice(
            [["--curves", "P-256"], ["--curves", "X25519:P-384"], ["--tls13-ciphers", "TLS_AES_128_GCM_SHA256"],
             ["--ciphers", "ECDHE+AESGCM"], ["--no-sessionid"]]
        )  # fmt: skip
    for _ in range(job.flows):
        part = f"{numbers.choice(['www', 'api', 'cdn', 'img', 'x'])}{numbers.randint(1, 9999)}"
        host = f"{part}.{site_name(numbers.randrange(len(SHAPES)))}"
        for _ in range(numbers.choice([1, 1, 1, 2, 4])):
            command += ["--output", "/dev/null", f"{scheme}://{host}/{page(numbers)}"]
    _run(*command)


def _wget(job: Job, _directory: Path) -> None:
    numbers = job.random()
    for _ in range(job.flows):
        scheme = numbers.choice(["http", "https", "https"])
        urls = [f"{scheme}://{server_address(job.kind)}/{page(numbers)}" for _ in range(numbers.choice([1, 1, 3]))]
        _run("wget", "--quiet", "--output-document=/dev/null", "--no-check-certificate", "--tries=1", "--timeout=10",
             "--no-hsts", f"--bind-address={job.client}", *urls)  # fmt: skip


def _openssl(job: Job, _directory: Path) -> None:
    """Openssl s_client; -reconnect makes five more connections that resume the first."""
    numbers = job.random()
    port = numbers.choice(list(OPENSSL_PORTS))
    options = numbers.choice(
        [[], ["-tls1_2"], ["-groups", "P-256"], ["-alpn", "h2,http/1.1"], ["-cipher", "ECDHE+AESGCM"]]
    )
    again = job.flows >= 6 and numbers.random() < 0.5
    for _ in range(1 if again else job.flows):
        request = f"GET /www/{page(numbers)} HTTP/1.0\r\n\r\n".encode()
        _run("openssl", "s_client", "-quiet", "-no_ign_eof", *options, *(["-reconnect"] if again else []),
             "-servername", site_name(numbers.randrange(9)), "-bind", f"{job.client}:0",
             "-connect", f"{server_address(job.kind)}:{port}", feed=request, seconds=10)  # fmt: skip


def _dtls(job: Job, _directory: Path) -> None:
    numbers = job.random()
    lines = b"".join(
        base64.b64encode(numbers.randbytes(numbers.randint(10, 500))) + b"\n" for _ in range(numbers.randint(3, 20))
    )
    command = " ".join(
        ["openssl", "s_client", "-quiet", numbers.choice(["-dtls", "-dtls1_2"]), "-bind", f"{job.client}:0",
         "-connect", f"{server_address(job.kind)}:{numbers.choice(DTLS_PORTS)}"]
    )  # fmt: skip
    with contextlib.suppress(ProgramError):  # it is ended by the limit: DTLS has no end that s_client waits for
        _run(
            "timeout", "3", "sh", "-c", f'while read -r line; do echo "$line"; sleep 0.1; done | {command}', feed=lines
        )


# --- logins, copies ------------------------------------------------------------------------------------


def _ssh_options(job: Job, directory: Path, numbers: random.Random) -> list[str]:
    settings = ("BatchMode=yes", "LogLevel=ERROR", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null",
                f"BindAddress={job.client}")  # fmt: skip
    options = ["-F", "/dev/null", "-i", f"{directory}/keys/ssh_client"]
    options += [part for setting in settings for part in ("-o", setting)]
    more = numbers.choice(
        [[], ["-c", "aes128-ctr"], ["-o", "KexAlgorithms=curve25519-sha256"], ["-o", "Compression=yes"]]
    )
    return [*options, *more]


def _ssh(job: Job, directory: Path) -> None:
    numbers = job.random()
    if numbers.random() < 0.3:  # somebody types
        keys = [numbers.choice(["l", "s", " ", "-", "a", "\\n"]) for _ in range(numbers.randint(5, 25))]
        typing = "".join(f"printf '{key}'; sleep 0.0{numbers.randint(3, 9)}; " for key in keys)
        options = " ".join(f"'{option}'" for option in _ssh_options(job, directory, numbers))
        log_in = f"ssh -tt {options} root@{server_address(job.kind)}"
        _run("sh", "-c", f"({typing} printf '\\nexit\\n'; sleep 0.2) | {log_in} || true", seconds=10)
        return
    command = f"head -c {int(10 ** numbers.uniform(1, 5))} /dev/urandom | base64"
    _run("ssh", *_ssh_options(job, directory, numbers), f"root@{server_address(job.kind)}", command)


def _scratch(job: Job, directory: Path) -> Path:
    path = directory / "fetched" / f"{job.kind}-{job.seed}"
    path.mkdir(parents=True, exist_ok=True)
    return path


def _scp(job: Job, directory: Path) -> None:
    numbers = job.random()
    where = _scratch(job, directory)
    remote = f"root@{server_address(job.kind)}"
    for count in range(job.flows):
        options = _ssh_options(job, directory, numbers)
        size = numbers.choice(page_sizes())
        if count % 2:
            local = where / "up"
            local.write_bytes(numbers.randbytes(size))
            _run("scp", *options, str(local), f"{remote}:{directory}/fetched/up-{job.seed}")
        else:
            _run(
                "sftp",
                *options,
                "-b",
                "-",
                remote,
                feed=f"ls {directory}/www/t\nget {directory}/www/r/{size} {where}/down\nbye\n".encode(),
            )
    shutil.rmtree(where, ignore_errors=True)


def _rsync_ssh(job: Job, directory: Path) -> None:
    numbers = job.random()
    where = _scratch(job, directory)
    shell = " ".join(["ssh", *_ssh_options(job, directory, numbers)])
    kind = numbers.choice(["gzip", "zip", "jpeg", "plain"])
    _run("rsync", "-a", "-e", shell, f"root@{server_address(job.kind)}:{directory}/files/{kind}/", str(where))
    shutil.rmtree(where, ignore_errors=True)


def _rsync(job: Job, directory: Path) -> None:
    numbers = job.random()
    where = _scratch(job, directory)
    kind = numbers.choice(["gzip", "zip", "jpeg", "plain", "xz"])
    _run("rsync", "-a", f"--address={job.client}", f"rsync://{server_address(job.kind)}/files/{kind}/", str(where))
    shutil.rmtree(where, ignore_errors=True)


def _git(job: Job, directory: Path) -> None:
    numbers = job.random()
    where = _scratch(job, directory)
    options = ["--depth", str(numbers.randint(1, 5))] if numbers.random() < 0.5 else []
    _run("git", "clone", "-q", *options, f"git://{server_address(job.kind)}/project.git", str(where / "out"))
    shutil.rmtree(where, ignore_errors=True)


def _git_ssh(job: Job, directory: Path) -> None:
    numbers = job.random()
    where = _scratch(job, directory)
    shell = " ".join(["ssh", *_ssh_options(job, directory, numbers)])
    _run("git", "-c", f"core.sshCommand={shell}", "-c", "safe.directory=*", "clone", "-q",
         f"root@{server_address(job.kind)}:{directory}/git/project.git", str(where / "out"))  # fmt: skip
    shutil.rmtree(where, ignore_errors=True)


def _ffmpeg(job: Job, _directory: Path) -> None:
    numbers = job.random()
    sound = [
        "-f",
        "lavfi",
        "-i",
        f"sine=frequency={numbers.randint(200, 900)}",
        "-ac",
        "1",
        "-ar",
        "8000",
        "-acodec",
        "pcm_mulaw",
    ]
    picture = ["-f", "lavfi", "-i", "testsrc=size=160x120:rate=15", "-vcodec", "mpeg4", "-b:v", "200k"]
    _run("ffmpeg", "-loglevel", "error", "-re", *numbers.choice([sound, picture]), "-t", str(numbers.randint(2, 5)),
         "-f", "rtp", f"rtp://{server_address(job.kind)}:5004")  # fmt: skip


# --- browser ---------------------------------------------------------------------------------------------


def spki_hashes(directory: Path) -> str:
    """The certificates that Chromium is to trust, as its option wants them."""
    hashes = []
    for index in range(len(SHAPES)):
        leaf = x509.load_pem_x509_certificate((directory / "keys" / f"chain{index}.crt").read_bytes())
        key = leaf.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        hashes.append(base64.b64encode(hashlib.sha256(key).digest()).decode())
    return ",".join(hashes)


def _chromium(job: Job, directory: Path) -> None:
    """One page with pictures from many sites."""
    numbers = job.random()
    profile = directory / "fetched" / f"profile-{job.seed}"
    address = server_address(job.kind)
    quic = job.kind == "chromium-quic"
    origins, pictures = [], []
    if job.kind == "chromium-http1":
        for _ in range(job.flows):
            host = f"h{numbers.randint(1, 99999)}.{site_name(numbers.randrange(len(SHAPES)))}"
            pictures += [f"https://{host}:{numbers.choice(BROWSER_PORTS)}/{page(numbers)}"]
    else:
        ports = [(index, QUIC_FIRST_PORT + index + offset) for index in range(len(SHAPES)) for offset in (0, 20)]
        if not quic:
            ports = [(index, port) for index in range(len(SHAPES)) for port in BROWSER_PORTS]
        for index, port in numbers.sample(ports, min(job.flows, len(ports))):
            host = f"h{numbers.randint(1, 99999)}.{site_name(index)}"
            origins.append(f"{host}:{port}")
            for _ in range(numbers.choice([1, 2, 4])):
                pictures.append(f"https://{host}:{port}/{page(numbers)}")
    album = directory / "fetched" / f"page-{job.seed}.html"
    album.parent.mkdir(parents=True, exist_ok=True)
    album.write_text("<!doctype html>" + "".join(f'<img src="{url}">' for url in pictures), encoding="utf-8")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
               "--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio",
               "--disable-default-apps", "--no-proxy-server", f"--user-data-dir={profile}", "--disable-extensions",
               f"--host-resolver-rules=MAP * {address}", "--virtual-time-budget=4000", "--timeout=9000",
               f"--ignore-certificate-errors-spki-list={spki_hashes(directory)}"]  # fmt: skip
    if quic:
        options += ["--enable-quic", f"--origin-to-force-quic-on={','.join(origins)}"]
    else:
        options += ["--disable-quic"]
    with contextlib.suppress(FileNotFoundError):
        _run("chromium", *options, "--dump-dom", f"file://{album}", seconds=_BROWSER_SECONDS)
    shutil.rmtree(profile, ignore_errors=True)


# --- HTTP/3 by aioquic, which wants a loop of its own ------------------------------------------------------


def fetch_http3(job: Job) -> None:
    """Fetch pages over HTTP/3, one connection a flow."""
    asyncio.run(asyncio.wait_for(_fetch_http3(job), _SECONDS))


async def _fetch_http3(job: Job) -> None:
    from aioquic.asyncio.client import connect
    from aioquic.asyncio.protocol import QuicConnectionProtocol
    from aioquic.h3.connection import H3_ALPN, H3Connection
    from aioquic.h3.events import DataReceived
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.events import ProtocolNegotiated

    numbers = job.random()

    class Client(QuicConnectionProtocol):
        http: Any = None
        waiting: dict[int, asyncio.Future[None]]

        def quic_event_received(self, event: Any) -> None:
            if isinstance(event, ProtocolNegotiated):
                self.http, self.waiting = H3Connection(self._quic), {}
            if self.http is None:
                return
            for received in self.http.handle_event(event):
                if isinstance(received, DataReceived) and received.stream_ended:
                    waiting = self.waiting.pop(received.stream_id, None)
                    if waiting and not waiting.done():
                        waiting.set_result(None)

        async def fetch(self, host: str, path: str) -> None:
            stream = self._quic.get_next_available_stream_id()
            self.waiting[stream] = asyncio.get_running_loop().create_future()
            head = [
                (b":method", b"GET"),
                (b":scheme", b"https"),
                (b":authority", host.encode()),
                (b":path", b"/" + path.encode()),
            ]
            self.http.send_headers(stream, head, end_stream=True)
            waiting = self.waiting[stream]
            self.transmit()
            await asyncio.wait_for(waiting, 8)

    for _ in range(job.flows):
        index = numbers.randrange(len(SHAPES))
        configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=site_name(index))
        configuration.verify_mode = ssl.CERT_NONE
        async with connect(
            server_address(job.kind), QUIC_FIRST_PORT + index, configuration=configuration, create_protocol=Client,
        ) as client:  # fmt: skip
            assert isinstance(client, Client)
            for _ in range(numbers.choice([1, 1, 3, 10])):
                await client.fetch(site_name(index), page(numbers))
                if numbers.random() < 0.2:
                    await asyncio.sleep(0.05)


_DOERS: dict[str, Callable[[Job, Path], None]] = {
    "web-curl-http1": lambda job, _: _curl(job, "--http1.1"),
    "web-curl-http2": lambda job, _: _curl(job, "--http2"),
    "web-curl-tls12": lambda job, _: _curl(job, "--tls-max", "1.2"),
    "web-curl-clear": lambda job, _: _curl(job, scheme="http"),
    "web-curl-caddy": lambda job, _: _curl(job),
    "web-wget": _wget,
    "tls-openssl": _openssl,
    "dtls-openssl": _dtls,
    "ssh-command": _ssh,
    "ssh-copy": _scp,
    "rsync-ssh": _rsync_ssh,
    "rsync": _rsync,
    "git": _git,
    "git-ssh": _git_ssh,
    "rtp-ffmpeg": _ffmpeg,
    "chromium-http1": _chromium,
    "chromium-http2": _chromium,
    "chromium-quic": _chromium,
}
