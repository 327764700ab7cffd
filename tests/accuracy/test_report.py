"""The pages: every figure of the findings in its place."""

from pathlib import Path

from middlebox.accuracy.arguments import Arguments
from middlebox.accuracy.measure import Measured
from middlebox.accuracy.pages import share, write_pages
from middlebox.accuracy.report import CONFUSION, Findings, draw, sections, shipped_figures
from middlebox.accuracy.speed import Worst
from middlebox.lab.result import wilson_interval
from tests.accuracy.outcomes import flow, said


def findings() -> Findings:
    outcomes = [
        said(flow(), "openvpn", "confirmed", payload_packets=2, ndpi="OpenVPN"),
        said(flow("<b>odd|label</b>", "vpn", ("wireguard",)), "openvpn", "possible"),
        said(flow("http", "ordinary", ("http",)), "http", "confirmed"),
    ]
    measured = Measured(outcomes, [], [], 3, 99)
    return Findings(measured, Arguments(), None, [Worst("dns", 77.4, "odd.pcap", 1, 60)], 1, [])


def test_pages_show_what_was_found(tmp_path: Path) -> None:
    markdown, html = tmp_path / "docs" / "accuracy.md", tmp_path / "build" / "accuracy.html"
    write_pages(sections(findings()), draw(findings()), markdown=markdown, html=html, facts={"Python": "3"})
    text = markdown.read_text()
    assert "99 packets were replayed" in text
    assert "| openvpn | vpn | 1/0 | 0/0 | 0/1 |" in text
    assert "odd\\|label" in text
    assert "| dns | 77 | 60 | odd.pcap |" in text
    assert (markdown.parent / CONFUSION).read_text().count("<svg") == 1
    page = html.read_text()
    assert "<b>odd|label</b>" not in page
    assert "&lt;b&gt;odd|label&lt;/b&gt;" in page
    assert page.count("<svg") == 3


def test_pictures_are_the_same_on_every_run() -> None:
    assert draw(findings()) == draw(findings())


def test_shipped_figures_are_counts() -> None:
    assert shipped_figures(findings())["openvpn"] == {
        "precision": {"confirmed": {"right": 1, "of": 1}, "possible": {"right": 0, "of": 1}},
        "recall": {"recognised": 1, "of": 1},
    }


def test_a_share_is_written_with_its_interval() -> None:
    assert share(wilson_interval(9, 10)) == "90 % (59.6 %–98.2 %)"  # noqa: RUF001
    assert share(None) == "–"  # noqa: RUF001
