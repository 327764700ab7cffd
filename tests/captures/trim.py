"""Cuts a capture to the first packets of each flow, so that it is small enough for a repository.

    python tests/captures/trim.py SOURCE DESTINATION [PACKETS]

What is kept stays as it was, byte for byte from the IP header on; link-layer headers, which hold nothing but
the recording machines' addresses, are dropped.
"""

import hashlib
import struct
import sys
from collections import Counter
from pathlib import Path

from middlebox.packet import Fragment, Packet, decode
from middlebox.shells.capture import Capture, CaptureError

DEFAULT_PACKETS = 24
_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 101)
"Little endian, microseconds, raw IP."


def trim(source: str, packets_per_flow: int) -> bytes:
    """A pcap file with the first packets of each flow of `source`."""
    seen: Counter[object] = Counter()
    kept = [_HEADER]
    for time, packet in Capture(source):
        flow = _flow_of(packet)
        seen[flow] += 1
        if seen[flow] <= packets_per_flow:
            seconds, microseconds = divmod(round(time * 1_000_000), 1_000_000)
            kept.append(struct.pack("<IIII", seconds, microseconds, len(packet), len(packet)) + packet)
    return b"".join(kept)


def _flow_of(raw: bytes) -> object:
    packet = decode(raw)
    if isinstance(packet, Packet):
        return min(packet.key, packet.reverse_key)
    return packet.identity[:3] if isinstance(packet, Fragment) else None


def main(arguments: list[str]) -> int:
    """Trim one capture and print its digest."""
    if len(arguments) not in (2, 3):
        print("usage: trim.py SOURCE DESTINATION [PACKETS]", file=sys.stderr)
        return 2
    source, destination = arguments[:2]
    try:
        data = trim(source, int(arguments[2]) if len(arguments) == 3 else DEFAULT_PACKETS)
    except CaptureError as error:
        print(error, file=sys.stderr)
        return 2
    Path(destination).write_bytes(data)
    print(f"sha256: {hashlib.sha256(data).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
