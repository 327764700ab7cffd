"""Loads a policy in a child process, so that packets go on being judged: a list of a million domains takes seconds.

The rule kept here: what comes back is a whole policy or the list of everything that is wrong with it.

A thread would have to share the interpreter with the packets. What crosses over is pickled; it is our own child's.
"""

import fcntl
import os
import pickle
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from middlebox.policy.load import load_policy
from middlebox.policy.problem import PolicyError, Problem
from middlebox.policy.rule import Policy
from middlebox.policy.yaml_positions import Place

PIPE_BYTES = 1024 * 1024
"The most that a process may ask for without rights (fs.pipe-max-size)."
END_SECONDS = 2.0
"A child that has closed its output is at its end."


class PolicyLoading:
    """A policy that is being loaded. To be polled for reading, and `read` whenever there is something."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._pickled = bytearray()
        # In a session of its own: Ctrl-C is for the gateway, which ends its child itself.
        self._child = subprocess.Popen(
            [sys.executable, "-m", "middlebox.shells.loader", source],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with suppress(OSError):  # a smaller pipe takes more turns
            fcntl.fcntl(self.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(self.fileno(), False)

    def fileno(self) -> int:
        """The descriptor to wait on."""
        assert self._child.stdout is not None
        return self._child.stdout.fileno()

    def read(self) -> Policy | PolicyError | None:
        """Take in what has come, without waiting: the policy or its problems when all is there, until then None."""
        try:
            piece = os.read(self.fileno(), PIPE_BYTES)
        except BlockingIOError:
            return None
        if piece:
            self._pickled += piece
            return None
        status = self._child.wait(END_SECONDS)
        self.close()
        if status != 0:
            return PolicyError([Place(self._source, 1, 1).error(f"the process that loads it ended with {status}")])
        outcome = pickle.loads(self._pickled)  # noqa: S301 - our own child's
        return outcome if isinstance(outcome, Policy) else PolicyError(outcome)

    def close(self) -> None:
        """End the child, if it is still at work."""
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        assert self._child.stdout is not None
        self._child.stdout.close()


def main() -> None:
    """The child: load the policy that the argument names, and print it or its problems, pickled."""
    outcome: Policy | tuple[Problem, ...]
    try:
        outcome = load_policy(Path(sys.argv[1]))
    except PolicyError as error:
        outcome = tuple(error.problems)
    sys.stdout.buffer.write(pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
