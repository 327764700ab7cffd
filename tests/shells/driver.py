"""Runs the real gateway around a toy engine, as a program inside a test's network namespace.

Usage: python -m tests.shells.driver '{"queue_num": 1, ...}' [--epoch-on-usr1]. The options are those of
`GatewayOptions`. Prints the ready line, on SIGUSR1 raises the epoch, and at the end prints the summary as JSON.
"""

import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from middlebox.engine import Engine
from middlebox.packet import Packet, decode
from middlebox.policy.rule import Policy
from middlebox.shells.errors import ShellError
from middlebox.shells.gateway import Gateway, GatewayOptions
from middlebox.verdict import UNDECIDED, Decision, Verdict

KEYWORDS = {f"{verdict.name}-ME".encode(): Decision(verdict, settled=True, rule="keyword") for verdict in Verdict}
KEYWORDS |= {f"{verdict.name}-ONCE".encode(): Decision(verdict, settled=False) for verdict in Verdict}


class KeywordEngine(Engine):
    """Does what a packet's payload says: DROP-ME settles the flow, DROP-ONCE discards only that packet."""

    def __init__(self, policy: Policy, **options: Any) -> None:
        super().__init__(policy, **options)
        self._settled: dict[bytes, Decision] = {}

    def handle(self, raw: bytes, now: float) -> Decision:
        packet = decode(raw)
        assert isinstance(packet, Packet)
        self.counters.packets += 1
        if known := self._settled.get(packet.key):
            return known
        if b"RAISE" in packet.payload:
            raise RuntimeError("a bug in the engine")
        for keyword, decision in KEYWORDS.items():
            if keyword in packet.payload:
                if decision.settled:
                    self._settled[packet.key] = self._settled[packet.reverse_key] = decision
                    self.counters.flows += 1
                    self.counters.verdicts[decision.verdict.name.lower()] += 1
                return decision
        return UNDECIDED


def main() -> int:
    options = json.loads(sys.argv[1])
    options["state_directory"] = Path(options["state_directory"])
    if options.get("interfaces"):
        options["interfaces"] = tuple(options["interfaces"])
    try:
        return run(GatewayOptions(**options))
    except ShellError as error:
        print(error, file=sys.stderr)
        return error.exit_status


def run(options: GatewayOptions) -> int:
    gateway = Gateway(
        Policy(name="keywords"),
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
