"""Git's own transport: a packet line that asks for a repository, and packet lines in answer (gitprotocol-pack).

The one rule: the length in front of each line, four hexadecimal digits, must fit the line.
"""

import re
from typing import ClassVar

from middlebox.detect.exchange import Exchange, Fit
from middlebox.evidence import Answer, Opinion

_REQUEST = re.compile(rb"[0-9a-f]{4}git-(?:upload-pack|receive-pack|upload-archive) [^\x00]")
_SERVICES = (b"git-upload-pack /", b"git-receive-pack /", b"git-upload-archive /")
_HEX = re.compile(rb"[0-9a-f]{0,4}")
_ANSWER = re.compile(rb"[0-9a-f]{4}(?:[0-9a-f]{40}|version |ERR |ACK|NAK|# serv)")
"An object's name, the version, an error (gitprotocol-common, gitprotocol-v2)."
_ANSWER_BEGUN = re.compile(
    rb"[0-9a-f]{0,4}|[0-9a-f]{4}(?:[0-9a-f]{0,39}|v(?:e(?:r(?:s(?:i(?:on?)?)?)?)?)?|E(?:RR?)?|A(?:C)?|N(?:A)?)"
)


def _is_request(data: bytes) -> Fit:
    if _REQUEST.match(data):
        return int(data[:4], 16) > len(_SERVICES[0])
    line = data[4:]
    return None if _HEX.fullmatch(data[:4]) and any(known.startswith(line) for known in _SERVICES) else False


def _is_answer(data: bytes) -> Fit:
    return True if _ANSWER.match(data) else None if _ANSWER_BEGUN.fullmatch(data[:48]) else False


class Git(Exchange):
    """Finds the request and the first line of its answer."""

    name: ClassVar[str] = "git"
    protocols: ClassVar[tuple[str, ...]] = ("git",)
    misses: ClassVar[str] = "Git over HTTP or SSH, which keep those names."
    client_begins: ClassVar[bytes] = b"0"
    server_begins: ClassVar[bytes] = b"0123456789abcdef"

    def judge(self, client: bytes, server: bytes) -> Answer:
        """A request for a repository, and packet lines."""
        asked, answered = _is_request(client), _is_answer(server)
        if asked is False or answered is False or (answered and not client):
            return Opinion.NO
        if asked and answered:
            return self.confirmed("packet lines answer the request for a repository")
        return self.probable("a packet line that asks for a repository") if asked else Opinion.MORE
