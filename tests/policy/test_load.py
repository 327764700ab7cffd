"""Policies from YAML: a good one as data, bad ones with every message and its place."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middlebox.evidence import Confidence
from middlebox.policy.fields import FLOW_FIELDS, Kind
from middlebox.policy.load import PolicyError, Problem, load_policy, parse_policy
from middlebox.policy.rule import All, Approval, FailurePolicy, Mode, Operator, Policy, Rule
from middlebox.policy.rule import Test as FieldTest
from middlebox.verdict import Action, Verdict

FIELDS = {**FLOW_FIELDS, "tls.sni": Kind.FACT}
KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

GOOD = f"""\
policy: campus-egress
version: 1
home: [198.51.100.0/24, "2001:db8:1::/64"]
default: reject
mode: monitor
fail: {{no_listener: closed, undecodable: drop}}
lists:
  top-sites: lists/top-sites.txt
  offices: lists/offices.yaml
  ports: [443, 853]
approved:
  - {{name: hq, protocol: wireguard, public_key: "{KEY}", until: 2027-01-01, why: Ours.}}
  - {{name: partner, protocol: openvpn, server: 203.0.113.40}}
rules:
  - rule: approved-vpn
    when: {{approved: [hq, partner]}}
    action: pass
  - rule: unapproved-vpn
    why: Every VPN needs approval.
    when:
      category: [vpn, proxy]
      confidence: confirmed
      dest_ip: {{list: offices}}
      dest_port: {{list: ports}}
      server_name|domain: {{list: top-sites}}
    action: reset
"""
FILES = {
    "lists/top-sites.txt": "# the best\n\nexample.org   # first\n  Example.NET\r\n",
    "lists/offices.yaml": "- 203.0.113.0/24\n- 2001:db8:2::/48\n",
}


def read_file(name: str) -> str | bytes:
    if name not in FILES:
        raise FileNotFoundError(2, "No such file or directory")
    return FILES[name].encode()


def parse(text: str, read: Callable[[str], str | bytes] = read_file) -> Policy:
    return parse_policy(text, source="rules/p.yaml", read_file=read, fields=FIELDS)


def problems(text: str, read: Callable[[str], str | bytes] = read_file) -> list[str]:
    with pytest.raises(PolicyError) as error:
        parse(text, read)
    return [str(problem) for problem in error.value.problems]


def outcome(text: str, read: Callable[[str], str | bytes]) -> tuple[Policy | None, tuple[Problem, ...]]:
    try:
        return parse(text, read), ()
    except PolicyError as error:
        return None, error.problems


def test_a_good_policy_becomes_data() -> None:
    content = GOOD + "".join(f"\0{name}\0{text}" for name, text in FILES.items())
    assert parse(GOOD) == Policy(
        name="campus-egress",
        home=(ip_network("198.51.100.0/24"), ip_network("2001:db8:1::/64")),
        default=Action.REJECT,
        mode=Mode.MONITOR,
        fail=FailurePolicy(no_listener_open=False, undecodable=Verdict.DROP),
        approvals=(
            Approval(
                name="hq",
                protocol="wireguard",
                public_keys=(bytes(range(32)),),
                until=datetime(2027, 1, 1, 23, 59, 59, tzinfo=UTC).timestamp(),
                why="Ours.",
            ),
            Approval(name="partner", protocol="openvpn", server=(ip_network("203.0.113.40/32"),)),
        ),
        rules=(
            Rule(
                name="approved-vpn",
                when=FieldTest("approved", Operator.IN, ("hq", "partner"), "approved: [hq, partner]"),
                action=Action.PASS,
                location="rules/p.yaml:15",
            ),
            Rule(
                name="unapproved-vpn",
                when=All(
                    (
                        FieldTest("category", Operator.IN, ("vpn", "proxy"), "category: [vpn, proxy]"),
                        FieldTest("confidence", Operator.AT_LEAST, (Confidence.CONFIRMED,), "confidence: confirmed"),
                        FieldTest(
                            "dest_ip",
                            Operator.CIDR,
                            (ip_network("203.0.113.0/24"), ip_network("2001:db8:2::/48")),
                            "dest_ip: {list: offices}",
                        ),
                        FieldTest("dest_port", Operator.IN, (443, 853), "dest_port: {list: ports}"),
                        FieldTest(
                            "server_name",
                            Operator.DOMAIN,
                            ("example.org", "example.net"),
                            "server_name|domain: {list: top-sites}",
                        ),
                    )
                ),
                action=Action.RESET,
                why="Every VPN needs approval.",
                location="rules/p.yaml:18",
            ),
        ),
        source="rules/p.yaml",
        digest=hashlib.sha256(content.encode()).hexdigest(),
    )


def test_everything_but_the_name_has_a_default() -> None:
    assert parse("policy: p") == Policy(
        name="p", source="rules/p.yaml", digest=hashlib.sha256(b"policy: p").hexdigest()
    )


def test_the_digest_changes_with_the_policy_and_with_every_list() -> None:
    digests = {parse(GOOD).digest, parse(GOOD + "#").digest}
    for changed in FILES:
        digests.add(parse(GOOD, lambda name, changed=changed: FILES[name] + ("#" if name == changed else "")).digest)  # type: ignore[misc]
    assert len(digests) == 4


RULE = "policy: p\nrules:\n  - rule: a\n    when: {}\n    action: pass\n"
POLICY_FIELDS = (
    "policy, version, home, default, mode, fail, include, lists, clients, schedules, seed, "
    "geoip, waive, approved, rules"
)
NAMES = "expected a name: letters, digits, dots, hyphens and underscores, beginning with a letter or digit"

BAD: dict[str, tuple[str, list[str]]] = {
    # the whole file
    "empty": ("", ["1:1: found an empty file, expected a policy: a mapping that begins with policy: name"]),
    "a list": ("- a", ["1:1: found a list, expected a policy: a mapping that begins with policy: name"]),
    "syntax": (
        "policy: p\nrules: [",
        ["2:9: not valid YAML: expected the node content, but found '<stream end>' (while parsing a flow node)"],
    ),
    "two documents": (
        "policy: p\n---\npolicy: q\n",
        ["2:1: a second document begins here; write one document in each file"],
    ),
    # keys
    "no name": ("version: 1", ['1:1: this policy has no "policy"; begin the file with policy: and a name']),
    "misspelled key": (
        "policy: p\ndefualt: pass",
        ['2:1: "defualt" is not a field of a policy; did you mean "default"?'],
    ),
    "foreign key": ("policy: p\nzzz: 1", [f'2:1: "zzz" is not a field of a policy; fields: {POLICY_FIELDS}']),
    "duplicate key": (
        "policy: p\nmode: monitor\nmode: enforce",
        ['3:1: the key "mode" stands here again; it is already in line 2'],
    ),
    "later: pseudonymise": ("policy: p\npseudonymise: [x.yaml]", ['2:1: "pseudonymise" is not supported yet']),
    "residual without scope": (
        RULE.replace("pass", "drop") + "    residual: {seconds: 9}\n",
        [
            '6:15: this residual has no "scope"; say what later flows must have in common with it: '
            "client, server, server_port"
        ],
    ),
    # values of the policy
    "name with a space": ("policy: my policy", [f'1:9: policy: found "my policy", {NAMES}']),
    "name is a number": ("policy: 5", ['1:9: policy: found the number 5, expected a text; write "5"']),
    "name is a date": (
        "policy: 2027-01-01",
        ['1:9: policy: found the date 2027-01-01, expected a text; write "2027-01-01"'],
    ),
    "version 2": (
        "policy: p\nversion: 2",
        ["2:10: version: found the number 2, expected 1, the version of this file format"],
    ),
    "version true": (
        "policy: p\nversion: true",
        ["2:10: version: found true, expected 1, the version of this file format"],
    ),
    "host bits": (
        "policy: p\nhome: 198.51.100.7/24",
        ['2:7: home: found "198.51.100.7/24", which has bits set after the prefix; did you mean 198.51.100.0/24?'],
    ),
    "no home": ("policy: p\nhome: []", ["2:7: home: found an empty list, expected at least one entry"]),
    "home is empty": (
        "policy: p\nhome:\nmode: monitor",
        ["2:6: home: found nothing, expected an address or a network such as 203.0.113.0/24"],
    ),
    "home is a name": (
        "policy: p\nhome: [campus]",
        ['2:8: home: found "campus", expected an address or a network such as 203.0.113.0/24'],
    ),
    "default log": (
        "policy: p\ndefault: log",
        ['2:10: default: "log" decides nothing, expected pass, drop, reset or reject'],
    ),
    "default allow": (
        "policy: p\ndefault: allow",
        ['2:10: default: found "allow", expected pass, drop, reset or reject; did you mean "pass"?'],
    ),
    "mode enforced": (
        "policy: p\nmode: enforced",
        ['2:7: mode: found "enforced", expected enforce or monitor; did you mean "enforce"?'],
    ),
    "fail": (
        "policy: p\nfail: {no_listner: open, queue_full: pass, undecodable: reset}",
        [
            '2:8: "no_listner" is not a field of fail; did you mean "no_listener"?',
            '2:38: queue_full: found "pass", expected open or closed',
            '2:57: undecodable: found "reset", expected pass or drop',
        ],
    ),
    "fail is a word": ("policy: p\nfail: open", ['2:7: fail: found "open", expected a mapping (name: value)']),
    "rules is a mapping": ("policy: p\nrules: {a: b}", ["2:8: rules: found a mapping, expected a list"]),
    "rules is empty": ("policy: p\nrules:", ["2:7: rules: found nothing, expected a list"]),
    # YAML traps
    "trap": ("policy: p\nmode: on", ['2:7: YAML reads on as true; write "on" or true']),
    "trap in a rule": (
        RULE.replace("{}", "{approved: yes, dest_port: 53:53}"),
        [
            '4:22: YAML reads yes as true; write "yes" or true',
            '4:38: YAML reads 53:53 as the number 3233; write "53:53"',
        ],
    ),
    "trap as a key": (
        "on: x",
        [
            '1:1: YAML reads the key on as true or false; write "on"',
            '1:1: this policy has no "policy"; begin the file with policy: and a name',
        ],
    ),
    # approvals
    "approval without proof": (
        "policy: p\napproved:\n  - {name: a, protocol: openvpn}",
        [
            '3:5: this approval has none of "tls_auth_key", "tls_crypt_key", "tls_crypt_v2_key" and "server"; '
            "it would approve nothing or everything"
        ],
    ),
    "approval with nothing in its proofs": (
        "policy: p\napproved:\n  - {name: a, protocol: wireguard, server: , public_key: , until: }",
        [
            "3:43: server: found nothing, expected an address or a network such as 203.0.113.0/24",
            "3:57: public_key: found nothing, expected 44 characters of base64 as wg pubkey prints them",
            "3:66: until: found nothing, expected a date such as 2027-01-01, or a date and time",
        ],
    ),
    "approval without anything": (
        "policy: p\napproved:\n  - server: 203.0.113.1",
        [
            '3:5: this approval has no "name"; give it one',
            '3:5: this approval has no "protocol"; say which, for instance wireguard',
        ],
    ),
    "approval with a key for OpenVPN": (
        f"policy: p\napproved:\n  - {{name: a, protocol: openvpn, public_key: {KEY}}}",
        ['3:34: "public_key" is for wireguard, and this approval is for "openvpn"; write "server"'],
    ),
    "approval with wrong values": (
        "policy: p\napproved:\n  - {name: a, protocol: wiregard, public_key: AAAA, server: [], until: soon}",
        [
            '3:25: protocol: found "wiregard", expected a protocol (middlebox protocols lists them); '
            'did you mean "wireguard"?',
            "3:47: public_key: found a key of 3 bytes, expected 32: 44 characters of base64 as wg pubkey prints them",
            "3:61: server: found an empty list, expected at least one entry",
            '3:72: until: found "soon", expected a date such as 2027-01-01, or a date and time',
        ],
    ),
    "two approvals of one name": (
        "policy: p\napproved:\n"
        "  - {name: a, protocol: ipsec, server: 203.0.113.1}\n  - {name: a, protocol: tor, server: 203.0.113.2}",
        ['4:12: the approval "a" stands here again; it is already in line 3'],
    ),
    "approval with a list for a protocol": (
        "policy: p\napproved:\n"
        "  - {name: a, protocol: [ipsec], public_key: x, server_name: y.example, tls_auth_key: [z]}",
        [
            "3:25: protocol: found a list, expected a protocol (middlebox protocols lists them)",
            "3:46: public_key: found 1 characters that are not base64, "
            "expected 44 characters of base64 as wg pubkey prints them",
            '3:49: anybody can ask for a server name; add "certificate", "server" or both',
            "3:87: tls_auth_key: found a list, expected the path of a key file",
        ],
    ),
    "approval is a word": (
        "policy: p\napproved: [hq]",
        ['2:12: approved: found "hq", expected a mapping (name: value)'],
    ),
    # rules
    "rule without when": (
        "policy: p\nrules:\n  - rule: a\n    action: pass",
        ['3:5: this rule has no "when"; to match every flow write when: {}'],
    ),
    "rule with an empty when": (
        "policy: p\nrules:\n  - rule: a\n    when:\n    action: pass",
        ["4:10: when: found nothing, expected a mapping (field: value); to match every flow write when: {}"],
    ),
    "rule without action or name": (
        "policy: p\nrules:\n  - when: {}",
        [
            '3:5: this rule has no "action"; write pass, drop, reset, reject, throttle, sample, dns or log',
            '3:5: this rule has no "rule"; give it a name',
        ],
    ),
    "rule action block": (
        RULE.replace("pass", "block"),
        [
            '5:13: action: found "block", expected pass, drop, reset, reject, throttle, sample, dns or log; '
            'did you mean "drop"?'
        ],
    ),
    "two rules of one name": (
        RULE + "  - {rule: a, when: {}, action: drop}",
        ['6:12: the rule "a" stands here again; it is already in line 3'],
    ),
    "unknown approval": (
        RULE.replace("{}", "{approved: hq}"),
        ['4:22: approved: found "hq", expected true, false or the name of an approval (this policy has none)'],
    ),
    "unknown fact": (
        RULE.replace("{}", "{tls.sin: x}"),
        ['4:12: "tls.sin" is not a field of a condition; did you mean "tls.sni"?'],
    ),
    # lists
    "missing list file": (
        "policy: p\nlists: {paid: lists/paid.txt}",
        ["2:15: cannot read lists/paid.txt: No such file or directory"],
    ),
    "list of another kind": (
        "policy: p\nlists: {a: a.csv, b: 5, c: [], d: {}, e: [[1], ~]}",
        [
            '2:12: found "a.csv", expected the path of a .yaml or .txt file, or a list in [brackets]',
            "2:22: b: found the number 5, expected a list or the path of a .yaml or .txt file",
            "2:28: found an empty list, expected at least one entry",
            "2:35: d: found a mapping, expected a list or the path of a .yaml or .txt file",
            "2:43: found a list, expected a single value",
            "2:48: found nothing, expected a single value",
        ],
    ),
    "list with a bad name": ("policy: p\nlists: {a b: [x]}", [f'2:9: found "a b", {NAMES}']),
    "lists is a list": ("policy: p\nlists: [a]", ["2:8: lists: found a list, expected a mapping (name: value)"]),
}


@pytest.mark.parametrize(("text", "messages"), BAD.values(), ids=BAD)
def test_a_bad_policy_is_refused(text: str, messages: list[str]) -> None:
    expected = []
    for message in messages:
        place, _, rest = message.partition(" ")
        expected.append(f"rules/p.yaml:{place} error: {rest}")
    assert problems(text) == expected


def test_ten_mistakes_are_reported_at_once() -> None:
    text = """\
policy: ten
mode: monitr
home: 198.51.100.1/24
lists: {paid: lists/missing.txt}
approved:
  - {name: hq, protocol: openvpn}
rules:
  - rule: vpn
    when: {catgory: vpn, protocol: wiregard}
    action: block
  - rule: vpn
    when: {dest_port: 70000, server_name|domain: {list: piad}}
    action: drop
    acton: drop
"""
    assert problems(text) == [
        f"rules/p.yaml:{line}"
        for line in [
            '2:7: error: mode: found "monitr", expected enforce or monitor; did you mean "monitor"?',
            '3:7: error: home: found "198.51.100.1/24", which has bits set after the prefix; '
            "did you mean 198.51.100.0/24?",
            "4:15: error: cannot read lists/missing.txt: No such file or directory",
            '6:5: error: this approval has none of "tls_auth_key", "tls_crypt_key", "tls_crypt_v2_key" and "server"; '
            "it would approve nothing or everything",
            '9:12: error: "catgory" is not a field of a condition; did you mean "category"?',
            '9:36: error: protocol: found "wiregard", expected a protocol (middlebox protocols lists them); '
            'did you mean "wireguard"?',
            '10:13: error: action: found "block", expected pass, drop, reset, reject, throttle, sample, dns or log; '
            'did you mean "drop"?',
            '11:11: error: the rule "vpn" stands here again; it is already in line 8',
            "12:23: error: dest_port: found the number 70000, expected a port number from 0 to 65535",
            '12:57: error: server_name: "piad" is not a list of this policy; did you mean "paid"?',
            '14:5: error: "acton" is not a field of a rule; did you mean "action"?',
        ]
    ]


USES_LIST = (
    "policy: p\nlists: {a: sub/a.%s}\nrules:\n  - {rule: r, when: {server_name|domain: {list: a}}, action: drop}\n"
)
HOST = "expected a host name such as example.org"


@pytest.mark.parametrize(
    ("suffix", "content", "messages"),
    [
        ("txt", b"# nothing\n\n", ["1:1: found no entry, expected one a line"]),
        ("txt", b"example.org\n\xff\n", ["2:1: found the byte 0xff, expected UTF-8 text"]),
        (
            "txt",
            b"example.org\n  http://x.example/ # why\n*.b.example\n",
            [
                f'2:3: list a, used for server_name: found "http://x.example/", {HOST}, without "http://"',
                f'3:1: list a, used for server_name: found "*.b.example", {HOST}; '
                'the operator "domain" takes b.example for itself and every name below it',
            ],
        ),
        ("yaml", b"", ["1:1: found an empty file, expected a list"]),
        ("yaml", b"a: b\n", ["1:1: found a mapping, expected a list"]),
        (
            "yaml",
            b"- [\n",
            ["2:1: not valid YAML: expected the node content, but found '<stream end>' (while parsing a flow node)"],
        ),
        (
            "yaml",
            b"- no\n- a: b\n- 1.5\n- example.org\n",
            [
                '1:3: YAML reads no as false; write "no" or false',
                "2:3: found a mapping, expected a single value",
                f"3:3: list a, used for server_name: found the number 1.5, {HOST}",
            ],
        ),
    ],
)
def test_a_bad_list_file_is_reported_in_its_own_lines(suffix: str, content: bytes, messages: list[str]) -> None:
    expected = []
    for message in messages:
        place, _, rest = message.partition(" ")
        expected.append(f"rules/sub/a.{suffix}:{place} error: {rest}")
    assert problems(USES_LIST % suffix, lambda name: content) == expected


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    policy = parse(USES_LIST % "txt", lambda name: b"\xef\xbb\xbf# best\nexample.org\n")
    assert isinstance(policy.rules[0].when, FieldTest)
    assert policy.rules[0].when.values == ("example.org",)


def test_lists_are_looked_up_beside_the_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules/sub").mkdir(parents=True)
    (tmp_path / "rules/p.yaml").write_text(USES_LIST % "txt")
    (tmp_path / "rules/sub/a.txt").write_text("example.org\n")
    policy = load_policy(Path("rules/p.yaml"), FIELDS)
    assert policy.rules[0].location == "rules/p.yaml:4"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.yaml", "cannot read missing.yaml: No such file or directory"),
        (".", "cannot read .: Is a directory"),
        ("latin1.yaml", "found the byte 0xe4, expected UTF-8 text"),
    ],
)
def test_an_unreadable_policy_file_is_one_problem(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("latin1.yaml").write_bytes(b"\xe4")
    with pytest.raises(PolicyError) as error:
        load_policy(Path(name), FIELDS)
    assert str(error.value) == f"{name}:1:1: error: {message}"


def test_a_list_that_never_ends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("middlebox.policy.load.MAX_FILE_BYTES", 10)
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text("policy: long\n")
    with pytest.raises(PolicyError) as error:
        load_policy(Path("a.yaml"), FIELDS)
    assert str(error.value) == "a.yaml:1:1: error: cannot read a.yaml: larger than 10 bytes"


PIECES = ["\n", "  ", "- ", ": ", "{", "}", "[", "]", "'", '"', "#", "|", "*", "&a", "!!int ", "on", "53:53", "~"]
PIECES += ["\t", "\\ud800", "\x00", "rules", "when: ", "any: ", "not: ", "list: ", "approved: ", "99999999999999999999"]


@settings(deadline=None)  # other work on the machine is not the parser's fault
@given(
    st.lists(
        st.tuples(st.integers(0, len(GOOD)), st.integers(0, 12), st.sampled_from(PIECES) | st.text(max_size=3)),
        min_size=1,
        max_size=4,
    )
)
def test_a_mutated_policy_is_a_policy_or_a_policy_error(mutations: list[tuple[int, int, str]]) -> None:
    text = GOOD
    for start, length, piece in mutations:
        text = text[:start] + piece + text[start + length :]
    policy, found = outcome(text, read_file)
    assert (policy is None) == bool(found)
    assert all(problem.line >= 1 and problem.column >= 1 for problem in found)
    assert all("\n" not in str(problem) for problem in found)


@settings(deadline=None)  # other work on the machine is not the parser's fault
@given(st.sampled_from(["txt", "yaml"]), st.binary(max_size=80))
def test_any_list_file_is_a_policy_or_a_policy_error(suffix: str, content: bytes) -> None:
    policy, found = outcome(USES_LIST % suffix, lambda name: content)
    assert (policy is None) == bool(found)
