"""The text of the hook, and the mark it is written with. Pure except for the last part, which loads it for real."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middlebox.shells.errors import InputError
from middlebox.shells.firewall import (
    DEFAULT_MARK_MASK,
    SAVED_VERDICTS,
    HookCounters,
    HookSettings,
    Marks,
    parse_iptables_save,
    parse_nft_table,
    render_iptables,
    render_nft,
)
from middlebox.verdict import Verdict
from tests.shells.network import Network, lab_net  # noqa: F401 - a fixture

# --- marks ------------------------------------------------------------------------------------------

masks = st.integers(6, 32).flatmap(lambda bits: st.integers(0, 32 - bits).map(lambda shift: ((1 << bits) - 1) << shift))
epochs = st.integers(0, 1 << 40)


@given(masks, epochs, st.sampled_from(SAVED_VERDICTS))
def test_mark_lies_within_the_mask_and_is_never_zero(mask, epoch, verdict):
    mark = Marks(mask, epoch).encode(verdict)
    assert mark & ~mask == 0
    assert mark != 0


@given(masks, epochs)
def test_verdict_is_in_the_lowest_five_bits_and_the_epoch_above(mask, epoch):
    lowest = mask & -mask
    for verdict in SAVED_VERDICTS:
        field = Marks(mask, epoch).encode(verdict) // lowest
        assert field & 0b11111 == verdict
        assert field >> 5 == epoch % Marks(mask, epoch).epochs


@given(masks, epochs, st.integers(1, 1000), st.sampled_from(SAVED_VERDICTS), st.sampled_from(SAVED_VERDICTS))
def test_mark_of_another_epoch_never_matches(mask, epoch, later, verdict, other_verdict):
    now = Marks(mask, epoch)
    if later % now.epochs:
        assert now.encode(verdict) != Marks(mask, epoch + later).encode(other_verdict)


def test_default_mask_tells_128_epochs_apart():
    assert Marks(DEFAULT_MARK_MASK).epochs == 128
    assert Marks(DEFAULT_MARK_MASK, 1).encode(Verdict.PASS) == 0x02100000


@given(masks, epochs, st.lists(st.integers(1, 10**11), min_size=1, max_size=23, unique=True).map(sorted))
def test_every_rate_has_a_mark_of_its_own(mask, epoch, rates):
    marks = Marks(mask, epoch, tuple(rates))
    codes = [marks.encode(Verdict.THROTTLE, rate) // (mask & -mask) & 0b11111 for rate in rates]
    assert codes == list(range(8, 8 + len(rates)))
    assert marks.seen // (mask & -mask) & 0b11111 == 31


@pytest.mark.parametrize(("verdict", "rate"), [(Verdict.THROTTLE, 7), (Verdict.THROTTLE, None), (Verdict.DNS, None)])
def test_what_a_connection_cannot_keep_has_no_mark(verdict, rate):
    with pytest.raises(ValueError, match=f"no mark for {verdict.name}"):
        Marks(rates=(8, 9)).encode(verdict, rate)


def test_more_rates_than_the_marks_can_tell_apart_are_refused():
    HookSettings(rates=tuple(range(1, 24)))
    with pytest.raises(InputError, match="throttles at 24 different rates: expected at most 23; give rules"):
        HookSettings(rates=tuple(range(1, 25)))


@pytest.mark.parametrize("mask", [0, 0x7, 0xF0F, 0x1FFFFFFFF, -16, 0x80000001])
def test_unusable_mask_is_refused_with_an_example(mask):
    with pytest.raises(InputError, match=r"expected one contiguous run of at least 6 bits .*0xfff00000"):
        HookSettings(mark_mask=mask)


# --- text -------------------------------------------------------------------------------------------

IPTABLES = """\
*filter
:MIDDLEBOX - [0:0]
-I FORWARD 1 -j MIDDLEBOX
-A MIDDLEBOX -p tcp --syn -m connmark ! --mark 0/0xfff00000 -j CONNMARK --set-xmark 0/0xfff00000
-A MIDDLEBOX -m connmark --mark 0x06100000/0xfff00000 -j RETURN
-A MIDDLEBOX -m connmark --mark 0x06200000/0xfff00000 -j DROP
-A MIDDLEBOX -p tcp -m connmark --mark 0x06300000/0xfff00000 -j REJECT --reject-with tcp-reset
-A MIDDLEBOX -m connmark --mark 0x06300000/0xfff00000 -j REJECT --reject-with icmp-admin-prohibited
-A MIDDLEBOX -p tcp -m connmark --mark 0x06400000/0xfff00000 -j REJECT --reject-with tcp-reset
-A MIDDLEBOX -m connmark --mark 0x06400000/0xfff00000 -j REJECT --reject-with icmp-admin-prohibited
-A MIDDLEBOX -m mark --mark 0xfff00000/0xfff00000 -j RETURN
-A MIDDLEBOX -m mark ! --mark 0/0xfff00000 -j CONNMARK --save-mark --nfmask 0xfff00000 --ctmask 0xfff00000
-A MIDDLEBOX -m mark --mark 0x06100000/0xfff00000 -j RETURN
-A MIDDLEBOX -m mark --mark 0x06200000/0xfff00000 -j DROP
-A MIDDLEBOX -p tcp -m mark --mark 0x06300000/0xfff00000 -j REJECT --reject-with tcp-reset
-A MIDDLEBOX -m mark --mark 0x06300000/0xfff00000 -j REJECT --reject-with icmp-admin-prohibited
-A MIDDLEBOX -p tcp -m mark --mark 0x06400000/0xfff00000 -j REJECT --reject-with tcp-reset
-A MIDDLEBOX -m mark --mark 0x06400000/0xfff00000 -j REJECT --reject-with icmp-admin-prohibited
-A MIDDLEBOX -p icmp -m conntrack --ctstate RELATED -j RETURN
-A MIDDLEBOX -j NFQUEUE --queue-num 7 --queue-bypass
COMMIT
"""

NFT = """\
table inet middlebox
delete table inet middlebox
table inet middlebox {
	chain judge {
		tcp flags & (fin | syn | rst | ack) == syn ct mark & 0xfff00000 != 0 ct mark set ct mark & 0x000fffff
		ct mark & 0xfff00000 == 0x06100000 counter accept
		ct mark & 0xfff00000 == 0x06200000 counter drop
		meta l4proto tcp ct mark & 0xfff00000 == 0x06300000 counter reject with tcp reset
		ct mark & 0xfff00000 == 0x06300000 counter reject with icmpx admin-prohibited
		meta l4proto tcp ct mark & 0xfff00000 == 0x06400000 counter reject with tcp reset
		ct mark & 0xfff00000 == 0x06400000 counter reject with icmpx admin-prohibited
		meta mark & 0xfff00000 == 0xfff00000 counter accept
		meta mark & 0xfff00000 == 0x06100000 ct mark set ct mark & 0x000fffff | 0x06100000 counter accept
		meta mark & 0xfff00000 == 0x06200000 ct mark set ct mark & 0x000fffff | 0x06200000 counter drop
		meta l4proto tcp meta mark & 0xfff00000 == 0x06300000 ct mark set ct mark & 0x000fffff | 0x06300000 \
counter reject with tcp reset
		meta mark & 0xfff00000 == 0x06300000 ct mark set ct mark & 0x000fffff | 0x06300000 \
counter reject with icmpx admin-prohibited
		meta l4proto tcp meta mark & 0xfff00000 == 0x06400000 ct mark set ct mark & 0x000fffff | 0x06400000 \
counter reject with tcp reset
		meta mark & 0xfff00000 == 0x06400000 ct mark set ct mark & 0x000fffff | 0x06400000 \
counter reject with icmpx admin-prohibited
		meta l4proto { icmp, ipv6-icmp } ct state related counter accept
		counter queue num 7 bypass
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
		jump judge
	}
}
"""

SETTINGS = HookSettings(queue_num=7, epoch=3)


def test_iptables_text_is_the_one_we_reviewed():
    assert render_iptables(SETTINGS) == IPTABLES


def test_ip6tables_text_differs_in_icmp_only():
    expected = IPTABLES.replace("icmp-admin-prohibited", "icmp6-adm-prohibited").replace("-p icmp ", "-p ipv6-icmp ")
    assert render_iptables(SETTINGS, ipv6=True) == expected


def test_nft_text_is_the_one_we_reviewed():
    assert render_nft(SETTINGS) == NFT


THROTTLED = HookSettings(queue_num=7, epoch=3, rates=(128_000, 10_000_000))


def test_iptables_text_polices_each_rate():
    added = set(render_iptables(THROTTLED).splitlines()) - set(IPTABLES.splitlines())
    limit = "--hashlimit-mode srcip,srcport,dstip,dstport --hashlimit-name"
    assert added == {
        line
        for match in ("connmark", "mark")
        for line in (
            f"-A MIDDLEBOX -m {match} --mark 0x06800000/0xfff00000 -m length --length 16001:65535 -j DROP",
            f"-A MIDDLEBOX -m {match} --mark 0x06800000/0xfff00000 -m hashlimit "
            f"--hashlimit-above 16000b/s {limit} middlebox-128000 -j DROP",
            f"-A MIDDLEBOX -m {match} --mark 0x06800000/0xfff00000 -j RETURN",
            f"-A MIDDLEBOX -m {match} --mark 0x06900000/0xfff00000 -m hashlimit "
            f"--hashlimit-above 1250000b/s {limit} middlebox-10000000 -j DROP",
            f"-A MIDDLEBOX -m {match} --mark 0x06900000/0xfff00000 -j RETURN",
        )
    }


def test_nft_text_polices_each_rate():
    text = render_nft(THROTTLED)
    assert "\t\tct mark & 0xfff00000 == 0x06800000 goto throttle-128000\n" in text
    assert (
        "\t\tmeta mark & 0xfff00000 == 0x06900000 ct mark set ct mark & 0x000fffff | 0x06900000 "
        "goto throttle-10000000\n" in text
    )
    assert (
        "\t\tmeta l4proto { tcp, udp } update @ip6-ports-128000 { ip6 saddr . th sport . ip6 daddr . th dport . "
        "meta l4proto limit rate over 16000 bytes/second } counter drop\n" in text
    )


def test_fail_closed_has_no_bypass():
    settings = HookSettings(no_listener_open=False)
    assert "-j NFQUEUE --queue-num 0\n" in render_iptables(settings)
    assert "counter queue num 0\n" in render_nft(settings)


def test_several_queues_are_balanced():
    settings = HookSettings(queue_num=4, queues=3)
    assert "-j NFQUEUE --queue-balance 4:6 --queue-bypass\n" in render_iptables(settings)
    assert "counter queue num 4-6 bypass\n" in render_nft(settings)


def test_interfaces_limit_both_directions():
    settings = HookSettings(interfaces=("eth1", "wg-0.5"))
    text = render_iptables(settings)
    assert "-I FORWARD 1 -i eth1 -o wg-0.5 -j MIDDLEBOX\n-I FORWARD 1 -i wg-0.5 -o eth1 -j MIDDLEBOX\n" in text
    assert "-I FORWARD 1 -j MIDDLEBOX" not in text
    text = render_nft(settings)
    assert 'iifname "eth1" oifname "wg-0.5" jump judge\n\t\tiifname "wg-0.5" oifname "eth1" jump judge\n' in text
    assert "\t\tjump judge\n" not in text


def test_old_jumps_leave_in_the_same_transaction():
    text = render_iptables(SETTINGS, stale_jumps=["FORWARD -j MIDDLEBOX", "FORWARD -i a -o b -j MIDDLEBOX"])
    expected = "-D FORWARD -j MIDDLEBOX\n-D FORWARD -i a -o b -j MIDDLEBOX\n-I FORWARD 1 -j MIDDLEBOX\n"
    assert IPTABLES.replace("-I FORWARD 1 -j MIDDLEBOX\n", expected) == text


@pytest.mark.parametrize("name", ["", "eth0 -j ACCEPT", "eth0\nCOMMIT", "-eth0", "sixteen-letters!", "a" * 16, 'a"b'])
def test_interface_name_that_could_be_more_than_a_name_is_refused(name):
    with pytest.raises(InputError, match="is not an interface name: expected two names, for instance eth0:eth1"):
        HookSettings(interfaces=("eth0", name))


@pytest.mark.parametrize(("queue_num", "queues"), [(-1, 1), (65536, 1), (65535, 2), (0, 0)])
def test_queue_number_out_of_range_is_refused(queue_num, queues):
    with pytest.raises(InputError, match="expected one or more numbers from 0 to 65535"):
        HookSettings(queue_num=queue_num, queues=queues)


# --- reading back -----------------------------------------------------------------------------------


def test_saved_rules_are_read_by_chain_and_target():
    saved = parse_iptables_save(
        "# Generated by iptables-save\n*filter\n:FORWARD ACCEPT [5:300]\n:MIDDLEBOX - [0:0]\n:OTHER - [0:0]\n"
        "[9:540] -A FORWARD -i a -o b -j MIDDLEBOX\n"
        "[1:60] -A FORWARD -j OTHER\n"
        "[10:600] -A MIDDLEBOX -m connmark --mark 0x900000/0xfff00000 -j RETURN\n"
        "[2:120] -A MIDDLEBOX -m mark --mark 0x900000/0xfff00000 -j RETURN\n"
        "[3:180] -A MIDDLEBOX -m connmark --mark 0xa00000/0xfff00000 -j DROP\n"
        "[4:240] -A MIDDLEBOX -p tcp -m connmark --mark 0xb00000/0xfff00000 -j REJECT --reject-with tcp-reset\n"
        "[8:480] -A MIDDLEBOX -m mark ! --mark 0x0/0xfff00000 -j CONNMARK --save-mark\n"
        "[7:420] -A MIDDLEBOX -j NFQUEUE --queue-balance 2:4 --queue-bypass\n"
        "[99:1] -A OTHER -j DROP\nCOMMIT\n"
    )
    assert saved.exists
    assert saved.jumps == ("FORWARD -i a -o b -j MIDDLEBOX",)
    assert saved.queue_nums == (2, 3, 4)
    assert saved.counters == HookCounters(queued=7, accepted=12, dropped=3, rejected=4)


def test_a_firewall_without_our_chain_is_read_as_that():
    saved = parse_iptables_save("*filter\n:FORWARD ACCEPT [0:0]\n[0:0] -A FORWARD -j DROP\nCOMMIT\n")
    assert (saved.exists, saved.jumps, saved.queue_nums, saved.counters) == (False, (), (), HookCounters())


def test_nft_rules_are_read_by_statement():
    queues, counters = parse_nft_table(
        '{"nftables": [{"metainfo": {}}, {"rule": {"expr": [{"match": {}}, {"counter": {"packets": 5}}, '
        '{"accept": null}]}}, {"rule": {"expr": [{"counter": {"packets": 2}}, {"drop": null}]}}, '
        '{"rule": {"expr": [{"counter": {"packets": 3}}, {"reject": {"type": "tcp reset"}}]}}, '
        '{"rule": {"expr": [{"counter": {"packets": 9}}, {"queue": {"num": {"range": [1, 2]}, "flags": "bypass"}}]}}]}'
    )
    assert queues == (1, 2)
    assert counters == HookCounters(queued=9, accepted=5, dropped=2, rejected=3)


# --- the kernel takes it ----------------------------------------------------------------------------

SAVE_AGAIN = ("iptables-save", "-t", "filter")


@pytest.mark.kernel
def test_kernel_takes_the_iptables_text_and_replacing_it_adds_nothing(lab_net: Network):  # noqa: F811
    for restore, ipv6 in (("iptables-restore", False), ("ip6tables-restore", True)):
        save = restore.replace("restore", "save")
        lab_net.on_gateway(restore, "-n", stdin=render_iptables(SETTINGS, ipv6=ipv6))
        first = parse_iptables_save(lab_net.on_gateway(save, "-c", "-t", "filter"))
        assert first.jumps == ("FORWARD -j MIDDLEBOX",)
        assert first.queue_nums == (7,)
        rates = (1_000, 128_000, 10_000_000_000)
        replacement = HookSettings(queue_num=8, epoch=4, interfaces=("inner", "outer"), rates=rates)
        lab_net.on_gateway(restore, "-n", stdin=render_iptables(replacement, ipv6=ipv6, stale_jumps=first.jumps))
        text = lab_net.on_gateway(save, "-c", "-t", "filter")
        second = parse_iptables_save(text)
        assert sorted(second.jumps) == [
            "FORWARD -i inner -o outer -j MIDDLEBOX",
            "FORWARD -i outer -o inner -j MIDDLEBOX",
        ]
        assert second.queue_nums == (8,)
        assert text.count("-A MIDDLEBOX") == render_iptables(replacement).count("-A MIDDLEBOX")
        lab_net.on_gateway(restore, "-n", stdin="*filter\n-F FORWARD\n-F MIDDLEBOX\n-X MIDDLEBOX\nCOMMIT\n")


@pytest.mark.kernel
def test_kernel_takes_the_nft_text_twice_and_lists_it_as_we_read_it(lab_net: Network):  # noqa: F811
    text = render_nft(HookSettings(queue_num=7, epoch=3, interfaces=("inner", "outer"), rates=(1_000, 10_000_000_000)))
    try:
        lab_net.on_gateway("nft", "-c", "-f", "-", stdin=text)
    except AssertionError:  # this kernel's nftables does not know `queue`; the rest of the text is checked
        text = text.replace("queue num 7 bypass", "drop")
    for _ in range(2):
        lab_net.on_gateway("nft", "-f", "-", stdin=text)
    listed = lab_net.on_gateway("nft", "-j", "list", "table", "inet", "middlebox")
    assert listed.count('"rule"') == 16 + 2 + 2 * (2 + 5)
    assert parse_nft_table(listed)[1] == HookCounters()
    lab_net.on_gateway("nft", "delete", "table", "inet", "middlebox")
