"""The rsync daemon: both sides name their version in a line (rsync, clientserver.c, `exchange_protocols`).

The one rule: both must.
"""

import re
from typing import ClassVar

from middlebox.detect.exchange import Exchange, Fit, begins_with
from middlebox.evidence import Answer

_MARK = b"@RSYNCD: "
_VERSION = re.compile(rb"@RSYNCD: \d{2}(?:\.\d{1,3})?[ \n]")
_SHORTEST, _LONGEST = 12, 16


def _is_version(data: bytes) -> Fit:
    if len(data) < _SHORTEST:
        return begins_with(data[: len(_MARK)], _MARK) and None
    return True if _VERSION.match(data) else None if len(data) < _LONGEST and b"\n" not in data else False


class Rsync(Exchange):
    """Finds both version lines."""

    name: ClassVar[str] = "rsync"
    protocols: ClassVar[tuple[str, ...]] = ("rsync",)
    misses: ClassVar[str] = "Rsync over SSH, which keeps that name, and connections joined after their start."
    client_begins: ClassVar[bytes] = b"@"
    server_begins: ClassVar[bytes] = b"@"

    def judge(self, client: bytes, server: bytes) -> Answer:
        """A version line from each side."""
        return self.weigh(
            _is_version(client),
            _is_version(server),
            question="a version line of rsync from the client",
            answer="a version line of rsync from the server",
            link="version lines of rsync both ways",
        )
