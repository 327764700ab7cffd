"""Reading what a policy names by path: included files, lists and keys.

Rule of this file: a path counts from the file that names it, in reading as in messages.
"""

import os.path
from collections.abc import Callable

from middlebox.policy.problem import PolicyError, quoted
from middlebox.policy.yaml_positions import Place

YAML_SUFFIXES = (".yaml", ".yml")
"Endings of files that are read as YAML."

ReadFile = Callable[[str], str | bytes]
"""Gives the content of a file named in a policy, by its path from the policy's directory; raises OSError, or
ValueError for what cannot be a path."""


def beside(file: str, name: str) -> str:
    """The path `name` that stands in `file`, from where `file` counts from."""
    return os.path.join(os.path.dirname(file), name)


def read_text(read_file: ReadFile, name: str, shown: str, place: Place) -> str:
    """The text of a file.

    Args:
        read_file: Reads it.
        name: Its path from the policy's directory.
        shown: Its path as messages have it.
        place: Where it is named.

    Raises:
        PolicyError: It cannot be read, or is no text.
    """
    try:
        content = read_file(name)
        return content if isinstance(content, str) else decoded(content, shown)
    except (OSError, ValueError) as error:
        raise PolicyError([place.error(f"cannot read {printable(name)}: {reason(error)}")]) from None


def decoded(content: bytes, file: str) -> str:
    """UTF-8 to text, without a byte order mark."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        message = f"found the byte 0x{content[error.start]:02x}, expected UTF-8 text"
        raise PolicyError([Place(file, line, column).error(message)]) from None


def reason(error: Exception) -> str:
    """What the system says, without the path."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def printable(text: str) -> str:
    """`text`, shortened, with nothing in it that a terminal could take as a command."""
    return quoted(text)[1:-1]
