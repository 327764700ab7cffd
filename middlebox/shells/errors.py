"""What can go wrong outside the core, said in one line that tells the user what to do.

Whatever a user or a machine can cause ends as one of these; the command line prints it and exits with its status.
"""

from typing import ClassVar


class ShellError(Exception):
    """Base of the errors a shell reports. `str()` of one is a single line, ready to be printed."""

    exit_status: ClassVar[int]
    "The exit status of the command that met it."


class InputError(ShellError):
    """An option or a file given by the user is wrong."""

    exit_status = 2


class MachineError(ShellError):
    """The machine lacks something: a right, a program, a kernel feature, a free queue number."""

    exit_status = 3

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}: {remedy}")
        self.message = message
        "What is missing."
        self.remedy = remedy
        "What to do about it, with the command where there is one."
