"""The flows of a capture and the kind of each, which its server's address tells.

Rule of this file: every flow gets a record. What no kind explains is called `noise` and counted, never dropped.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

_FILE_HEADER, _PACKET_HEADER = 24, struct.Struct("<IIII")
_ETHERNET, _IPV4 = 14, b"\x08\x00"
_ICMP, _TCP, _UDP = 1, 6, 17
_NAMES = {_ICMP: "icmp", _TCP: "tcp", _UDP: "udp"}
_ECHO, _ECHO_REPLY = 8, 0
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
NOISE = "noise"
"The label of flows that no job meant: ICMP errors, what a browser does of its own accord."


@dataclass(slots=True)
class Flow:
    """One flow of a capture."""

    transport: str
    source: str
    source_port: int
    destination: str
    destination_port: int
    label: str
    first: float
    packets: int = 0
    ended: bool = False

    def to_json(self, file: str) -> str:
        """One line of JSON."""
        return json.dumps(
            {
                "file": file,
                "l4": self.transport,
                "src": self.source,
                "sport": self.source_port,
                "dst": self.destination,
                "dport": self.destination_port,
                "packets": self.packets,
                "first": round(self.first, 6),
                "label": self.label,
                "kind": NOISE if self.label == NOISE else "ordinary",
            },
            separators=(",", ":"),
        )


def list_flows(capture: Path, kind_of_server: Mapping[str, str]) -> list[Flow]:
    """The flows of a capture in order of their first packet.

    Args:
        capture: As tcpdump writes it on Ethernet.
        kind_of_server: The kind of each server address.
    """
    kinds = {IPv4Address(address).packed: kind for address, kind in kind_of_server.items()}
    flows: list[Flow] = []
    open_flows: dict[tuple[int, bytes, bytes, bytes], Flow] = {}
    for seconds, packet in _packets(capture):
        if packet[12:14] != _IPV4 or len(packet) < _ETHERNET + 20:
            continue
        ip = packet[_ETHERNET:]
        transport = ip[9]
        if int.from_bytes(ip[6:8], "big") & 0x1FFF:  # a later fragment has no ports; it belongs to some flow's packet
            continue
        payload = ip[(ip[0] & 15) * 4 :]
        source, destination = ip[12:16], ip[16:20]
        flags = payload[13] if transport == _TCP and len(payload) > 13 else 0
        ports = payload[0:4]
        if transport == _ICMP:
            # One ping is one flow by its identifier; errors stand by themselves.
            ports = payload[4:6] + payload[4:6] if payload[:1] and payload[0] in (_ECHO, _ECHO_REPLY) else bytes(4)
        elif transport not in _NAMES:
            ports = bytes(4)
        forwards = (transport, source, destination, ports)
        backwards = (transport, destination, source, ports[2:4] + ports[0:2])
        flow = open_flows.get(forwards) or open_flows.get(backwards)
        opens = flags & (_SYN | _ACK) == _SYN
        if flow is None or (opens and flow.ended):
            if flow is not None:
                open_flows.pop(forwards, None)
                open_flows.pop(backwards, None)
            label = kinds.get(destination) or kinds.get(source) or NOISE
            if transport not in _NAMES or (transport == _ICMP and label != "ping"):
                label = NOISE
            number = (0, 0) if transport == _ICMP else struct.unpack(">HH", ports)
            flow = Flow(
                _NAMES.get(transport, str(transport)), str(IPv4Address(source)), number[0],
                str(IPv4Address(destination)), number[1], label, seconds,
            )  # fmt: skip
            open_flows[forwards] = flow
            flows.append(flow)
        flow.packets += 1
        flow.ended = flow.ended or bool(flags & (_FIN | _RST))
    return flows


def _packets(capture: Path) -> Iterator[tuple[float, bytes]]:
    content = capture.read_bytes()
    position = _FILE_HEADER
    while position + _PACKET_HEADER.size <= len(content):
        seconds, microseconds, captured, _ = _PACKET_HEADER.unpack_from(content, position)
        position += _PACKET_HEADER.size
        yield seconds + microseconds / 1e6, content[position : position + captured]
        position += captured
