"""What is there to fetch: pages of many sizes, and files that are compressed or encrypted.

Rule of this file: made anew for each run, from its seed.
"""

import gzip
import io
import lzma
import random
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

from middlebox.lab.hosts import environment

_PAGES = 110
_SMALLEST, _GROWTH = 40, 1.105
"Page sizes grow geometrically: 40 bytes to 2 MB."
_OF_EACH_KIND = 8
_LARGEST_FILE = 250_000
_SECONDS = 60


def page_sizes() -> list[int]:
    """The sizes of the pages that servers have, smallest first."""
    return [int(_SMALLEST * _GROWTH**index) for index in range(_PAGES)]


def page(numbers: random.Random) -> str:
    """The path of a page: most are some kB, few are large."""
    sizes = page_sizes()
    return f"{numbers.choice('tr')}/{sizes[int(len(sizes) * numbers.betavariate(2, 3.3))]}"


def write_pages(directory: Path, seed: int) -> None:
    """Write `t/SIZE` (text) and `r/SIZE` (random bytes) for every page size."""
    numbers = random.Random(f"pages {seed}")
    for name in ("t", "r"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    for size in page_sizes():
        (directory / "t" / str(size)).write_bytes(text(numbers, size))
        (directory / "r" / str(size)).write_bytes(numbers.randbytes(size))


def text(numbers: random.Random, size: int) -> bytes:
    """Something that compresses like prose."""
    words = ["".join(numbers.choices("etaoinshrdlucmfwypvbgk", k=numbers.randint(2, 9))) for _ in range(300)]
    made = " ".join(numbers.choices(words, k=size // 4 + 8))
    return made.encode()[:size]


def write_files(directory: Path, seed: int) -> None:
    """Write `KIND/0`, `KIND/1`, ... for every kind of file."""
    numbers = random.Random(f"files {seed}")
    (directory / "plain").mkdir(parents=True, exist_ok=True)
    for kind, pack in _PACKERS.items():
        (directory / kind).mkdir(exist_ok=True)
        for index in range(_OF_EACH_KIND):
            size = int(2000 * (_LARGEST_FILE / 2000) ** numbers.random())
            plain = directory / "plain" / f"{kind}-{index}"
            plain.write_bytes(text(numbers, size))
            pack(plain, directory / kind / str(index), numbers)


def file_names(kind: str) -> list[str]:
    """What `write_files` made of one kind."""
    return [f"{kind}/{index}" for index in range(_OF_EACH_KIND)]


def _run(*command: str) -> None:
    subprocess.run(
        command, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, env=environment()
    )


def _gzip(plain: Path, packed: Path, numbers: random.Random) -> None:
    packed.write_bytes(gzip.compress(plain.read_bytes(), numbers.randint(1, 9)))


def _zip(plain: Path, packed: Path, numbers: random.Random) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        content = plain.read_bytes()
        parts = numbers.randint(1, 4)
        for part in range(parts):
            archive.writestr(f"part{part}.txt", content[part::parts])
    packed.write_bytes(made.getvalue())


def _xz(plain: Path, packed: Path, numbers: random.Random) -> None:
    packed.write_bytes(lzma.compress(plain.read_bytes(), preset=numbers.randint(0, 3)))


def _7z(plain: Path, packed: Path, numbers: random.Random) -> None:
    encrypt = ("-psecret", "-mhe=on") if numbers.random() < 0.5 else ()
    _run("7z", "a", "-mx=1", *encrypt, f"{packed}.7z", str(plain))
    Path(f"{packed}.7z").rename(packed)


def _gpg(plain: Path, packed: Path, numbers: random.Random) -> None:
    home = packed.parent / "home"
    home.mkdir(mode=0o700, exist_ok=True)
    # The second half leaves out the agent's key stretching and OpenPGP's clear "encrypted" header is all there is.
    _run("gpg", "--homedir", str(home), "--batch", "--pinentry-mode", "loopback", "--passphrase", "secret",
         "--s2k-count", "65536", "--compress-level", str(numbers.choice([0, 1])), "--symmetric",
         "--output", str(packed), str(plain))  # fmt: skip


def _openssl(plain: Path, packed: Path, numbers: random.Random) -> None:
    salt = () if numbers.random() < 0.5 else ("-nosalt",)  # without salt there is no clear "Salted__" either
    cipher = numbers.choice(["-aes-256-cbc", "-aes-128-ctr", "-chacha20"])
    _run("openssl", "enc", cipher, "-pbkdf2", *salt, "-pass", "pass:secret", "-in", str(plain), "-out", str(packed))


def _random(plain: Path, packed: Path, numbers: random.Random) -> None:
    packed.write_bytes(numbers.randbytes(plain.stat().st_size))


def _jpeg(_plain: Path, packed: Path, numbers: random.Random) -> None:
    width = numbers.randrange(160, 640, 16)
    _run("ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", f"mandelbrot=size={width}x{width * 3 // 4}",
         "-frames:v", "1", "-f", "mjpeg", str(packed))  # fmt: skip


def _mp4(_plain: Path, packed: Path, numbers: random.Random) -> None:
    _run("ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", f"testsrc=size=160x120:rate={numbers.randint(5, 25)}",
         "-t", "2", "-f", "mp4", str(packed))  # fmt: skip


_PACKERS: dict[str, Callable[[Path, Path, random.Random], None]] = {
    "gzip": _gzip,
    "zip": _zip,
    "xz": _xz,
    "7z": _7z,
    "gpg": _gpg,
    "openssl-enc": _openssl,
    "random": _random,
    "jpeg": _jpeg,
    "mp4": _mp4,
}
