"""The bounds of `include`: circles, depth, number of files, and names that stand twice, each with its exact place."""

from itertools import pairwise

import pytest

from middlebox.policy.fields import FLOW_FIELDS
from middlebox.policy.load import parse_policy
from middlebox.policy.problem import PolicyError

AT = "a.yaml:1:10: error:"
"Where the first file that is included has its own entry."


def said(files: dict[str, str]) -> list[str]:
    """What is wrong with p.yaml and what it includes."""

    def read(name: str) -> str:
        if name not in files:
            raise FileNotFoundError(2, "No such file or directory")
        return files[name]

    try:
        parse_policy(files["p.yaml"], source="p.yaml", read_file=read, fields=FLOW_FIELDS)
    except PolicyError as error:
        return list(map(str, error.problems))
    return []


def chain(length: int) -> dict[str, str]:
    """p.yaml includes 1.yaml, which includes 2.yaml, and so on."""
    names = ["p.yaml", *(f"{number}.yaml" for number in range(1, length + 1))]
    files = {name: f"include: {below}\n" for name, below in pairwise(names)}
    return {**files, names[-1]: "rules: []\n", "p.yaml": "policy: p\n" + files["p.yaml"]}


def many(count: int) -> dict[str, str]:
    """p.yaml includes this many files."""
    names = [f"{number}.yaml" for number in range(count)]
    return dict.fromkeys(names, "rules: []\n") | {"p.yaml": f"policy: p\ninclude: [{', '.join(names)}]\n"}


def test_eight_levels_and_a_hundred_files_are_allowed() -> None:
    assert said(chain(8)) == []
    assert said(many(100)) == []


def test_more_is_refused_at_the_entry() -> None:
    assert said(chain(9)) == [
        "8.yaml:1:10: error: include: files include each other more than 8 levels deep",
    ]
    (problem,) = said(many(101))
    assert problem.startswith("p.yaml:2:")
    assert problem.endswith("error: include: found another file, expected at most 100 in a policy")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.yaml": "include: p.yaml\n"}, f"{AT} include: a circle: p.yaml includes a.yaml includes p.yaml"),
        ({"a.yaml": "include: ./a.yaml\n"}, f"{AT} include: a circle: a.yaml includes a.yaml"),
        ({"a.yaml": "include: b.txt\n"}, f'{AT} include: found "b.txt", expected the path of a .yaml file'),
        (
            {"a.yaml": "include: sub/b.yaml\n", "sub/b.yaml": "include: c.yaml\n"},
            "sub/b.yaml:1:10: error: cannot read sub/c.yaml: No such file or directory",
        ),
        (
            {"a.yaml": ""},
            "a.yaml:1:1: error: found an empty file, expected a mapping with "
            "rules, lists, approved, clients, schedules or include",
        ),
    ],
)
def test_entries_that_cannot_be_followed(files: dict[str, str], message: str) -> None:
    assert said({"p.yaml": "policy: p\ninclude: a.yaml\n", **files}) == [message]


def test_a_file_is_included_once() -> None:
    files = {"p.yaml": "policy: p\ninclude: [a.yaml, b.yaml]\n", "a.yaml": "include: b.yaml\n", "b.yaml": "rules: []\n"}
    assert said(files) == [
        'p.yaml:2:19: error: include: "b.yaml" stands here again; it is already in a.yaml:1',
    ]


@pytest.mark.parametrize(
    ("text", "place", "thing"),
    [
        ("rules: [{rule: n, when: {}, action: log}]\n", "3:16", "rule"),
        ("approved: [{name: n, protocol: ipsec, server: 203.0.113.1}]\n", "3:19", "approval"),
        ("lists: {n: [443]}\n", "3:9", "list"),
        ("clients: {n: 198.51.100.1}\n", "3:11", "client group"),
        ('schedules: {n: {hours: "08:00-18:00"}}\n', "3:13", "schedule"),
    ],
)
def test_a_name_that_stands_twice_names_both_places(text: str, place: str, thing: str) -> None:
    assert said({"p.yaml": "policy: p\ninclude: a.yaml\n" + text, "a.yaml": text}) == [
        f'p.yaml:{place}: error: the {thing} "n" stands here again; it is already in a.yaml:1',
    ]
