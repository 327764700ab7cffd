"""The report: the same result for the terminal and for the browser."""

import io
import re

import pytest
from rich.console import Console
from typer.testing import CliRunner

from middlebox.lab import cli, judge
from middlebox.lab.report import print_result, write_report
from middlebox.lab.result import Check, InterfaceCounters, Result, RuleCount, Score
from tests.lab.results import CONTROL, HTTPS, PASSED, REFUSED, SCENARIO, VPN, event, https_event


@pytest.fixture
def result() -> Result:
    events = [event("decision"), event(), https_event()]
    steps = [
        judge.judge_step(SCENARIO, HTTPS, PASSED, None, events),
        judge.judge_step(SCENARIO, VPN, REFUSED, CONTROL, events),
    ]
    return Result(
        scenario="small", title="A <small> one", driver="netns", started="2026-11-23T12:00:00+00:00", seconds=12.3,
        repeat="make lab SCENARIO=small DRIVER=netns", policy="p", policy_text="policy: p\n", steps=steps,
        checks=[Check(what="events", expected="at least 1", found="1", met=True)],
        rules=[RuleCount(rule="unapproved-vpn", action="reset", decisions=1)],
        rule_scores=[
            Score(name="unapproved-vpn", true_positives=1, false_positives=0, false_negatives=0, true_negatives=1)
        ],
        protocol_scores=judge.score_protocols(steps),
        counters=[
            InterfaceCounters(interface="eth0", side="client", packets_in=7, packets_out=9, bytes_in=70, bytes_out=90)
        ],
        gateway_summary="inspected 12 packets", versions={"curl": "7.88.1"}, files=["events.jsonl"],
    )  # fmt: skip


def printed(result: Result, tmp_path) -> str:
    output = io.StringIO()
    print_result(result, tmp_path, Console(file=output, width=120))
    return output.getvalue()


def test_page_shows_everything_and_loads_nothing(result, tmp_path):
    write_report(result, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    for text in (
        "All 3 expectations met in 12 s.", "OpenVPN", "was refused", "unapproved-vpn", "on packet 2",
        "openvpn confirmed",
        "inspected 12 packets", "curl 7.88.1", "make lab SCENARIO=small DRIVER=netns", "100% (21% to 100%)",
    ):  # fmt: skip
        assert text in page
    assert not re.search(r"<script|<link|src=|https?://", page)


def test_page_escapes_what_it_shows(result, tmp_path):
    write_report(result, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "A &lt;small&gt; one" in page
    assert "A <small> one" not in page


def test_table_says_what_was_tried_what_should_and_what_did_happen(result, tmp_path):
    text = printed(result, tmp_path)
    row = next(line for line in text.splitlines() if "OpenVPN" in line)
    assert row.split() == ["ok", "OpenVPN", "openvpn", "be", "refused", "was", "refused", "6.00", "unapproved-vpn"]
    assert "All 3 expectations met in 12 s." in text


def test_table_and_page_name_what_went_wrong(result, tmp_path):
    result.steps[1].problems.append("it passed, expected refused: tunnel up")
    result.checks[0].met = False
    text = printed(result, tmp_path)
    assert "vpn: it passed, expected refused: tunnel up" in text
    assert "2 of 3 expectations not met." in text
    write_report(result, tmp_path / "report.html")
    assert "it passed, expected refused: tunnel up" in (tmp_path / "report.html").read_text()


def test_result_survives_a_round_trip_through_json(result):
    assert Result.model_validate_json(result.model_dump_json()) == result


def test_report_command_shows_an_earlier_result_and_its_exit_status(result, tmp_path):
    result.checks[0].met = False
    (tmp_path / "result.json").write_text(result.model_dump_json())
    done = CliRunner().invoke(cli.app, ["report", str(tmp_path)])
    assert done.exit_code == 1
    assert "1 of 3 expectations not met." in done.stdout
    assert (tmp_path / "report.html").exists()


def test_report_command_without_a_result_says_what_to_do(tmp_path):
    done = CliRunner().invoke(cli.app, ["report", str(tmp_path)])
    assert done.exit_code == 2
    assert done.stderr == f"middlebox: there is no {tmp_path}/result.json; run the scenario first\n"
