"""`middlebox explain` as a person meets it: which flow is meant, what is printed, and what is said when it fails."""

import io
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from middlebox.policy.load import load_policy
from middlebox.policy.rule import Policy
from middlebox.shells.errors import InputError
from middlebox.shells.explain_output import explained_lines, print_explanation, print_live_explanation, select
from tests.policy.test_explain import REFUSE, explained
from tests.shells.capture_files import pcap, udp_packet
from tests.toys import policy

CAPTURES = Path(__file__).parents[1] / "captures"
OPENVPN = str(CAPTURES / "openvpn-udp.pcap")
APPROVED_ONLY = Path(__file__).parents[2] / "rules" / "approved-vpn-only.yaml"

EVERY_REASON = """
policy: every-reason
approved:
  - {name: old-office, protocol: openvpn, server: 203.0.113.40, until: 2020-01-01}
  - {name: head, protocol: wireguard, public_key: "XMzw4OPRnOfm3OItvNxib69LLgKt1cyaZLRAfkaEYQI="}
rules:
  - rule: approved-vpn
    when: {approved: true}
    action: pass
  - rule: seen
    when: {category: [vpn, proxy]}
    action: log
  - rule: tcp-vpn
    when: {category: [vpn, proxy], proto: TCP}
    action: reset
  - rule: nested
    when:
      any:
        - {dest_port: [53, 443]}
        - all:
            - {protocol: openvpn}
            - not: {dest_port: 1194}
      proto: UDP
    action: reject
  - rule: no-vpn
    when: {category: [vpn, proxy, anonymity], confidence: confirmed}
    action: reset
  - rule: later
    when: {protocol: openvpn, dest_port: 1194}
    action: drop
"""

EVERY_REASON_EXPLAINED = """\
Flow 1 of openvpn-udp.pcap (id 4813850799233484712), judged by the policy every-reason
  192.0.2.2:53188 > 198.51.100.2:1194 UDP
  2026-11-23 22:07:07.842 to 22:07:07.908 UTC
  14 packets (2.9 kB) to the server, 10 packets (2.9 kB) to the client

WHAT IT IS
  openvpn (vpn), confirmed

WHAT THE DETECTORS SAW
  packet 1  openvpn, possible: a client reset of 14 bytes
  packet 2  openvpn, confirmed: server reset echoes the client's session id
  nothing more was looked for after 2 packets (40 bytes of payload)

DECISION
  reset at packet 2, by the rule no-vpn; 1 packet (42 bytes) had passed before

RULES, IN THE ORDER IN WHICH THEY ARE TRIED
    1 approved-vpn (pass): did not match
      no   approved is no; asked: true
    2 seen (log): matched; it only records, and the next rule was tried
      yes  category is vpn; asked: vpn, proxy
    3 tcp-vpn (reset): did not match
      yes  category is vpn; asked: vpn, proxy
      no   proto is UDP; asked: TCP
    4 nested (reject): did not match
      no   at least one of
        no   dest_port is 1194; asked: 53, 443
        no   all of
          yes  protocol is openvpn; asked: openvpn
          no   not
            yes  dest_port is 1194; asked: 1194
      yes  proto is UDP; asked: UDP
    5 no-vpn (reset): matched, and decided
      yes  category is vpn; asked: vpn, proxy, anonymity
      yes  confidence is confirmed; asked: confirmed
    6 later (drop): never reached: no-vpn decided, but it would have matched

APPROVALS
  old-office expired on 2020-01-01
  1 approval is for another protocol than openvpn

WHAT WOULD HAVE CHANGED IT
  - the approval old-office, if it covered this flow (see APPROVALS)
  - a rule that lets it pass, above the rule no-vpn
      - {rule: let-this-pass, when: {dest_ip: "198.51.100.2", dest_port: 1194, proto: UDP}, action: pass}
"""


def said(capture: str, judged_by: Policy, wanted: str | None = None, *, jsonl: bool = False) -> str:
    output = io.StringIO()
    print_explanation(capture, judged_by, wanted, jsonl=jsonl, output=output, errors=io.StringIO())
    return output.getvalue()


@pytest.fixture
def approved_only() -> Policy:
    return load_policy(APPROVED_ONLY)


@pytest.fixture
def every_reason(tmp_path: Path) -> Policy:
    path = tmp_path / "every-reason.yaml"
    path.write_text(EVERY_REASON, encoding="utf-8")
    return load_policy(path)


def test_a_real_flow_with_many_kinds_of_reason(every_reason: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CAPTURES)
    assert said("openvpn-udp.pcap", every_reason, "1") == EVERY_REASON_EXPLAINED


def test_no_line_is_longer_than_the_terminal() -> None:
    lines = explained_lines(explained(policy(REFUSE)).as_dict(), 80)
    assert max(map(len, lines)) <= 80


def test_a_passed_flow_names_the_nearest_refusing_rule(approved_only: Policy) -> None:
    text = said(str(CAPTURES / "benign" / "dot.pcap"), approved_only, "1")
    assert "pass at packet 4, by the policy's default" in text
    assert "the rule unapproved-vpn (reset) failed only here: category is encrypted-dns, asked: vpn, proxy" in text


def test_json_lines_carry_the_event_and_the_reasons(approved_only: Policy) -> None:
    record = json.loads(said(OPENVPN, approved_only, ":1194", jsonl=True))
    assert record["number"] == 1
    assert record["flow"]["app_proto"] == "openvpn"
    assert record["flow"]["middlebox"]["capture"] == OPENVPN
    assert [rule["outcome"] for rule in record["rules"]] == ["failed", "decided"]


# --- which flow is meant ------------------------------------------------------------------------------


def event(source: str, source_port: int | None, destination: str, port: int | None, identity: int) -> dict[str, object]:
    ports = {"src_port": source_port, "dest_port": port}
    return {"src_ip": source, "dest_ip": destination, "flow_id": identity, **ports}


FLOWS = [
    event("192.0.2.2", 40000, "203.0.113.2", 1194, 777_001),
    event("192.0.2.2", 40001, "203.0.113.20", 11940, 777_002),
    event("2001:db8::2", 40002, "2001:db8::53", 53, 777_003),
    event("192.0.2.2", None, "203.0.113.2", None, 777_004),
]


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ("1", [0]),
        ("4", [3]),
        ("777002", [1]),
        (":1194", [0]),
        (":119", []),
        ("203.0.113.2", [0, 3]),
        ("203.0.113.20", [1]),
        ("03.0.113.20", []),
        ("192.0.2.2:40000>203.0.113.2:1194", [0]),
        ("192.0.2.2:40001 > 203.0.113.20:11940", [1]),
        ("[2001:DB8::53]:53", [2]),
        ("5", []),
        ("0", []),
        ("", []),
        ("٣", []),
    ],
)
def test_a_flow_is_meant_by_number_id_or_ends(wanted: str, meant: list[int]) -> None:
    assert select(FLOWS, wanted) == meant


def test_without_a_flow_several_are_listed_with_numbers(approved_only: Policy) -> None:
    first, *_, hint = said(OPENVPN, approved_only).splitlines()
    assert first.split() == [
        "1", "192.0.2.2:53188", ">", "198.51.100.2:1194", "UDP", "openvpn", "confirmed", "reset", "(unapproved-vpn)",
    ]  # fmt: skip
    assert hint.startswith(f"Explain one by its number: middlebox explain {OPENVPN} 1 --policy ")


def test_the_list_as_json_lines_has_numbers(approved_only: Policy) -> None:
    records = [json.loads(line) for line in said(OPENVPN, approved_only, jsonl=True).splitlines()]
    assert [record["number"] for record in records] == [1, 2, 3, 4]


def test_a_single_flow_is_explained_without_being_named(tmp_path: Path, approved_only: Policy) -> None:
    path = tmp_path / "one.pcap"
    path.write_bytes(pcap([(1_700_000_000.0, udp_packet(b"question"))]))
    assert said(str(path), approved_only).startswith(f"Flow 1 of {path}")


def test_several_that_fit_are_listed_and_refused(approved_only: Policy) -> None:
    with pytest.raises(InputError, match=r"3 flows fit ff02::16; name one by its number"):
        said(OPENVPN, approved_only, "ff02::16")


def test_none_that_fits_names_the_nearest(approved_only: Policy) -> None:
    with pytest.raises(InputError, match=r"no flow of .* fits 198\.51\.100\.3:1194; did you mean 198\.51\.100\.2:1194"):
        said(OPENVPN, approved_only, "198.51.100.3:1194")
    with pytest.raises(InputError, match=r"fits 99; its 4 flows are numbered from 1"):
        said(OPENVPN, approved_only, "99")


def test_a_capture_that_cannot_be_read_is_named(approved_only: Policy) -> None:
    with pytest.raises(InputError, match=r"no-such\.pcap: No such file"):
        said("no-such.pcap", approved_only)


def test_a_capture_without_flows_says_so(tmp_path: Path, approved_only: Policy) -> None:
    path = tmp_path / "empty.pcap"
    path.write_bytes(pcap([]))
    with pytest.raises(InputError, match="holds no flow"):
        said(str(path), approved_only)


# --- what wants to steer the terminal -----------------------------------------------------------------


def test_nothing_from_the_wire_or_a_policy_steers_the_terminal() -> None:
    record = explained(policy(REFUSE)).as_dict()
    event = record["flow"]
    assert isinstance(event, dict)
    event["tls"] = {"sni": "evil\x1b[2Jname\r\u202e"}
    event["middlebox"]["evidence"][0]["reason"] = "says \x1b]0;title\x07"
    record["decision"] = "drop\x1b[31m"
    record["rules"][0]["rule"] = "rule\x1b[0m"  # type: ignore[index]
    text = "\n".join(explained_lines(record, 120))
    assert "\\x1b[2Jname\\r\\u202e" in text
    assert all(character.isprintable() or character == "\n" for character in text)


# --- a running gateway --------------------------------------------------------------------------------


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, object]]:
    """Answers what the flow `7` is asked about; the list is of what it was asked."""
    asked: list[tuple[object, object]] = []
    client = ModuleType("control_client")

    def request(socket: object, command: dict[str, str]) -> dict[str, object]:
        asked.append((socket, command))
        known = command["flow"] == "7"
        return json.loads(json.dumps(explained(policy(REFUSE)).as_dict())) if known else {"error": "no such flow\x1b"}

    client.request = request  # type: ignore[attr-defined]
    client.DEFAULT_SOCKET = Path("default.sock")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "middlebox.shells.control_client", client)
    return asked


def test_a_live_flow_is_asked_for_and_printed_like_any_other(gateway: list[tuple[object, object]]) -> None:
    output = io.StringIO()
    print_live_explanation("7", None, jsonl=False, output=output)
    assert gateway == [(Path("default.sock"), {"command": "explain", "flow": "7"})]
    assert "drop at packet 2, by the rule refuse" in output.getvalue()
    assert output.getvalue().startswith("Flow (id ")


def test_what_the_gateway_refuses_is_one_line(gateway: list[tuple[object, object]]) -> None:
    with pytest.raises(InputError, match=r"no such flow\\x1b"):
        print_live_explanation("8", Path("other.sock"), jsonl=False, output=io.StringIO())
    assert gateway[0][0] == Path("other.sock")
