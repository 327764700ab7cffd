"""`middlebox diff`: what counts as a change, in which order changes are told, and the exit status."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from middlebox.policy.rule import Mode, Policy
from middlebox.shells.diff import Difference, Group, Kind, Side, compare
from middlebox.shells.diff_output import diff_lines, print_diff, summary
from middlebox.shells.replay import Replayed
from middlebox.verdict import Action
from tests.toys import asks, policy, rule

CAPTURES = Path(__file__).parents[1] / "captures"
OPENVPN, WEB = str(CAPTURES / "openvpn-udp.pcap"), str(CAPTURES / "benign" / "http3.pcap")

EVERYTHING = policy()
NO_VPN = policy(rule("no-vpn", Action.RESET, asks("category", "vpn")))
NO_OPENVPN = policy(rule("no-openvpn", Action.RESET, asks("protocol", "openvpn")))
DROP_VPN = policy(rule("drop-vpn", Action.DROP, asks("category", "vpn")))
NO_UDP = policy(
    rule("no-vpn", Action.RESET, asks("category", "vpn")), rule("no-udp", Action.DROP, asks("proto", "UDP"))
)


def kinds(old: Policy, new: Policy, *captures: str) -> list[tuple[Kind, str | None, int]]:
    return [(group.kind, group.new.rule, group.flows) for group in compare(old, new, captures).groups]


def test_the_same_policy_changes_nothing() -> None:
    difference = compare(NO_VPN, NO_VPN, [OPENVPN, WEB])
    assert not difference.groups
    assert summary(difference) == f"no verdict of {difference.flows} flows changes"


@pytest.mark.parametrize(
    ("old", "new", "kind", "decider"),
    [
        (EVERYTHING, NO_VPN, Kind.REFUSED, "no-vpn"),
        (NO_VPN, EVERYTHING, Kind.FREED, None),
        (NO_VPN, DROP_VPN, Kind.OTHERWISE, "drop-vpn"),
        (NO_VPN, NO_OPENVPN, Kind.SAME, "no-openvpn"),
    ],
)
def test_kinds_of_change(old: Policy, new: Policy, kind: Kind, decider: str | None) -> None:
    assert kinds(old, new, OPENVPN) == [(kind, decider, 1)]


def test_ordinary_flows_that_are_newly_refused_come_first() -> None:
    difference = compare(EVERYTHING, NO_UDP, [OPENVPN, WEB])
    first, second = difference.groups[:2]
    assert (first.new.rule, second.new.rule) == ("no-udp", "no-vpn")
    assert first.ordinary == first.flows == difference.ordinary_refused > 0
    assert second.ordinary == 0


def test_order_of_groups_is_by_kind_then_ordinary_then_size() -> None:
    passed, dropped = Side("pass", None), Side("drop", "a")
    groups = [
        Group(dropped, Side("drop", "b"), flows=99),
        Group(dropped, passed, flows=98),
        Group(dropped, Side("reset", "c"), flows=97),
        Group(passed, Side("drop", "d"), flows=96),
        Group(passed, Side("drop", "e"), flows=1, ordinary=1),
    ]
    difference = Difference(by_change={(group.old, group.new): group for group in groups})
    assert [group.flows for group in difference.groups] == [1, 96, 97, 98, 99]


def test_what_is_refused_at_once_is_named_by_the_policy_that_saw_more() -> None:
    # By the second policy the first packet is refused before anything can be said about it.
    at_once = policy(rule("no-udp", Action.DROP, asks("proto", "UDP")))
    [group] = compare(EVERYTHING, at_once, [WEB]).groups
    about = group.examples[0].event["middlebox"]
    assert isinstance(about, dict)
    assert (about["protocol"], about["confidence"]) == ("quic", "confirmed")


def test_processes_change_nothing_about_the_result() -> None:
    assert compare(EVERYTHING, NO_UDP, [OPENVPN, WEB], jobs=4) == compare(EVERYTHING, NO_UDP, [OPENVPN, WEB])


def test_bytes_are_told_twice() -> None:
    told: list[int] = []
    compare(EVERYTHING, NO_VPN, [OPENVPN, WEB], advance=told.append)
    assert sum(told) == 2 * (Path(OPENVPN).stat().st_size + Path(WEB).stat().st_size)


def test_a_capture_that_only_one_side_could_replay_is_told_and_not_compared() -> None:
    difference = Difference()
    difference.add(Replayed("a", flows=[{}]), Replayed("a", problems=["a: died"], unreadable=True))
    assert (difference.problems, difference.all_readable, difference.flows) == (["a: died"], False, 0)


# --- what is printed ----------------------------------------------------------------------------------


def test_text() -> None:
    difference = compare(NO_VPN, NO_UDP, [WEB, OPENVPN])
    lines = diff_lines(NO_VPN, NO_UDP, difference, 200)
    assert lines[0] == "NEWLY REFUSED: 3 flows, all of them ordinary traffic"
    assert lines[1:3] == ["  pass (no rule) -> drop (no-udp)", "  quic 3"]
    assert lines[3].startswith("    192.0.2.2:47222 > 198.51.100.2:443 UDP quic confirmed www.out.test (")
    assert lines[3].endswith("http3.pcap, flow 1)")
    assert lines[6:] == ["", f"3 of {difference.flows} flows change: 3 newly refused (3 of them ordinary)"]


def test_other_rules_stand_apart_in_the_summary() -> None:
    assert summary(compare(NO_VPN, NO_OPENVPN, [OPENVPN])) == (
        "no verdict of 4 flows changes; 1 flow keeps its verdict by another rule"
    )


def test_a_difference_of_modes_is_told() -> None:
    watching = replace(NO_VPN, mode=Mode.MONITOR)
    [line, *_] = diff_lines(NO_VPN, watching, compare(NO_VPN, watching, [OPENVPN]), 200)
    assert "one enforces and one only monitors (old: enforce, new: monitor)" in line


def test_names_cannot_steer_the_terminal() -> None:
    evil = policy(rule("evil\x1b[2J\r", Action.DROP, asks("category", "vpn")))
    text = "\n".join(diff_lines(EVERYTHING, evil, compare(EVERYTHING, evil, [OPENVPN]), 80))
    assert "evil\\x1b[2J\\r" in text
    assert all(character.isprintable() or character == "\n" for character in text)


def test_json_lines() -> None:
    output = io.StringIO()
    print_diff(NO_VPN, DROP_VPN, [OPENVPN], jsonl=True, jobs=1, output=output, errors=io.StringIO())
    group, total = map(json.loads, output.getvalue().splitlines())
    assert group["old"] == {"verdict": "reset", "rule": "no-vpn"}
    assert group["new"] == {"verdict": "drop", "rule": "drop-vpn"}
    assert group["examples"][0]["number"] == 1
    assert (total["event_type"], total["flows"], total["changed"], total["treated_otherwise"]) == (
        "diff_summary", 4, 1, 1,
    )  # fmt: skip


# --- the command --------------------------------------------------------------------------------------

PASS = "policy: open\nrules: [{rule: all, when: {}, action: pass}]\n"
REFUSE = "policy: closed\nrules: [{rule: no-vpn, when: {category: vpn}, action: drop}]\n"


def run(tmp_path: Path, old: str, new: str, *more: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "old.yaml").write_text(old, encoding="utf-8")
    (tmp_path / "new.yaml").write_text(new, encoding="utf-8")
    command = [sys.executable, "-m", "middlebox", "diff", str(tmp_path / "old.yaml"), str(tmp_path / "new.yaml")]
    return subprocess.run([*command, *more], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("new", "more", "status"),
    [
        (REFUSE, ["--exit-code"], 1),
        (REFUSE, [], 0),
        (PASS, ["--exit-code"], 0),
        (REFUSE, ["--exit-code", "no-such.pcap"], 2),
    ],
)
def test_exit_status(tmp_path: Path, new: str, more: list[str], status: int) -> None:
    assert run(tmp_path, PASS, new, OPENVPN, *more).returncode == status


def test_mistakes_of_both_policies_are_told_at_once(tmp_path: Path) -> None:
    done = run(tmp_path, PASS.replace("pass", "pas"), REFUSE.replace("drop", "dorp"), OPENVPN)
    assert done.returncode == 2
    assert "old.yaml:2:" in done.stderr
    assert "new.yaml:2:" in done.stderr
    assert "Traceback" not in done.stderr
