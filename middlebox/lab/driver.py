"""What a driver is: the one thing that differs between network namespaces and Docker.

Rule of this file: a driver makes three hosts and the two networks between them, and takes them away again. It knows
no scenario.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from middlebox.lab.hosts import Host


class Driver(Protocol):
    """Makes and removes the lab's hosts."""

    name: str

    @property
    def hosts(self) -> Mapping[str, Host]:
        """The hosts by name, once they are open."""

    def prepare(self) -> None:
        """Make sure that this machine can do it; remove what a killed run left.

        Raises:
            MachineError: It cannot.
        """

    def inside(self, directory: Path) -> str:
        """The run's directory as the hosts' programs see it."""

    def open(self, directory: Path) -> None:
        """Make hosts and networks; `directory` is shared with all hosts.

        Raises:
            LabError: That failed.
        """

    def close(self) -> None:
        """Remove everything that `open` made. May be called more than once, and after `open` failed."""
