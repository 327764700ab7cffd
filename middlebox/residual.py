"""What is refused for a while because it resembles a flow that a rule refused.

The one rule: a block names what later flows must have in common with the refused one, and ends by itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from middlebox.policy.rule import Residual, ResidualScope
from middlebox.verdict import Verdict

MAX_BLOCKS = 65_536
"Ours: blocks kept at a time. The oldest goes first; Linux' ipset keeps as many by default (maxelem, ipset(8))."

Key = tuple[bytes | None, bytes | None, int | None, int | None]
"Client, server, transport and server port; None for what does not matter."


class Party(Protocol):
    """Who talks to whom. A `Flow` is one."""

    client: bytes
    server: bytes
    server_port: int
    transport: int


@dataclass(slots=True, frozen=True)
class Block:
    """One residual block as the kernel may carry it out."""

    rule: str
    verdict: Verdict
    client: bytes | None
    server: bytes | None
    transport: int | None
    port: int | None
    seconds: float
    "How long it lasts from now on."


@dataclass(slots=True, frozen=True)
class _Standing:
    rule: str
    verdict: Verdict
    until: float


class Blocks:
    """The residual blocks of one engine, by what they match. Never more than `at_most`."""

    def __init__(self, at_most: int = MAX_BLOCKS) -> None:
        self._at_most = at_most
        self._standing: dict[Key, _Standing] = {}
        "In the order in which they were made."
        self._scopes: set[frozenset[ResidualScope]] = set()
        "The scopes that any block has had: so many lookups a new flow costs."

    def __len__(self) -> int:
        return len(self._standing)

    def add(self, party: Party, residual: Residual, rule: str, verdict: Verdict, now: float) -> Block:
        """Refuse what is like `party` from now on. A block that stands already begins anew."""
        key = _key(party, residual.scope)
        self._standing.pop(key, None)
        if len(self._standing) >= self._at_most:
            del self._standing[next(iter(self._standing))]
        self._standing[key] = _Standing(rule, verdict, now + residual.seconds)
        self._scopes.add(residual.scope)
        return Block(rule, verdict, *key, seconds=residual.seconds)

    def find(self, party: Party, now: float) -> tuple[str, Verdict] | None:
        """The rule and verdict of a block that stands against `party`."""
        for scope in self._scopes:
            key = _key(party, scope)
            standing = self._standing.get(key)
            if standing is None:
                continue
            if now < standing.until:
                return standing.rule, standing.verdict
            del self._standing[key]
        return None

    def keep(self, rules: frozenset[str], now: float) -> Iterator[Block]:
        """Lift the blocks of all other rules; yield what still stands."""
        self._standing = {
            key: standing for key, standing in self._standing.items() if standing.rule in rules and now < standing.until
        }
        for key, standing in self._standing.items():
            yield Block(standing.rule, standing.verdict, *key, seconds=standing.until - now)


def _key(party: Party, scope: frozenset[ResidualScope]) -> Key:
    has_port = ResidualScope.SERVER_PORT in scope
    return (
        party.client if ResidualScope.CLIENT in scope else None,
        party.server if ResidualScope.SERVER in scope else None,
        party.transport if has_port else None,
        party.server_port if has_port else None,
    )
