"""YAML with places: what is read, where it stood, and what YAML 1.1 would have made of it."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middlebox.policy.yaml_positions import MAX_CHARACTERS, MAX_DEPTH, read_yaml


def problems(text: str) -> list[str]:
    return [str(problem) for problem in read_yaml(text, "f").problems]


def test_data_and_places_of_keys_and_values() -> None:
    document = read_yaml("a: 1\nb:\n  - x\n  - {c: 'no', d: ~}\n", "f")
    assert document.data == {"a": 1, "b": ["x", {"c": "no", "d": None}]}
    assert not document.problems
    key, value = document.key_place(("b", 1, "c")), document.value_place(("b", 1, "c"))
    assert (key.line, key.column) == (4, 6)
    assert (value.line, value.column) == (4, 9)
    assert document.value_place(("a",)).written == "1"
    assert value.written == ""  # it stands in quotes


def test_a_path_that_does_not_exist_has_the_place_of_what_is_around_it() -> None:
    document = read_yaml("a:\n  b: 1\n", "f")
    assert document.value_place(("a", "b", 0, "str")) == document.value_place(("a", "b"))
    assert document.key_place(("a", "missing")) == document.value_place(("a",))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("-12", -12),
        ("0", 0),
        ("1.5", 1.5),
        ("~", None),
        ("2027-01-01", date(2027, 1, 1)),
        ("2027-01-01T10:00:00Z", datetime(2027, 1, 1, 10, tzinfo=UTC)),
        ('"on"', "on"),
        ("'53:53'", "53:53"),
        ("203.0.113.7", "203.0.113.7"),
        ("1e3", "1e3"),
        ("=", "="),
        ("|\n  two\n  lines\n", "two\nlines\n"),
    ],
)
def test_values_that_mean_what_they_say(text: str, value: object) -> None:
    document = read_yaml(f"- {text}", "f")
    assert document.data == [value]
    assert type(document.data[0]) is type(value)
    assert not document.problems


TRAPS = [
    ("on", 'YAML reads on as true; write "on" or true'),
    ("Off", 'YAML reads Off as false; write "Off" or false'),
    ("yes", 'YAML reads yes as true; write "yes" or true'),
    ("NO", 'YAML reads NO as false; write "NO" or false'),
    ("53:53", 'YAML reads 53:53 as the number 3233; write "53:53"'),
    ("1:30.5", 'YAML reads 1:30.5 as the number 90.5; write "1:30.5"'),
    ("1.10", 'YAML reads 1.10 as the number 1.1; write "1.10"'),
    ("0755", 'YAML reads 0755 as the number 493; write "0755"'),
    ("0x1F", 'YAML reads 0x1F as the number 31; write "0x1F"'),
    ("1_000", 'YAML reads 1_000 as the number 1000; write "1_000"'),
    ("+5", 'YAML reads +5 as the number 5; write "+5"'),
    (".inf", 'YAML reads .inf as the number inf; write ".inf"'),
    ("2027-13-45", 'YAML reads 2027-13-45 as a date, but it is none; write "2027-13-45"'),
    ("12345678901234567890", "found a number of 20 digits, expected at most 18"),
    ("!!str on", 'the tag "str" is not used here; write the value without it'),
    ("!secret x", 'the tag "!secret" is not used here; write the value without it'),
    ("!!python/name:os.system x", 'the tag "python/name:os.system" is not used here; write the value without it'),
    ("*name", 'YAML reads *name as an alias; write "*name"'),
    ("&name x", 'YAML reads &name as an anchor; anchors are not used here: write "&name"'),
    (r'"\ud800"', "found half of a surrogate pair, expected Unicode text"),
]


@pytest.mark.parametrize(("text", "message"), TRAPS, ids=[text for text, _ in TRAPS])
def test_values_that_yaml_would_change_are_refused(text: str, message: str) -> None:
    assert problems(f"a:\n  - {text}\n") == [f"f:2:5: error: {message}"]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("on", 'YAML reads the key on as true or false; write "on"'),
        ("1.10", 'YAML reads the key 1.10 as a number; write "1.10"'),
        ("2027-01-01", 'YAML reads the key 2027-01-01 as a date; write "2027-01-01"'),
        ("~", 'YAML reads the key ~ as nothing; write "~"'),
        ("<<", "merge keys (<<) are not used here; write the entries out"),
        ("!!binary x", 'YAML reads the key x as what the tag "binary" makes of it; write "x"'),
        ("[a]", "found a list or mapping as a key, expected a text"),
        (r'"\udfff"', "found half of a surrogate pair, expected Unicode text"),
    ],
)
def test_keys_that_are_no_text_are_refused(key: str, message: str) -> None:
    document = read_yaml(f"a: 1\n{key}: {{b: 2}}\n", "f")
    assert [str(problem) for problem in document.problems] == [f"f:2:1: error: {message}"]
    assert document.data == {"a": 1}


def test_a_duplicate_key_is_refused_with_both_lines() -> None:
    document = read_yaml("a: 1\nb: 2\n'a': 3\n", "f")
    assert [str(p) for p in document.problems] == [
        'f:3:1: error: the key "a" stands here again; it is already in line 1'
    ]
    assert document.data == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:\n\t- b", "2:1: error: YAML does not allow tabs here; indent with spaces"),
        ("a: @b", '1:4: error: YAML does not allow "@" here; write the text in quotes'),
        ("a: *.b", "1:5: error: YAML reads * as the beginning of an alias; write the text in quotes"),
        (
            "a: b: c",
            "1:5: error: YAML does not allow a second colon here; write text that contains a colon in quotes",
        ),
        ("a: 1\n---\nb: 2", "2:1: error: a second document begins here; write one document in each file"),
        (
            "a: [b",
            "1:6: error: not valid YAML: expected ',' or ']', but got '<stream end>' (while parsing a flow sequence)",
        ),
        ("a: \x01", "1:4: error: the character U+0001 is not allowed"),
        ("a: 1\nbc: \ud800", "2:5: error: the character U+D800 is not allowed"),
        ('a: "\\UFFFFFFFF"', "1:7: error: not valid YAML: no such Unicode character"),
        ("[" * 100_000, f"1:{MAX_DEPTH + 1}: error: nested more than {MAX_DEPTH} levels deep"),
        ("#" * (MAX_CHARACTERS + 1), "1:1: error: 1000001 characters of YAML, expected at most 1000000"),
    ],
)
def test_text_that_is_no_yaml_gives_one_problem(text: str, message: str) -> None:
    document = read_yaml(text, "f")
    assert [str(problem) for problem in document.problems] == [f"f:{message}"]
    assert not document.readable


def test_aliases_cannot_unfold_into_gigabytes() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{after}: &{after} [*{before}, *{before}]\n"
        for before, after in zip("abcdefghijklmnop", "bcdefghijklmnopq", strict=True)
    )
    document = read_yaml(bomb, "f")
    assert len(document.problems) == 17 + 32
    assert document.data["q"] == ["*p", "*p"]


@settings(deadline=None)  # other work on the machine is not the parser's fault
@given(st.text(alphabet=st.sampled_from("ab:-[]{}?&*!|>'\"%@`#,\n\t 01.\\\ud800xu"), max_size=60))
def test_no_text_makes_it_raise(text: str) -> None:
    document = read_yaml(text, "f")
    assert document.readable or document.problems
