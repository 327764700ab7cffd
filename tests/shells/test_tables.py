"""Tables: what they show, that they fit, and that a capture cannot speak to the terminal through them."""

import io
from collections import Counter
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from middlebox.detect import DETECTORS
from middlebox.detect.base import TCP, UDP, Conversation
from middlebox.events import Event
from middlebox.evidence import Answer, Confidence, Opinion
from middlebox.protocols import CATEGORY_OF
from middlebox.shells.measured import read_measured
from middlebox.shells.replay import Replayed
from middlebox.shells.tables import (
    Summary,
    explanation,
    printable,
    protocol_records,
    protocols_table,
    replay_table,
)


def flow(
    *,
    client: str = "198.51.100.10",
    server: str = "203.0.113.20",
    port: int | None = 1194,
    proto: str = "UDP",
    protocol: str = "openvpn",
    confidence: str | None = "confirmed",
    verdict: str = "reset",
    rule: str | None = "unapproved-vpn",
    policy: str = "campus-egress",
    packets: int = 17,
    octets: int = 8240,
    facts: dict[str, object] | None = None,
) -> Event:
    return {
        "event_type": "flow",
        "src_ip": client,
        "src_port": port and 40112,
        "dest_ip": server,
        "dest_port": port,
        "proto": proto,
        "app_proto": protocol,
        **(facts or {}),
        "flow": {"pkts_toserver": packets, "pkts_toclient": 0, "bytes_toserver": octets, "bytes_toclient": 0},
        "middlebox": {
            "policy": policy,
            "category": CATEGORY_OF[protocol],
            "protocol": protocol,
            "confidence": confidence,
            "verdict": verdict,
            "rule": rule,
            "evidence": [{"detector": "openvpn", "packet": 2, "reason": "server echoes the client's session id"}],
            "near_misses": [{"rule": "log-vpn", "because": "approved is null"}],
        },
    }


def rendered(table: Table, width: int = 160) -> list[str]:
    output = io.StringIO()
    Console(file=output, width=width).print(table)
    return [line.rstrip() for line in output.getvalue().splitlines() if line.strip()]


def columns(line: str) -> list[str]:
    return line.split()


def test_row_says_who_what_how_much_and_the_verdict() -> None:
    head, _, row = rendered(replay_table([flow()], 160))
    assert columns(head) == [
        *("client", "server", "name", "proto", "protocol", "confidence", "packets", "bytes", "verdict", "rule")
    ]
    assert columns(row) == [
        *("198.51.100.10:40112", "203.0.113.20:1194", "UDP", "openvpn", "confirmed", "17"),
        *("8.2", "kB", "reset", "unapproved-vpn"),
    ]


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({"tls": {"sni": "www.example.org"}, "http": {"hostname": "inner.example"}}, "www.example.org"),
        ({"quic": {"version": 1, "sni": "h3.example.org"}}, "h3.example.org"),
        ({"http": {"hostname": "plain.example.org"}}, "plain.example.org"),
        ({"dns": {"rrname": "mail.example.org", "rrtype": "MX"}}, "mail.example.org"),
    ],
)
def test_name_is_what_the_client_asked_for(facts: dict[str, object], name: str) -> None:
    assert columns(rendered(replay_table([flow(facts=facts)], 160))[-1])[2] == name


def test_classification_alone_has_no_verdict_columns() -> None:
    head = rendered(replay_table([flow(policy="classify-only", verdict="pass", rule=None)], 160))[0]
    assert "verdict" not in head
    assert "rule" not in head


def test_addresses_of_version_6_stand_in_brackets_and_missing_ports_are_left_out() -> None:
    flows = [flow(client="2001:db8::2", server="2001:db8::9"), flow(proto="ESP", port=None)]
    first, second = rendered(replay_table(flows, 160))[-2:]
    assert columns(first)[:2] == ["[2001:db8::2]:40112", "[2001:db8::9]:1194"]
    assert columns(second)[:3] == ["198.51.100.10", "203.0.113.20", "ESP"]


@pytest.mark.parametrize("width", [100, 120, 200])
def test_long_values_are_folded_never_shortened(width: int) -> None:
    name, address = "a-rather-long-name.of-a-host.example.org", "2001:db8:1111:2222:3333:4444:5555:6666"
    event = flow(client=address, facts={"tls": {"sni": name}}, protocol="wireguard")
    lines = rendered(replay_table([event], width), width)
    assert max(map(len, lines)) <= width
    rule_line = next(number for number, line in enumerate(lines) if set(line.strip()) == {"─"})
    body = lines[rule_line + 1 :]
    server_at, name_at, proto_at = (
        min(line.index(word) for line in lines[:rule_line] if word in line) for word in ("server", "name", "proto")
    )
    assert "".join(line[:server_at].strip() for line in body) == f"[{address}]:40112"
    assert "".join(line[name_at:proto_at].strip() for line in body).endswith(name)


def test_short_lines_put_names_below_servers_and_rules_below_verdicts() -> None:
    lines = rendered(replay_table([flow(facts={"tls": {"sni": "www.example.org"}})], 100), 100)
    assert columns(lines[0]) == ["server", "verdict"]
    assert columns(lines[1]) == ["client", "name", "proto", "protocol", "confidence", "packets", "bytes", "rule"]
    assert columns(lines[-2])[:2] == ["198.51.100.10:40112", "203.0.113.20:1194"]
    assert columns(lines[-1]) == ["www.example.org", "unapproved-vpn"]


@pytest.mark.parametrize(
    ("octets", "text"), [(999, "999 B"), (1000, "1.0 kB"), (10_485_760, "10.5 MB"), (10**16, "10000.0 TB")]
)
def test_bytes_are_written_for_people(octets: int, text: str) -> None:
    assert text in rendered(replay_table([flow(octets=octets)], 160))[-1]


def test_host_name_cannot_steer_the_terminal_or_style_the_table() -> None:
    evil = "a\x1b[2J\r[red]b[/red]\u202e\n"
    row = rendered(replay_table([flow(facts={"tls": {"sni": evil}}, rule=None)], 160))[-1]
    assert columns(row)[2] == "a\\x1b[2J\\r[red]b[/red]\\u202e\\n"


@given(st.text())
def test_printable_text_has_nothing_but_printable_characters(text: str) -> None:
    assert printable(text).isprintable()
    if text.isprintable():
        assert printable(text) == text


def test_file_name_that_is_no_unicode_can_be_printed() -> None:
    assert printable(b"caf\xe9.pcap".decode("utf-8", "surrogateescape")) == "caf\\udce9.pcap"


def test_explanation_names_evidence_and_near_misses() -> None:
    assert explanation([flow()]) == [
        "198.51.100.10:40112 > 203.0.113.20:1194 UDP: openvpn, reset",
        "  packet 2, detector openvpn: server echoes the client's session id",
        "  rule log-vpn did not match: approved is null",
    ]


def test_summary_adds_up_captures() -> None:
    summary = Summary()
    quiet = flow(protocol="tls", verdict="pass", rule=None)
    summary.add(Replayed("a", [flow(), quiet], packets=1200, skipped=Counter({"ARP": 3})))
    summary.add(Replayed("b", [quiet], packets=34, undecodable=Counter({"TCP header cut short": 2})))
    summary.add(Replayed("c", unreadable=True))
    assert summary.text() == (
        "2 captures, 1,234 packets, 3 flows: tls 2, openvpn 1; verdicts: pass 2, reset 1; "
        "undecodable: TCP header cut short 2; not IP: ARP 3"
    )


def test_summary_spells_out_the_commonest_and_adds_up_the_rest() -> None:
    summary = Summary()
    summary.add(Replayed("a", skipped=Counter({f"EtherType 0x{n:04x}": n for n in range(1, 16)})))
    assert summary.text().endswith("EtherType 0x0005 5, EtherType 0x0004 4, 3 others 6")


# --- protocols ----------------------------------------------------------------------------------------------


class _Made:
    name: ClassVar[str] = "made"
    transports: ClassVar[tuple[int, ...]] = (TCP, UDP)
    protocols: ClassVar[tuple[str, ...]] = ("openvpn", "fastd")
    facts: ClassVar[tuple[str, ...]] = ()
    reaches: ClassVar[Confidence] = Confidence.PROBABLE
    packets_needed: ClassVar[int] = 3
    misses: ClassVar[str] = "Everything else."

    def feed(self, talk: Conversation) -> Answer:
        return Opinion.NO


def test_protocol_records_cover_every_name_with_the_detectors_that_report_it() -> None:
    records = {str(record["protocol"]): record for record in protocol_records([_Made])}
    assert set(records) == set(CATEGORY_OF)
    assert records["fastd"] == {
        "protocol": "fastd",
        "category": "vpn",
        "measured": None,
        "detectors": [{"detector": "made", "packets_needed": 3, "reaches": "probable", "misses": "Everything else."}],
    }
    assert records["tls"] == {"protocol": "tls", "category": "ordinary", "measured": None, "detectors": []}


MEASURED = {"openvpn": {"precision": {"probable": {"right": 9, "of": 10}}, "recall": {"recognised": 11, "of": 12}}}


def test_protocol_records_tell_what_was_measured() -> None:
    records = {str(record["protocol"]): record for record in protocol_records([_Made], MEASURED)}
    assert records["openvpn"]["measured"] == MEASURED["openvpn"]
    assert records["fastd"]["measured"] is None


def test_protocols_table_has_a_row_for_each_name() -> None:
    lines = rendered(protocols_table([_Made], MEASURED))
    assert columns(lines[0]) == ["protocol", "category", "detector", "packets", "reaches", "right", "recall", "misses"]
    rows = {columns(line)[0]: columns(line)[1:] for line in lines[2:]}
    assert set(rows) == set(CATEGORY_OF)
    assert rows["openvpn"] == ["vpn", "made", "3", "probable", "9/10", "11/12", "Everything", "else."]
    assert rows["fastd"] == ["vpn", "made", "3", "probable", "Everything", "else."]
    assert rows["tls"] == ["ordinary"]


def test_a_narrow_terminal_gets_no_sentences() -> None:
    lines = rendered(protocols_table([_Made], MEASURED, width=80))
    assert columns(lines[0]) == ["protocol", "category", "detector", "packets", "reaches", "right", "recall"]


def test_the_shipped_figures_are_about_known_names() -> None:
    figures = read_measured()
    assert set(figures) <= set(CATEGORY_OF)
    for figure in figures.values():
        assert set(figure["precision"]) <= {level.word for level in Confidence}
        assert all(counts["right"] <= counts["of"] for counts in figure["precision"].values())
        assert figure["recall"]["recognised"] <= figure["recall"]["of"]


def test_every_registered_detector_is_in_the_records() -> None:
    found = {
        detector["detector"]
        for record in protocol_records(DETECTORS)
        for detector in record["detectors"]  # type: ignore[attr-defined]
    }
    assert found == {detector.name for detector in DETECTORS}
