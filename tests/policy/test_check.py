"""`check_files`: several policies, all their problems."""

from pathlib import Path

import pytest

from middlebox.policy.check import check_files

GOOD = "policy: good\n"


def test_good_policies_have_no_problems(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    assert check_files([tmp_path / "a.yaml"]) == []


def test_the_shipped_policies_have_no_problems() -> None:
    rules = Path(__file__).parents[2] / "rules"
    shipped = sorted(set(rules.glob("*.yaml")) - set(rules.glob("*.test.yaml")))
    assert len(shipped) >= 2
    assert check_files(shipped) == []


def test_problems_of_all_files_come_in_the_order_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("b.yaml").write_text("policy: b\ndefault: deny\nmode: on\n")
    Path("a.yaml").write_text("policy: a\ndefualt: pass\n")
    found = check_files([Path("b.yaml"), Path("missing.yaml"), Path("a.yaml"), Path("b.yaml")])
    assert [str(problem) for problem in found] == [
        'b.yaml:2:10: error: default: found "deny", expected pass, drop, reset or reject; did you mean "reject"?',
        'b.yaml:3:7: error: YAML reads on as true; write "on" or true',
        "missing.yaml:1:1: error: cannot read missing.yaml: No such file or directory",
        'a.yaml:2:1: error: "defualt" is not a field of a policy; did you mean "default"?',
    ]
