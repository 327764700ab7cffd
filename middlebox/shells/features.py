"""Does this kernel have what a policy's actions need? Asked in a network namespace that ends with the question.

Rule of this file: the gateway's own tables are never touched.
"""

import os
import shutil
import subprocess
import sys

from middlebox.policy.lint import Feature, Probe

_QUESTIONS = {
    Feature.HASHLIMIT: (
        "iptables", "-w", "-A", "FORWARD", "-m", "hashlimit", "--hashlimit-above", "16kb/s",
        "--hashlimit-name", "probe", "-j", "DROP",
    ),
    Feature.SETS: (
        "nft", "add table inet probe; add set inet probe pairs { type ipv4_addr . ipv4_addr; flags timeout; }",
    ),
}  # fmt: skip
"Programs and arguments that succeed where the feature is there."
_PACKAGES = {"nft": "nftables"}
"Debian packages that are not called as their program."
_RAW_SOCKET = "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW).close()"
_TIMEOUT_SECONDS = 10


def kernel_probe() -> Probe | None:
    """The probe for this machine; None where it cannot be asked: not Linux, not root, no `unshare`."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("unshare") is None:
        return None
    return _missing


def _missing(feature: Feature) -> str | None:
    question = _QUESTIONS.get(feature, (sys.executable, "-c", _RAW_SOCKET))
    if shutil.which(question[0]) is None:
        return f"this machine has no {question[0]}; apt-get install {_PACKAGES.get(question[0], question[0])}"
    try:
        done = subprocess.run(
            ("unshare", "--net", *question), capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "this machine does not answer"
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return f"this machine refuses it ({lines[-1] if lines else 'without a word'})"
