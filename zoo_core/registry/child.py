"""Listing plugins in child processes, so that an import that exits, hangs or crashes ends only the child.

python -c "from zoo_core.registry.child import answer; answer()" FD MODULE    is such a child
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from zoo_core.registry.listing import Listing, from_json, list_module, to_json

LIMIT_S = 60.0
"""Time that a plugin may take to be imported and listed, seconds."""
SAY_AFTER_S = 2.0
"""Time after which the user is told which plugin is being listed, seconds."""
AT_ONCE = 4
"""Children at work at a time."""
MAX_ANSWER = 4 << 20
"""Size of a child's answer, bytes."""
KEPT = 4000
"""Bytes of a child's output that are kept, its last ones."""
INSIDE = "ZOO_LISTING"
"""Environment variable of a child: it starts no children of its own."""
_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[3]); "
    "from zoo_core.registry.child import answer; answer()"
)


def answer() -> None:
    """Be the child: list the module argv[2] and write its listing as JSON to the file descriptor argv[1]."""
    try:
        listing = list_module(sys.argv[2])
    except KeyboardInterrupt as error:  # raised by the plugin: a child is not interrupted but killed
        listing = Listing(sys.argv[2], failure=f"KeyboardInterrupt: {error}".rstrip(": "))
    with open(int(sys.argv[1]), "w", encoding="utf-8") as out:
        json.dump(to_json(listing), out)
        out.flush()
        os._exit(0)  # without what the plugin left to be done at exit, and without its threads


class _Child:
    """One child process and what it has written so far."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.answer, self.output = bytearray(), bytearray()
        self.overflow = self.late = False
        reading, writing = os.pipe()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, str(writing), module, json.dumps(sys.path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(writing,),
                start_new_session=True,
                env=os.environ | {INSIDE: "1"},
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        assert self.process.stdout is not None
        self.pipes = {reading: self.answer, self.process.stdout.fileno(): self.output}
        self._reading = reading
        for pipe in self.pipes:
            os.set_blocking(pipe, False)
        self.deadline = time.monotonic() + LIMIT_S

    def read(self, pipe: int) -> bool:
        """Take what a pipe holds; return whether it may hold more later."""
        try:
            part = os.read(pipe, 1 << 16)
        except BlockingIOError:
            return True
        except OSError:
            return False
        kept = self.pipes[pipe]
        kept += part
        if kept is self.output:
            del kept[:-KEPT]
        elif len(kept) > MAX_ANSWER:
            self.overflow = True
            return False
        return bool(part)

    def at_work(self) -> bool:
        """Return whether the process runs and may go on."""
        self.late = self.late or (self.process.poll() is None and time.monotonic() > self.deadline)
        return self.process.poll() is None and not self.late and not self.overflow

    def drain(self) -> None:
        """Take what is left in its pipes, as far as it is kept."""
        for pipe in self.pipes:
            for _ in range(2 * MAX_ANSWER >> 16):
                before = len(self.answer), bytes(self.output)
                if not self.read(pipe) or (len(self.answer), bytes(self.output)) == before:
                    break

    def close(self) -> None:
        """End the process with all that it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        os.close(self._reading)

    def listing(self) -> Listing:
        """Return its answer, or why there is none."""
        if self.late:
            return self._failed(f"its import did not end within {LIMIT_S:g} s")
        if self.overflow:
            return self._failed("its listing is too large")
        status = self.process.returncode
        if status < 0:
            return self._failed(f"its import ended the process by {_signal_name(-status)}")
        try:
            return from_json(json.loads(self.answer))
        except (ValueError, RecursionError):
            return self._failed(f"its import ended the process with status {status}")

    def _failed(self, why: str) -> Listing:
        lines = self.output.decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        last = "".join(letter for letter in last if letter.isprintable())
        return Listing(self.module, failure=why + (f"; its last output: {last[:200]}" if last else ""))


def list_in_children(modules: Sequence[str]) -> list[Listing]:
    """Return the listing of each module, made by a child process with a limit of LIMIT_S seconds.

    A child that dies, hangs or answers nonsense gives a listing with a failure.
    """
    return [
        listing
        for start in range(0, len(modules), AT_ONCE)
        for listing in _list_together(modules[start : start + AT_ONCE])
    ]


def _list_together(modules: Sequence[str]) -> list[Listing]:
    children: list[_Child] = []
    say_at = time.monotonic() + SAY_AFTER_S
    try:
        with selectors.DefaultSelector() as selector:
            for module in modules:
                children.append(_Child(module))
                for pipe in children[-1].pipes:
                    selector.register(pipe, selectors.EVENT_READ, children[-1])
            while running := [child for child in children if child.at_work()]:
                for key, _ in selector.select(0.02):
                    if not key.data.read(key.fd):
                        selector.unregister(key.fd)
                if time.monotonic() > say_at:
                    say_at = float("inf")
                    names = ", ".join(child.module for child in running)
                    print(f"listing {names} (once; at most {LIMIT_S:g} s)", file=sys.stderr, flush=True)
        for child in children:
            child.drain()
    finally:
        for child in children:
            child.close()
    return [child.listing() for child in children]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
