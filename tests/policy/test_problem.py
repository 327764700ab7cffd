"""Problems: their one-line form, their order, and what they may show of a file."""

import pytest

from middlebox.policy.problem import PolicyError, Problem, Severity, listed, quoted, suggestion


def problem(file: str, line: int, column: int, message: str = "m") -> Problem:
    return Problem(file, line, column, Severity.ERROR, message)


def test_a_problem_reads_as_compilers_write_them() -> None:
    assert str(problem("rules/a.yaml", 7, 11, "wrong")) == "rules/a.yaml:7:11: error: wrong"


def test_problems_come_sorted_by_file_line_and_column_and_each_once() -> None:
    places = [("b", 1, 1), ("a", 10, 2), ("a", 9, 7), ("a", 10, 1), ("a", 9, 7)]
    error = PolicyError(problem(*place) for place in places)
    assert [(p.file, p.line, p.column) for p in error.problems] == [
        ("a", 9, 7),
        ("a", 10, 1),
        ("a", 10, 2),
        ("b", 1, 1),
    ]
    assert str(error).splitlines()[0] == "a:9:7: error: m"


def test_found_text_cannot_command_the_terminal_or_flood_it() -> None:
    assert quoted("a\x1b[2J\nb\ud800") == r'"a\x1b[2J\nb\ud800"'
    assert quoted("x" * 1000) == '"' + "x" * 57 + '..."'


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("wiregard", ["openvpn", "wireguard"], '; did you mean "wireguard"?'),
        ("hq", ["HQ"], '; did you mean "HQ"?'),
        ("zzz", ["openvpn"], ""),
        ("zzz", [], ""),
    ],
)
def test_the_nearest_word_is_suggested_if_one_is_near(word: str, known: list[str], expected: str) -> None:
    assert suggestion(word, known) == expected


def test_alternatives_are_listed_as_people_do() -> None:
    assert listed(["a", "b", "c"]) == "a, b or c"
    assert listed(["a"]) == "a"
