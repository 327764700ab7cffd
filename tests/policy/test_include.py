"""`include`: what other files add to a policy, and what may be wrong with them."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middlebox.detect import DETECTORS
from middlebox.policy.check import lint_files
from middlebox.policy.fields import known_fields
from middlebox.policy.load import load_policy, parse_policy
from middlebox.policy.problem import PolicyError
from middlebox.policy.rule import Policy

OWN = """policy: p
home: 198.51.100.0/24
include: [vpn.yaml]
rules:
  - {rule: own, when: {server_name|domain: {list: names}, client: guests}, action: drop}
"""
VPN = """include: lists.yaml
approved: [{name: hq, protocol: ipsec, server: 203.0.113.40}]
schedules: {office: {hours: "08:00-18:00"}}
rules:
  - {rule: approved-vpn, when: {approved: hq}, action: pass}
  - {rule: no-vpn, when: {category: vpn}, action: drop, during: office}
"""
LISTS = "lists: {names: [example.org]}\nclients: {guests: 198.51.100.128/25}\n"


SPLINTERS = st.sampled_from([":", "[", "]", "{", "-", '"', "\n", "rules:", "include: x.yaml\n", "null", ""])


def written(folder: Path, own: str = OWN, **others: str) -> Path:
    for name, text in {"vpn": VPN, "lists": LISTS, **others}.items():
        (folder / f"{name}.yaml").write_text(text)
    (folder / "p.yaml").write_text(own)
    return folder / "p.yaml"


def problems(path: Path) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    return [str(problem).replace(f"{path.parent}/", "") for problem in caught.value.problems]


def test_included_rules_stand_first_and_names_are_shared(tmp_path: Path) -> None:
    policy = load_policy(written(tmp_path))
    assert [rule.name for rule in policy.rules] == ["approved-vpn", "no-vpn", "own"]
    assert [rule.location.rpartition("/")[2] for rule in policy.rules] == ["vpn.yaml:5", "vpn.yaml:6", "p.yaml:5"]
    assert policy.rules[1].during == policy.schedules["office"]
    assert [approval.name for approval in policy.approvals] == ["hq"]
    assert list(policy.clients) == ["guests"]
    assert str(policy.home[0]) == "198.51.100.0/24"


def test_a_change_in_an_included_file_changes_the_digest(tmp_path: Path) -> None:
    path = written(tmp_path)
    before = load_policy(path).digest
    (tmp_path / "lists.yaml").write_text(LISTS.replace("example.org", "example.net"))
    assert load_policy(path).digest != before


@pytest.mark.parametrize(
    ("others", "says"),
    [
        ({"lists": LISTS.replace("clients", "cleints")}, 'lists.yaml:2:1: error: "cleints" is not a field of'),
        ({"lists": "policy: x\n" + LISTS}, 'lists.yaml:1:1: error: "policy" stands only in the policy itself'),
        ({"lists": LISTS.replace("guests", "guest")}, 'p.yaml:5:67: error: client: found "guest'),
        ({"vpn": VPN.replace("category", "categry")}, 'vpn.yaml:6:27: error: "categry" is not a field of a condition'),
        ({"vpn": VPN.replace("lists.yaml", "gone.yaml")}, "cannot read gone.yaml: No such file or directory"),
        ({"vpn": "- a list\n"}, "vpn.yaml:1:1: error: found a list"),
        ({"vpn": VPN.replace("during: office", "during: offcie")}, 'did you mean "office"?'),
    ],
)
def test_mistakes_are_told_where_they_stand(tmp_path: Path, others: dict[str, str], says: str) -> None:
    found = problems(written(tmp_path, **others))
    assert any(says in problem for problem in found), found


def test_warnings_name_the_included_file(tmp_path: Path) -> None:
    path = written(tmp_path, lists=LISTS.replace("[example.org]", "[example.org, www.example.org]"))
    checked = lint_files([path], now=0.0)
    (warning,) = [str(problem) for problem in checked.problems if "list-overlap" in str(problem)]
    assert "lists.yaml:1:" in warning


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_mutation_of_an_included_file_raises_anything_else(data: st.DataObject) -> None:
    files = {"vpn.yaml": VPN, "lists.yaml": LISTS}
    name = data.draw(st.sampled_from(sorted(files)))
    text = files[name]
    at = data.draw(st.integers(0, len(text)))
    splinter = data.draw(
        st.sampled_from([":", "[", "]", "{", "-", '"', "\n", "rules:", "include: x.yaml\n", "null", ""])
    )
    files[name] = text[:at] + splinter + text[at + data.draw(st.integers(0, 9)) :]

    def read(wanted: str) -> str:
        if wanted not in files:
            raise FileNotFoundError(2, "No such file or directory")
        return files[wanted]

    try:
        loaded = parse_policy(OWN, source="p.yaml", read_file=read, fields=known_fields(DETECTORS))
    except PolicyError as error:
        loaded = None
        places = [(problem.line, problem.column) for problem in error.problems]
    assert isinstance(loaded, Policy) or all(line >= 1 and column >= 1 for line, column in places)
