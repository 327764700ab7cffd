"""Installs what building and the lab need from Debian's packages, without starting anything on this machine.

Rule of this file: standard library only, so that any Python can run it before anything else is there, and nothing to
see when nothing is missing. Services that it installs are neither started nor enabled.

    python3 middlebox/lab/install.py build|netns|docker|auto|live|ordinary|accuracy
"""

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SYSTEM_DIRECTORIES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_POLICY = Path("/usr/sbin/policy-rc.d")
"invoke-rc.d asks it before it starts a service; 101 means no (invoke-rc.d(8))."
_REFUSE_ALL = "#!/bin/sh\nexit 101\n"
_UNIT_SUFFIXES = (".service", ".socket", ".timer")

_MACHINE_LACKS, _USAGE = 3, 2


@dataclass(frozen=True)
class Need:
    """Something that has to be there, and the packages that bring it."""

    present: tuple[str, ...]
    "Programs or absolute paths; any one of them will do."
    packages: tuple[str, ...]
    "The first of these that this system knows is installed."


def _program(name: str, package: str | None = None) -> Need:
    return Need((name,), (package or name,))


BUILD: tuple[Need, ...] = (
    Need((f"{sysconfig.get_path('stdlib')}/ensurepip/__init__.py",), ("python3-venv",)),
    Need((f"{sysconfig.get_path('include')}/Python.h",), ("python3-dev",)),
    _program("gcc"),
    Need(("/usr/include/stdio.h",), ("libc6-dev",)),
    Need(("/usr/include/libnetfilter_queue/libnetfilter_queue.h",), ("libnetfilter-queue-dev",)),
)
"For the virtual environment and NetfilterQueue, which pip compiles. Paths are those of the Python that runs this."

NETNS: tuple[Need, ...] = (
    _program("openvpn"),
    _program("wireguard-go"),
    _program("wg", "wireguard-tools"),
    _program("nginx", "nginx-light"),
    _program("curl"),
    _program("sshd", "openssh-server"),
    _program("ssh", "openssh-client"),
    _program("dnsmasq", "dnsmasq-base"),
    _program("dig", "bind9-dnsutils"),
    _program("ip", "iproute2"),
    _program("iptables"),
    _program("nft", "nftables"),
    _program("tcpdump"),
    _program("ethtool"),
    _program("conntrack"),
    _program("iperf3"),
    _program("sysctl", "procps"),
    _program("mount"),
)

DOCKER: tuple[Need, ...] = (
    _program("dockerd", "docker.io"),
    Need(("docker",), ("docker-cli", "docker.io")),
    Need(
        (
            "docker-compose",
            "/usr/libexec/docker/cli-plugins/docker-compose",
            "/usr/lib/docker/cli-plugins/docker-compose",
        ),
        ("docker-compose-v2", "docker-compose"),
    ),
    _program("curl"),
    _program("mmdebstrap"),
    Need(("/usr/share/keyrings/debian-archive-keyring.gpg",), ("debian-archive-keyring",)),
)

LIVE: tuple[Need, ...] = (
    *NETNS,
    _program("microsocks"),
    _program("tinyproxy"),
    Need(("ss-server",), ("shadowsocks-libev",)),
    Need(("stunnel4", "stunnel"), ("stunnel4",)),
    _program("iodined", "iodine"),
    _program("tincd", "tinc"),
    _program("fastd"),
)
"For the tunnels and proxies that tests run through a live gateway (tests/lab/test_live_tunnels.py)."

ACCURACY: tuple[Need, ...] = (_program("ndpiReader", "libndpi-bin"),)
"What `make accuracy` compares with."

ORDINARY: tuple[Need, ...] = (
    *NETNS,
    _program("openssl"),
    _program("wget"),
    _program("caddy"),
    _program("chromium"),
    _program("redis-server"),
    _program("memcached"),
    Need(("/usr/lib/postgresql",), ("postgresql",)),
    _program("mariadbd", "mariadb-server"),
    _program("mosquitto"),
    _program("unbound"),
    _program("chronyd", "chrony"),
    _program("dovecot", "dovecot-core"),
    Need(("/usr/lib/dovecot/imap",), ("dovecot-imapd",)),
    Need(("/usr/lib/dovecot/pop3",), ("dovecot-pop3d",)),
    _program("git"),
    _program("rsync"),
    _program("7z", "p7zip-full"),
    _program("gpg"),
    _program("xz", "xz-utils"),
    _program("ping", "iputils-ping"),
    _program("turnserver", "coturn"),
    _program("ffmpeg"),
)
"For ordinary traffic in bulk (middlebox.lab.ordinary)."


def main(arguments: list[str]) -> int:
    """Install what building or a driver needs; the exit status."""
    match arguments:
        case ["build"]:
            needs = BUILD
        case ["netns"]:
            needs = NETNS
        case ["docker"]:
            needs = DOCKER
        case ["live"]:
            needs = LIVE
        case ["accuracy"]:
            needs = ACCURACY
        case ["ordinary"]:
            needs = ORDINARY
        case ["auto"]:
            needs = DOCKER if _find("dockerd") else NETNS
        case _:
            print(__doc__, file=sys.stderr)
            return _USAGE
    missing = find_missing(needs)
    if not missing:
        return 0
    names = package_names(missing)
    if os.geteuid() != 0:
        print(f"lab: not installed: {names}: run this with sudo", file=sys.stderr)
        return _MACHINE_LACKS
    if not _find("apt-get"):
        print(f"lab: not installed: {names}: this is no Debian, so install them yourself", file=sys.stderr)
        return _MACHINE_LACKS
    print(f"lab: installing {names}", file=sys.stderr)
    return _install(missing)


def find_missing(needs: tuple[Need, ...]) -> list[Need]:
    """Which of these are not there."""
    return [need for need in needs if not any(_find(name) for name in need.present)]


def package_names(needs: list[Need]) -> str:
    """The packages that bring them, for messages."""
    return ", ".join(dict.fromkeys(need.packages[-1] for need in needs))


def _find(name: str) -> str | None:
    """The path of a program, also where the search path lacks the directories of system programs."""
    if name.startswith("/"):
        return name if os.path.exists(name) else None
    path = os.pathsep.join([os.environ.get("PATH", ""), *_SYSTEM_DIRECTORIES])
    return shutil.which(name, path=path)


def _install(missing: list[Need]) -> int:
    before = _installed_packages()
    with _no_service_starts():
        complaint = _apt_install(missing)
        if complaint is not None:
            # Package lists that are missing or old are the usual reason.
            subprocess.run(["apt-get", "update", "-q"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
            complaint = _apt_install(missing)
    _disable_units(_installed_packages() - before)
    if complaint is not None:
        print(f"lab: apt-get could not install the lab's programs: {complaint}", file=sys.stderr)
        return _MACHINE_LACKS
    return 0


def _apt_install(missing: list[Need]) -> str | None:
    """Install packages; None, or what apt-get complained about."""
    packages = sorted({_first_known(need.packages) for need in missing})
    done = subprocess.run(
        ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *packages],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
    )
    if done.returncode == 0:
        return None
    return (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]


def _first_known(packages: tuple[str, ...]) -> str:
    for package in packages[:-1]:
        done = subprocess.run(["apt-cache", "show", package], capture_output=True, check=False)
        if done.returncode == 0 and done.stdout:
            return package
    return packages[-1]


@contextlib.contextmanager
def _no_service_starts() -> Iterator[None]:
    """Keep packages from starting their services, unless this machine has a rule of its own for that."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text(_REFUSE_ALL)
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)


def _installed_packages() -> set[str]:
    done = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package}\n"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {line.split()[1] for line in done.stdout.splitlines() if line.startswith("installed ")}


def _disable_units(new_packages: set[str]) -> None:
    """Keep the services of newly installed packages from starting at the next boot."""
    if not new_packages or not _find("systemctl"):
        return
    files = subprocess.run(["dpkg", "-L", *sorted(new_packages)], capture_output=True, text=True, check=False).stdout
    units = sorted(
        {
            Path(line).name
            for line in files.splitlines()
            if "/systemd/system/" in line and line.endswith(_UNIT_SUFFIXES) and "@" not in line
        }
    )
    if units:
        subprocess.run(["systemctl", "--quiet", "disable", *units], capture_output=True, check=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
