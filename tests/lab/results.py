"""A scenario, attempts and events small enough to see through, for the tests of judge and report."""

from middlebox.lab.clients import Attempt, Noticed
from middlebox.lab.scenario import parse_scenario
from tests.lab.test_scenario import SMALL

SCENARIO = parse_scenario(SMALL, "s.yaml")
HTTPS, VPN = SCENARIO.steps

PASSED = Attempt(Noticed.PASSED, "all of it", 0.1, (20_000,))
REFUSED = Attempt(Noticed.REFUSED, "no answer", 6.0, (20_100,))
CONTROL = Attempt(Noticed.PASSED, "tunnel up", 0.2, (10_100,))


def event(kind="flow", *, port=20_100, service_port=1194, proto="UDP", verdict="reset", rule="unapproved-vpn", **more):
    about = {
        "protocol": "openvpn", "confidence": "confirmed", "verdict": verdict, "rule": rule,
        "by_packet": 2, "passed_packets": 1, "passed_bytes": 42,
    }  # fmt: skip
    return {
        "event_type": kind, "src_ip": "192.0.2.10", "src_port": port, "dest_ip": "198.51.100.20",
        "dest_port": service_port, "proto": proto, "middlebox": about | more,
    }  # fmt: skip


def https_event(kind="flow", *, verdict="pass", rule=None):
    return event(
        kind, port=20_000, service_port=443, proto="TCP", verdict=verdict, rule=rule, protocol="tls",
        confidence="probable",
    )  # fmt: skip
