"""Who does what: the kinds of ordinary traffic, how often each occurs, and the jobs of one run.

Rule of this file: pure. The same number of flows and the same seed give the same plan, whatever the machine.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import Enum
from ipaddress import IPv4Address
from typing import Any


class Worker(Enum):
    """What carries out the jobs of a kind on the client."""

    LIBRARY = "library"
    "A Python library, within one long process."
    PROGRAM = "program"
    "A program of its own for each job."
    BROWSER = "browser"
    "A browser: heavy, so few at a time."
    MEDIA = "media"
    "Calls and streams: they take seconds, and little else."


@dataclass(slots=True, frozen=True)
class Kind:
    """One kind of ordinary traffic.

    Args:
        name: The label of its flows.
        share: Flows of this kind among 100,000.
        flows: Flows that one job makes, about.
        worker: What carries out its jobs.
    """

    name: str
    share: int
    flows: int = 1
    worker: Worker = Worker.LIBRARY


def _kinds(worker: Worker, *rows: tuple[str, int, int]) -> tuple[Kind, ...]:
    return tuple(Kind(name, share, flows, worker) for name, share, flows in rows)


KINDS: tuple[Kind, ...] = (
    # The web.
    *_kinds(
        Worker.PROGRAM,
        ("web-curl-http1", 4500, 10),
        ("web-curl-http2", 4500, 10),
        ("web-curl-tls12", 2500, 10),
        ("web-curl-clear", 3000, 10),
        ("web-curl-caddy", 2500, 10),
        ("web-wget", 500, 2),
        ("tls-openssl", 3000, 6),
    ),
    *_kinds(
        Worker.LIBRARY,
        ("web-python", 8000, 8),
        ("web-python-server", 6000, 8),
        ("web-python-tls12", 2500, 8),
        ("web-httpx-http2", 1000, 4),
        ("web-clear", 3000, 8),
        ("websocket", 1200, 2),
        ("websocket-tls", 800, 2),
        ("http3-aioquic", 1500, 2),
    ),
    *_kinds(
        Worker.BROWSER,
        ("chromium-http1", 2500, 60),
        ("chromium-http2", 1200, 40),
        ("chromium-quic", 600, 20),
    ),
    # Names, time, machines among themselves.
    *_kinds(
        Worker.LIBRARY,
        ("dns-udp", 9000, 20),
        ("dns-tcp", 1500, 10),
        ("dns-tls", 1500, 5),
        ("ntp", 1500, 10),
        ("syslog-udp", 400, 5),
        ("stun", 500, 5),
        ("ping", 900, 5),
    ),
    # Databases and queues.
    *_kinds(
        Worker.LIBRARY,
        ("redis", 5000, 10),
        ("memcached", 3500, 10),
        ("postgresql", 800, 4),
        ("postgresql-tls", 800, 4),
        ("mariadb", 800, 4),
        ("mariadb-tls", 500, 4),
        ("mqtt", 1500, 4),
        ("mqtt-tls", 700, 4),
    ),
    # Mail and files.
    *_kinds(
        Worker.LIBRARY,
        ("smtp", 1200, 4),
        ("smtp-starttls", 800, 4),
        ("smtps", 500, 4),
        ("imap", 500, 4),
        ("imap-starttls", 300, 4),
        ("imaps", 400, 4),
        ("pop3", 400, 4),
        ("pop3-starttls", 200, 4),
        ("pop3s", 300, 4),
        ("ftp", 700, 4),
        ("ftps", 300, 4),
    ),
    *_kinds(
        Worker.PROGRAM,
        ("ssh-command", 400, 1),
        ("ssh-copy", 200, 2),
        ("rsync-ssh", 100, 1),
        ("rsync", 300, 1),
        ("git", 200, 1),
        ("git-ssh", 60, 1),
    ),
    *_kinds(Worker.LIBRARY, ("ssh-paramiko", 200, 1), ("ssh-asyncssh", 100, 1)),
    # Files as they are, over bare TCP: compressed and encrypted ones look random from the first byte.
    *_kinds(
        Worker.LIBRARY,
        ("file-gzip", 700, 5),
        ("file-zip", 700, 5),
        ("file-xz", 400, 5),
        ("file-7z", 500, 5),
        ("file-gpg", 700, 5),
        ("file-openssl-enc", 700, 5),
        ("file-random", 700, 5),
        ("file-jpeg", 300, 5),
        ("file-mp4", 300, 5),
    ),
    # Protocols that nobody has documented: games, messengers, sensors.
    *_kinds(
        Worker.LIBRARY,
        ("custom-tcp-length16", 2500, 10),
        ("custom-tcp-length32", 2500, 10),
        ("custom-tcp-random", 2500, 10),
        ("custom-tcp-key-exchange", 1500, 10),
        ("custom-tcp-protobuf", 1500, 10),
        ("custom-tcp-msgpack", 1500, 10),
        ("custom-tcp-json", 1500, 10),
        ("custom-tcp-text", 1200, 10),
        ("custom-tcp-base64", 500, 10),
        ("custom-tls", 2000, 10),
        ("custom-udp-random", 2500, 10),
        ("custom-udp-counter", 1500, 10),
        ("custom-udp-key-exchange", 800, 10),
        ("custom-udp-protobuf", 800, 10),
    ),
    # Sound, pictures, games.
    *_kinds(
        Worker.MEDIA,
        ("game-udp", 900, 12),
        ("rtp", 400, 6),
        ("sip", 600, 6),
        ("rtp-ffmpeg", 30, 1),
        ("webrtc-call", 60, 1),
        ("dtls-openssl", 100, 1),
    ),
    # Peers.
    *_kinds(
        Worker.MEDIA,
        ("bittorrent-tcp", 120, 2),
        ("bittorrent-tcp-encrypted", 120, 2),
        ("bittorrent-utp", 120, 2),
        ("bittorrent-utp-encrypted", 120, 2),
        ("bittorrent-dht", 120, 4),
    ),
)
"Shares need not add up to 100,000: they are weights."

KIND_OF: dict[str, Kind] = {kind.name: kind for kind in KINDS}

_FIRST_SERVER = IPv4Address("198.51.100.101")
_FIRST_CLIENT = IPv4Address("192.0.2.20")
CLIENTS = 24
"Client addresses, so that no two flows need the same pair of ports."
ROUND_FLOWS = 2500
"Flows of one round. Each round has a capture of its own, so no flow lies in two files."
_MARGIN = 1.04
"A plan asks for a little more than it must yield: now and then a program uses one connection where two were likely."


def server_address(kind: str) -> str:
    """The address of the server that answers this kind and nothing else: the truth about a flow lies in it."""
    return str(_FIRST_SERVER + [each.name for each in KINDS].index(kind))


def server_addresses() -> dict[str, str]:
    """The kind of each server address."""
    return {str(_FIRST_SERVER + index): kind.name for index, kind in enumerate(KINDS)}


def client_addresses() -> list[str]:
    """Every client address."""
    return [str(_FIRST_CLIENT + index) for index in range(CLIENTS)]


@dataclass(slots=True, frozen=True)
class Job:
    """One piece of work for the client.

    Args:
        kind: What to do.
        flows: How many flows to make, about.
        seed: Decides sizes, pauses and options.
        client: The address to do it from.
    """

    kind: str
    flows: int
    seed: int
    client: str

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> "Job":
        """What `to_json` wrote."""
        fields: dict[str, Any] = json.loads(line)
        return cls(**fields)

    def random(self) -> random.Random:
        """This job's own random numbers."""
        return random.Random(f"{self.kind} {self.seed}")


def make_plan(flows: int, seed: int, kinds: tuple[Kind, ...] = KINDS) -> list[list[Job]]:
    """The rounds of a run, each a list of jobs in the order of their start.

    Every kind occurs at least once in a run. Shares hold over the whole run, not in each round.

    Args:
        flows: How many flows the run is to make, at least about.
        seed: The same seed gives the same plan.
        kinds: Of what.
    """
    numbers = random.Random(f"plan {flows} {seed}")
    weight = sum(kind.share for kind in kinds)
    jobs = [
        Job(kind.name, size, numbers.getrandbits(48), numbers.choice(client_addresses()))
        for kind in kinds
        for size in _split(max(1, round(flows * _MARGIN * kind.share / weight)), kind.flows)
    ]
    numbers.shuffle(jobs)
    return list(_rounds(jobs))


def _split(flows: int, of_one_job: int) -> Iterator[int]:
    while flows > 0:
        yield min(flows, of_one_job)
        flows -= of_one_job


def _rounds(jobs: list[Job]) -> Iterator[list[Job]]:
    current: list[Job] = []
    flows = 0
    for job in jobs:
        current.append(job)
        flows += job.flows
        if flows >= ROUND_FLOWS:
            yield current
            current, flows = [], 0
    if current:
        yield current
