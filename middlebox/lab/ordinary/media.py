"""Sound, pictures, games and peers: both ends of what runs for seconds rather than for a request.

Rule of this file: every stream has an end, on either side.
"""

import asyncio
import json
import random
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any

from middlebox.lab.ordinary.plan import Job, server_address

GAME_PORT, RTP_PORT, SIP_PORT = 27015, 30000, 5060
_QUIET_SECONDS = 1.0
TORRENTS = ("bittorrent-tcp", "bittorrent-tcp-encrypted", "bittorrent-utp", "bittorrent-utp-encrypted")
TORRENT_PORT = 6881
_TORRENT_FILES = 4


def _udp(address: str, port: int = 0) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, port))
    return made


# --- games -------------------------------------------------------------------------------------------


def answer_games(address: str) -> None:
    """Send the state of the world to whoever has sent a command."""
    numbers = random.Random()
    with _udp(address, GAME_PORT) as listener:
        ticks: dict[Any, int] = {}
        while True:
            command, client = listener.recvfrom(2048)
            ticks[client] = ticks.get(client, 0) + 1
            snapshot = struct.pack("<IIH", ticks[client], ticks[client] - 1, len(command))
            snapshot += bytes(numbers.choices(range(40), k=numbers.randint(20, 60))) + numbers.randbytes(
                numbers.randint(5, 250)
            )
            listener.sendto(command[:4] + snapshot, client)


def play(job: Job) -> None:
    """Several games at once: short commands many times a second."""
    numbers = job.random()
    sockets = [_udp(job.client) for _ in range(job.flows)]
    sessions = [numbers.randbytes(4) for _ in sockets]
    tick = numbers.choice([0.016, 0.033, 0.05])
    for count in range(int(numbers.uniform(1, 3) / tick)):
        for each, session in zip(sockets, sessions, strict=True):
            command = struct.pack("<IIB", count, max(0, count - 2), numbers.randint(0, 15))
            command += numbers.randbytes(numbers.randint(4, 40))
            each.sendto(session + command, (server_address(job.kind), GAME_PORT))
        time.sleep(tick)
    for each in sockets:
        each.close()


# --- telephony ---------------------------------------------------------------------------------------


def _rtp(numbers: random.Random, packet: int, stream: int, payload_type: int, step: int, payload: bytes) -> bytes:
    marker = 0x80 if packet == 0 else 0
    return struct.pack(">BBHII", 0x80, marker | payload_type, packet & 0xFFFF, packet * step, stream) + payload


def _send_stream(out: socket.socket, peer: tuple[str, int], numbers: random.Random, seconds: float) -> None:
    """One direction of a call: G.711, Opus or video, as RTP."""
    stream = numbers.getrandbits(32)
    payload_type, step, interval = numbers.choice([(0, 160, 0.02), (8, 160, 0.02), (111, 960, 0.02), (96, 3000, 0.04)])
    packet = 0
    for _ in range(int(seconds / interval)):
        for _ in range(numbers.randint(1, 4) if payload_type == 96 else 1):
            size = {0: 160, 8: 160, 111: numbers.randint(30, 120)}.get(payload_type) or numbers.randint(200, 1100)
            try:
                out.sendto(_rtp(numbers, packet, stream, payload_type, step, numbers.randbytes(size)), peer)
            except OSError:
                return
            packet += 1
        time.sleep(interval)


def answer_rtp(address: str) -> None:
    """Answer every stream with one of our own."""
    numbers = random.Random()
    listener = _udp(address, RTP_PORT)
    known: set[Any] = set()
    while True:
        _, client = listener.recvfrom(2048)
        if client not in known:
            known.add(client)
            arguments = (listener, client, random.Random(numbers.random()), numbers.uniform(1, 3))
            threading.Thread(target=_send_stream, args=arguments, daemon=True).start()


def call(job: Job) -> None:
    """Several RTP streams at once."""
    numbers = job.random()
    threads = []
    for _ in range(job.flows):
        out = _udp(job.client)
        peer = (server_address(job.kind), RTP_PORT)
        arguments = (out, peer, random.Random(numbers.random()), numbers.uniform(1, 3))
        threads.append(threading.Thread(target=_send_stream, args=arguments, daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join()


def answer_sip(address: str) -> None:
    """Accept every registration and call."""
    with _udp(address, SIP_PORT) as listener:
        while True:
            request, client = listener.recvfrom(4096)
            head = request.split(b"\r\n\r\n")[0].split(b"\r\n")
            if head[0].startswith(b"ACK"):
                continue
            kept = [
                line
                for line in head[1:]
                if line.split(b":")[0].lower() in (b"via", b"from", b"to", b"call-id", b"cseq")
            ]
            for status in ([b"100 Trying", b"180 Ringing"] if head[0].startswith(b"INVITE") else []) + [b"200 OK"]:
                answer = b"SIP/2.0 " + status + b"\r\n" + b"\r\n".join(kept) + b"\r\nContent-Length: 0\r\n\r\n"
                listener.sendto(answer, client)


def telephone(job: Job) -> None:
    """Register, call, hang up, by SIP."""
    numbers = job.random()
    server = server_address(job.kind)
    for _ in range(job.flows):
        with _udp(job.client) as phone:
            phone.settimeout(_QUIET_SECONDS)
            port = phone.getsockname()[1]
            call_id, tag = f"{numbers.getrandbits(64):x}", f"{numbers.getrandbits(32):x}"
            methods = ["REGISTER"] if numbers.random() < 0.5 else ["REGISTER", "INVITE", "ACK", "BYE"]
            for count, method in enumerate(methods, start=1):
                offer = ("v=0", f"o=- {count} 1 IN IP4 {job.client}", "s=-", f"c=IN IP4 {job.client}", "t=0 0",
                         "m=audio 40000 RTP/AVP 0 8", "")  # fmt: skip
                body = "\r\n".join(offer) if method == "INVITE" else ""
                request = (
                    f"{method} sip:bob@{server} SIP/2.0",
                    f"Via: SIP/2.0/UDP {job.client}:{port};branch=z9hG4bK{numbers.getrandbits(40):x}",
                    "Max-Forwards: 70",
                    f"From: <sip:alice@{server}>;tag={tag}",
                    f"To: <sip:bob@{server}>",
                    f"Call-ID: {call_id}@{job.client}",
                    f"CSeq: {count} {method}",
                    f"Contact: <sip:alice@{job.client}:{port}>",
                    f"User-Agent: phone/{numbers.randint(1, 9)}",
                    f"Content-Length: {len(body)}",
                    "",
                    body,
                )
                phone.sendto("\r\n".join(request).encode(), (server, SIP_PORT))
                while method != "ACK" and b" 200 OK" not in phone.recv(4096):
                    pass
                time.sleep(0.05)


# --- video calls -------------------------------------------------------------------------------------


def _only_address(address: str) -> None:
    """Let aioice offer one address: the host has one for each kind."""
    from aioice import ice

    def only(*_arguments: object, **_options: object) -> list[str]:
        return [address]

    ice.get_host_addresses = only


def _peer() -> Any:
    from aiortc import RTCConfiguration, RTCPeerConnection

    return RTCPeerConnection(RTCConfiguration(iceServers=[]))  # no STUN server: nothing of this leaves the lab


def _signals(directory: Path) -> str:
    return str(directory / "calls.sock")


async def answer_calls(directory: Path) -> None:
    """Accept video calls; the two ends agree over a Unix socket, which is no traffic."""
    _only_address(server_address("webrtc-call"))
    from aiortc import RTCSessionDescription
    from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = _peer()
        offer = json.loads(await reader.readline())

        def opened(channel: Any) -> None:
            channel.on("message", lambda message: channel.send(message * 3))

        peer.on("datachannel", opened)
        await peer.setRemoteDescription(RTCSessionDescription(**offer))
        for each in peer.getTransceivers():
            each.sender.replaceTrack(AudioStreamTrack() if each.kind == "audio" else VideoStreamTrack())
            each.direction = "sendrecv"
        await peer.setLocalDescription(await peer.createAnswer())
        description = {"sdp": peer.localDescription.sdp, "type": peer.localDescription.type}
        writer.write(json.dumps(description).encode() + b"\n")
        await reader.read()
        await peer.close()
        writer.close()

    await asyncio.start_unix_server(accept, _signals(directory), limit=1 << 20)


def video_call(job: Job, directory: Path) -> None:
    """One video call with sound, picture and messages."""
    _only_address(job.client)
    asyncio.run(asyncio.wait_for(_video_call(job, directory), 20))


async def _video_call(job: Job, directory: Path) -> None:
    from aiortc import RTCSessionDescription
    from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

    numbers = job.random()
    peer = _peer()
    channel = peer.createDataChannel("chat")
    content = numbers.choice(["audio", "video", "both", "data"])
    if content in ("audio", "both"):
        peer.addTrack(AudioStreamTrack())
    if content in ("video", "both"):
        peer.addTrack(VideoStreamTrack())
    await peer.setLocalDescription(await peer.createOffer())
    reader, writer = await asyncio.open_unix_connection(_signals(directory), limit=1 << 20)
    offer = {"sdp": peer.localDescription.sdp, "type": peer.localDescription.type}
    writer.write(json.dumps(offer).encode() + b"\n")
    await peer.setRemoteDescription(RTCSessionDescription(**json.loads(await reader.readline())))
    for _ in range(int(numbers.uniform(3, 7) * 4)):
        await asyncio.sleep(0.25)
        if channel.readyState == "open" and numbers.random() < 0.4:
            channel.send("x" * numbers.randint(1, 900))
    await peer.close()
    writer.close()


# --- peers -------------------------------------------------------------------------------------------


def _session(kind: str, address: str, port: int) -> Any:
    import libtorrent

    encrypted, over_utp = kind.endswith("encrypted"), "utp" in kind
    policy = 0 if encrypted else 2  # pe_forced, pe_disabled
    return libtorrent.session(
        {
            "listen_interfaces": f"{address}:{port}", "outgoing_interfaces": address,
            "enable_dht": kind == "bittorrent-dht", "dht_bootstrap_nodes": "",
            "dht_restrict_routing_ips": False, "dht_restrict_search_ips": False,
            "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
            "allow_multiple_connections_per_ip": True,
            "enable_outgoing_utp": over_utp, "enable_incoming_utp": over_utp,
            "enable_outgoing_tcp": not over_utp, "enable_incoming_tcp": not over_utp,
            "out_enc_policy": policy, "in_enc_policy": policy, "allowed_enc_level": 2 if encrypted else 1,
            "upload_rate_limit": 2_000_000,
        }
    )  # fmt: skip


def _torrent(directory: Path, index: int) -> Any:
    import libtorrent

    name = directory / "torrents" / f"{index}.bin"
    if not name.exists():
        name.parent.mkdir(exist_ok=True)
        name.write_bytes(random.Random(index).randbytes(30_000 * (index + 1)))
    files = libtorrent.file_storage()
    libtorrent.add_files(files, str(name))
    made = libtorrent.create_torrent(files, 16384)
    libtorrent.set_piece_hashes(made, str(name.parent))
    description: Any = libtorrent.bdecode(libtorrent.bencode(made.generate()))
    return libtorrent.torrent_info(description)


def _add(session: Any, torrent: Any, where: Path) -> Any:
    import libtorrent

    parameters = libtorrent.add_torrent_params()
    parameters.ti = torrent
    parameters.save_path = str(where)
    return session.add_torrent(parameters)


def seed_torrents(directory: Path) -> None:
    """Offer a few files to every peer."""
    sessions = []
    for kind in TORRENTS:
        session = _session(kind, server_address(kind), TORRENT_PORT)
        for index in range(_TORRENT_FILES):
            _add(session, _torrent(directory, index), directory / "torrents")
        sessions.append(session)
    sessions.append(_session("bittorrent-dht", server_address("bittorrent-dht"), TORRENT_PORT))
    threading.Event().wait()


def fetch_torrents(job: Job, directory: Path) -> None:
    """Fetch files from a peer, each flow with a peer identity of its own."""
    numbers = job.random()
    for count in range(job.flows):
        where = directory / "fetched" / f"{job.kind}-{job.seed}-{count}"
        where.mkdir(parents=True)
        session = _session(job.kind, job.client, numbers.randint(20000, 60000))
        handle = _add(session, _torrent(directory, numbers.randrange(_TORRENT_FILES)), where)
        end = time.monotonic() + 6
        while time.monotonic() < end and not handle.status().is_seeding:
            if handle.status().num_peers == 0:
                handle.connect_peer((server_address(job.kind), TORRENT_PORT))
            time.sleep(0.2)
        del handle
        session.pause()
        time.sleep(0.1)
        del session


def ask_peers(job: Job) -> None:
    """Look for peers by DHT."""
    import libtorrent

    numbers = job.random()
    for _ in range(job.flows):
        session = _session(job.kind, job.client, numbers.randint(20000, 60000))
        session.add_dht_node((server_address(job.kind), TORRENT_PORT))
        time.sleep(0.3)
        session.dht_get_peers(libtorrent.sha1_hash(numbers.randbytes(20)))
        time.sleep(0.7)
        del session
