"""Runs the real gateway around a toy engine, as a program inside a test's network namespace.

Usage: python -m tests.shells.driver '{"queue_num": 1, ...}' [--epoch-on-usr1]. The options are those of
`GatewayOptions`. Prints the ready line, on SIGUSR1 raises the epoch, and at the end prints the summary as JSON.
"""

import json
import re
import signal
import sys
from dataclasses import asdict
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from middlebox.dns_answer import answer
from middlebox.engine import Engine
from middlebox.packet import Packet, decode
from middlebox.policy.rule import All, DnsAnswer, Policy, Residual, ResidualScope, Rule
from middlebox.residual import Block
from middlebox.shells.errors import ShellError
from middlebox.shells.firewall import SAVED_VERDICTS
from middlebox.shells.gateway import Gateway, GatewayOptions
from middlebox.verdict import UNDECIDED, Action, Decision, Verdict

RATES = (128_000, 1_000_000, 10_000_000)
"What a payload may ask to be throttled to, bits a second: THROTTLE-128000;"

DNS_PORT = 53
ADDRESSES = (IPv4Address("203.0.113.7"), IPv6Address("2001:db8::7"))
DNS_RULES = {
    b"\x05" + kind.value[:5].encode(): Rule(kind.value, All(()), Action.DNS, dns=kind, addresses=ADDRESSES)
    for kind in DnsAnswer
}
"By the name's first label: five letters of the answer that is wanted."
THROTTLING_RULES = tuple(Rule(f"throttle-{rate}", All(()), Action.THROTTLE, rate=rate) for rate in RATES)
RESIDUAL_RULE = Rule("block", All(()), Action.DROP, residual=Residual(frozenset({ResidualScope.CLIENT}), 1))
"Makes the gateway have residual sets. What is blocked, payloads say: BLOCK client-port reset 2;"
BLOCK = re.compile(rb"BLOCK (\S+) (\S+) (\S+);")

KEYWORDS = {
    f"{verdict.name}-ME".encode(): Decision(verdict, settled=True, rule="keyword") for verdict in SAVED_VERDICTS
}
KEYWORDS |= {
    f"THROTTLE-{rate};".encode(): Decision(Verdict.THROTTLE, settled=True, rule="keyword", rate=rate) for rate in RATES
}
KEYWORDS |= {f"{verdict.name}-ONCE".encode(): Decision(verdict, settled=False) for verdict in Verdict}


class KeywordEngine(Engine):
    """Does what a packet's payload says: DROP-ME settles the flow, DROP-ONCE discards only that packet."""

    def __init__(self, policy: Policy, **options: Any) -> None:
        super().__init__(policy, **options)
        self._toy_blocks: list[Block] = []
        self._settled: dict[bytes, Decision] = {}

    def handle(self, raw: bytes, now: float) -> Decision:
        packet = decode(raw)
        assert isinstance(packet, Packet)
        self.counters.packets += 1
        if known := self._settled.get(packet.key):
            return known
        if b"RAISE" in packet.payload:
            raise RuntimeError("a bug in the engine")
        for name, rule in DNS_RULES.items():
            if packet.destination_port == DNS_PORT and name in packet.payload:
                return Decision(Verdict.DNS, settled=False, rule=rule.name, answer=answer(raw, rule))
        if asked := BLOCK.search(packet.payload):
            self._toy_blocks.append(block(packet, *(word.decode() for word in asked.groups())))
        for keyword, decision in KEYWORDS.items():
            if keyword in packet.payload:
                if decision.settled:
                    self._settled[packet.key] = self._settled[packet.reverse_key] = decision
                    self.counters.flows += 1
                    self.counters.verdicts[decision.verdict.name.lower()] += 1
                return decision
        return UNDECIDED

    def take_blocks(self) -> list[Block]:
        taken, self._toy_blocks = self._toy_blocks, []
        return taken


def block(packet: Packet, scope: str, verdict: str, seconds: str) -> Block:
    parts = scope.split("-")
    return Block(
        "block",
        Verdict[verdict.upper()],
        packet.source if "client" in parts else None,
        packet.destination if "server" in parts else None,
        packet.protocol if "port" in parts else None,
        packet.destination_port if "port" in parts else None,
        float(seconds),
    )


def main() -> int:
    options = json.loads(sys.argv[1])
    options["state_directory"] = Path(options["state_directory"])
    if options.get("interfaces"):
        options["interfaces"] = tuple(options["interfaces"])
    try:
        rules = (*THROTTLING_RULES, RESIDUAL_RULE) if options.pop("residual", False) else THROTTLING_RULES
        if options.get("hook") == "none":
            rules = ()
        return run(GatewayOptions(**options), rules)
    except ShellError as error:
        print(error, file=sys.stderr)
        return error.exit_status


def run(options: GatewayOptions, rules: tuple[Rule, ...]) -> int:
    gateway = Gateway(
        Policy(name="keywords", rules=rules),
        options,
        make_engine=KeywordEngine,
        say=lambda line: print(line, flush=True),
    )

    def raise_epoch(*_: object) -> None:
        gateway.advance_epoch()
        print("epoch raised", flush=True)

    signal.signal(signal.SIGUSR1, raise_epoch)
    summary = gateway.run()
    print(json.dumps({**asdict(summary), "uninspected": summary.uninspected_packets}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
