"""The lab's Docker images: built from the project's Dockerfiles, and again only when what they are made of changed.

Rule of this file: the Dockerfiles name `debian:bookworm-slim` and nothing of this machine. Where no registry has that
image for us, it is made from Debian's packages and gets that name.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from middlebox.lab.hosts import LabError
from middlebox.shells.errors import MachineError

PROJECT = Path(__file__).resolve().parents[2]
SITE = PROJECT / "lab" / "images" / "site"
BASE_IMAGE = "debian:bookworm-slim"
BASE_SUITE = "bookworm"
IMAGES = ("middlebox-lab-client", "middlebox-lab-gateway", "middlebox-lab-server")
SOURCE_LABEL = "middlebox.lab.source"

_REGISTRY = "https://registry-1.docker.io/v2/"
_REGISTRY_SECONDS = "4"
_REGISTRY_ANSWERS = ("200", "401")
"401: it asks for a token, as it does for anonymous pulls."
_HOST_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_DEBIAN_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

Say = Callable[[str], None]


def build_images(docker: str, compose: Sequence[str], compose_file: Path, say: Say) -> None:
    """Build the images unless those there are were built from the same files."""
    source = source_digest()
    template = f'{{{{index .Config.Labels "{SOURCE_LABEL}"}}}}'
    labels = _output(docker, "image", "inspect", "--format", template, *IMAGES).split()
    if labels == [source] * len(IMAGES):
        return
    provide_base_image(docker, say)
    copy_site_settings()
    say("building images (minutes the first time, seconds after a change of the code)")
    # The old builder: buildx is not everywhere, and both builders read these Dockerfiles.
    environment = os.environ | {"LAB_SOURCE": source, "DOCKER_BUILDKIT": "0", "COMPOSE_DOCKER_CLI_BUILD": "0"}
    # docker-compose 1 keeps the container of a failed build step; `docker compose` has neither it nor the option.
    options = ["--force-rm"] if "compose" not in compose[:2] else []
    done = subprocess.run(
        [*compose, "build", *options],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", check=False, env=environment, start_new_session=True,
    )  # fmt: skip
    if done.returncode != 0:
        log = compose_file.parents[1] / "build" / "lab-images.log"
        log.parent.mkdir(exist_ok=True)
        log.write_text(done.stdout)
        complaint = [line for line in done.stdout.splitlines() if re.search(r"(?i)\berror|^E:", line)]
        last = (complaint or done.stdout.strip().splitlines() or ["no message"])[-1]
        raise LabError(f"cannot build the images: {last.strip()} (all of it: {log})")
    # What the new images replaced has lost its name; without this every change of the code would fill the disk.
    _output(docker, "image", "prune", "--force", "--filter", f"label={SOURCE_LABEL}")


def source_digest() -> str:
    """A digest of every file that goes into the images."""
    digest = hashlib.sha256()
    for path in _source_files():
        digest.update(f"{path.relative_to(PROJECT)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:20]


def _source_files() -> Iterator[Path]:
    yield PROJECT / "pyproject.toml"
    for directory in (PROJECT / "lab" / "images", PROJECT / "middlebox"):
        yield from sorted(
            path
            for path in directory.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts and SITE not in path.parents
        )


def provide_base_image(docker: str, say: Say) -> None:
    """Make sure that the image which the Dockerfiles begin with is there: local, pulled, or made here."""
    if _output(docker, "image", "inspect", "--format", "{{.Id}}", BASE_IMAGE).strip():
        return
    if _registry_answers():
        say(f"pulling {BASE_IMAGE}")
        if subprocess.run([docker, "pull", "--quiet", BASE_IMAGE], capture_output=True, check=False).returncode == 0:
            return
    if shutil.which("mmdebstrap") is None:
        raise MachineError(
            f"no registry answers, and mmdebstrap, which can make {BASE_IMAGE}, is not installed",
            "apt-get install mmdebstrap",
        )
    say(f"no registry answers: making {BASE_IMAGE} from Debian's packages")
    with tempfile.TemporaryDirectory() as directory:
        archive = f"{directory}/base.tar"
        command = ["mmdebstrap", "--quiet", "--variant=minbase", BASE_SUITE, archive]
        sources = debian_sources()
        done = subprocess.run(
            [*command, "-"] if sources else command,
            input=sources, capture_output=True, text=True, check=False, start_new_session=True,
        )  # fmt: skip
        if done.returncode != 0:
            raise LabError(f"mmdebstrap failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
        if not _output(docker, "import", archive, BASE_IMAGE).strip():
            raise LabError(f"docker import of {BASE_IMAGE} failed")


def _registry_answers() -> bool:
    status = _output(
        "curl", "--silent", "--max-time", _REGISTRY_SECONDS, "--output", "/dev/null", "--write-out", "%{http_code}",
        _REGISTRY,
    )  # fmt: skip
    return status in _REGISTRY_ANSWERS


def debian_sources() -> str:
    """This machine's sources of Debian bookworm as lines for apt; empty where it has none."""
    listing = _output(
        "apt-get", "indextargets", "--format", "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)",
        "Created-By: Packages",
    )  # fmt: skip
    sources: dict[tuple[str, str], list[str]] = {}
    for line in listing.splitlines():
        origin, _, rest = line.partition("|")
        uri, release, component = rest.split("|")
        if origin == "Debian" and release.startswith(BASE_SUITE):
            components = sources.setdefault((uri, release), [])
            if component not in components:
                components.append(component)
    return "".join(
        f"deb [signed-by={_DEBIAN_KEYRING}] {uri} {release} {' '.join(components)}\n"
        for (uri, release), components in sources.items()
    )


def copy_site_settings() -> None:
    """Copy what this network needs (certificates, package sources, proxies) to where the builds look for it."""
    settings = {
        "ca-certificates.crt": _HOST_CERTIFICATES.read_text() if _HOST_CERTIFICATES.exists() else "",
        "apt.conf": _apt_settings(),
        "sources.list": debian_sources(),
        "pip.conf": _pip_settings(),
    }
    for name, content in settings.items():
        path = SITE / name
        if content and not path.exists():
            path.write_text(content)


def _apt_settings() -> str:
    wanted = re.compile(r"Acquire::((https?::(Proxy|Verify)[\w:-]*)|Check-Valid-Until|Check-Date) ")
    return "".join(f"{line}\n" for line in _output("apt-config", "dump").splitlines() if wanted.match(line))


def _pip_settings() -> str:
    """What pip is told about its index, less what only exists on this machine."""
    listing = _output(sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list")
    lines = {}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        name = key.split(".")[-1]
        text = " ".join(part for part in value.strip("'\"").split() if not part.startswith("file:"))
        if name in ("index-url", "extra-index-url", "trusted-host") and text:
            lines[name] = text
    return "[global]\n" + "".join(f"{name} = {text}\n" for name, text in lines.items()) if lines else ""


def _output(*command: str) -> str:
    """What a command prints; empty when it does not exist."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, start_new_session=True)
    except OSError:
        return ""
    return done.stdout
