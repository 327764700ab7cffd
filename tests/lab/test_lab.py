"""The run's directory, and programs on hosts: here on this machine itself, which needs no root."""

import base64
import ssl
import stat
import sys
import threading
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from middlebox.lab import install
from middlebox.lab.clients import source_port
from middlebox.lab.hosts import TIMED_OUT, CancelledError, Host, LabError, NotInTimeError, Patience
from middlebox.lab.keys import new_wireguard_key
from middlebox.lab.lab import RunDirectory
from middlebox.lab.run import SCENARIOS, _read_policy
from middlebox.lab.scenario import MAX_STEPS, load_scenario
from middlebox.policy.load import PolicyError
from middlebox.shells.errors import InputError


@pytest.fixture
def files(tmp_path) -> RunDirectory:
    files = RunDirectory(tmp_path, str(tmp_path))
    files.fill(load_scenario(SCENARIOS / "default.yaml"))
    return files


@pytest.fixture
def host(tmp_path):
    for name in ("logs", "pids"):
        (tmp_path / name).mkdir(exist_ok=True)
    host = Host("here", (), tmp_path, str(tmp_path), sys.executable, Patience(threading.Event()))
    yield host
    for process in host.started:
        process.stop()


# --- the run's directory ----------------------------------------------------------------------------


def test_private_keys_are_for_their_owner_only(files):
    for name in ("server.key", "client.key", "ssh_host", "ssh_client"):
        assert stat.S_IMODE((files.path / "keys" / name).stat().st_mode) == 0o600


def test_server_certificate_is_signed_by_the_run_s_authority(files):
    keys = files.path / "keys"
    context = ssl.create_default_context(cafile=str(keys / "ca.crt"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(keys / "server.crt", keys / "server.key")
    pipes = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = context.wrap_bio(pipes[0], pipes[1], server_hostname="www.lab.example")
    far = server.wrap_bio(pipes[1], pipes[0], server_side=True)
    for side in (near, far, near, far):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert near.version() == "TLSv1.3"
    assert ("DNS", "blocked.lab.example") in near.getpeercert()["subjectAltName"]


def test_wireguard_public_key_belongs_to_its_private_key():
    key = new_wireguard_key()
    private = X25519PrivateKey.from_private_bytes(base64.b64decode(key.private))
    assert base64.b64encode(private.public_key().public_bytes_raw()).decode() == key.public


def test_keys_are_new_in_every_run(files, tmp_path):
    other = RunDirectory(tmp_path / "other", "")
    other.fill(load_scenario(SCENARIOS / "default.yaml"))
    assert other.wireguard["wireguard-approved"] != files.wireguard["wireguard-approved"]


def test_another_process_takes_over_what_was_saved(files):
    files.save()
    other = RunDirectory(files.path, files.inside)
    other.load()
    assert (other.wireguard, other.digests) == (files.wireguard, files.digests)


def test_shipped_policy_gets_the_run_s_key_and_is_valid(files):
    policy, text = _read_policy(SCENARIOS / "default.policy.yaml", files)
    key = files.wireguard["wireguard-approved"].server.public
    assert key in text
    assert policy.approvals[0].public_keys == (base64.b64decode(key),)


def test_placeholder_that_stands_for_nothing_is_named_with_the_known_ones(files):
    with pytest.raises(InputError) as caught:
        files.fill_in('policy: x\nkey: "${wireguard.key}"\n', "p.yaml")
    assert str(caught.value) == (
        'p.yaml:2:7: error: "${wireguard.key}" stands for nothing; '
        "known: wireguard-unapproved.public_key, wireguard-approved.public_key"
    )


def test_wrong_policy_is_refused_with_its_own_name_before_anything_starts(files, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text("policy: p\nrulez: []\n")
    with pytest.raises(PolicyError, match=f"{path}:2:1: error: .*rulez"):
        _read_policy(path, files)


def test_fetched_file_is_compared_with_what_the_server_has(files):
    content = (files.path / "www" / "200k.bin").read_bytes()
    (files.path / "fetched" / "x").write_bytes(content)
    assert files.fetched_matches("fetched/x", 200)
    (files.path / "fetched" / "x").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert not files.fetched_matches("fetched/x", 200)
    assert not files.fetched_matches("fetched/none", 200)


def test_source_ports_of_steps_and_phases_never_meet():
    first = [source_port(number, phase) for phase in ("control", "policy") for number in range(MAX_STEPS)]
    ports = sorted(first)
    assert all(later - earlier >= 100 for earlier, later in pairwise(ports))
    assert ports[-1] + 99 < 32768  # where Linux begins to hand ports out by itself


# --- hosts ------------------------------------------------------------------------------------------


def test_command_over_its_time_is_ended_where_it_runs(host):
    assert host.run("sleep", "30", seconds=0.2).status == TIMED_OUT


def test_command_that_must_succeed_says_what_it_said(host):
    with pytest.raises(LabError, match="here: sh -c echo broken >&2; exit 3: status 3: broken"):
        host.must("sh", "-c", "echo broken >&2; exit 3")


def test_wait_says_what_it_waited_for(host):
    with pytest.raises(NotInTimeError, match="waited 0 s in vain for rain"):
        host.patience.until(lambda: False, "rain", 0.05)


def test_wait_ends_when_the_run_is_interrupted(host):
    host.patience.cancelled.set()
    with pytest.raises(CancelledError):
        host.patience.until(lambda: False, "rain", 60)


def test_process_that_ends_instead_of_getting_ready_is_quoted(host):
    process = host.start("p", "sh", "-c", "echo no such luck; exit 4")
    with pytest.raises(LabError, match="p ended with status 4: no such luck"):
        process.wait_ready(lambda: False, "luck")


def test_stopped_process_has_ended_politely(host):
    process = host.start("p", "sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done")
    process.wait_ready(lambda: "up" in process.log(), "p to be up")
    assert process.stop() == 0
    assert process.log() == "up\nbye\n"


def test_process_that_does_not_listen_is_killed(host, monkeypatch):
    monkeypatch.setattr("middlebox.lab.hosts._GRACE_SECONDS", 0.3)
    process = host.start("p", "sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done")
    process.wait_ready(lambda: "up" in process.log(), "p to be up")
    assert process.stop() is None
    assert not process.is_running()


# --- installing -------------------------------------------------------------------------------------


def test_missing_programs_are_found_and_named_by_their_package():
    needs = (install.Need(("sh",), ("dash",)), install.Need(("no-such-program",), ("no-such-package",)))
    missing = install.find_missing(needs)
    assert install.package_names(missing) == "no-such-package"


def test_any_of_several_programs_will_do():
    assert install.find_missing((install.Need(("no-such-program", "/bin/sh"), ("x",)),)) == []


def test_unknown_set_of_programs_is_answered_with_the_usage(capsys):
    assert install.main(["everything"]) == 2
    assert "build|netns|docker|auto" in capsys.readouterr().err
