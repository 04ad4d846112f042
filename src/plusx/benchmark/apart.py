"""A contender in a process of its own."""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any


class Apart:
    """A contender in a process of its own: with its own memory, its own allocator's settings, its own compiled code.

    Calling it makes the process call what it made, and waits, which adds a tenth of a millisecond.

    Args:
        make: Makes, in the process, what is to be called; a function at a module's top level.
        arguments: What `make` is called with.
        environ: Variables that are set before the process begins, such as ONEDNN_MAX_CPU_ISA, which oneDNN reads once.
    """

    def __init__(self, make: Callable[..., Any], *arguments: Any, **environ: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, make, arguments), daemon=True)
        before = dict(os.environ)
        os.environ.update(environ)
        try:
            self._process.start()
        finally:
            os.environ.clear()
            os.environ.update(before)
        there.close()

    def __call__(self) -> None:
        self.ask(_call)

    def ask(self, question: Callable[[Any], Any]) -> Any:
        """Call a function in the process with what was made there, and return its result.

        Args:
            question: A function at a module's top level.

        Raises:
            RuntimeError: It failed there; the message is the failure's. Code -9 usually means that memory ran out.
        """
        try:
            self._pipe.send(question)
            result, fault = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            raise RuntimeError(f"its process ended, with code {self._process.exitcode}") from None
        if fault is not None:
            raise RuntimeError(fault)
        return result

    def __enter__(self) -> "Apart":
        return self

    def __exit__(self, *fault: object) -> None:
        self._pipe.close()
        self._process.join()


def _serve(pipe: Connection, make: Callable[..., Any], arguments: Sequence[Any]) -> None:
    """What the process does: make the contender at the first question, then answer questions until the pipe closes."""
    made: list[Any] = []
    with suppress(EOFError, BrokenPipeError):
        while True:
            question = pipe.recv()
            try:
                made = made or [make(*arguments)]
                pipe.send((question(made[0]), None))
            except Exception as fault:  # whatever it is, the other process has to know
                pipe.send((None, (str(fault).strip() or repr(fault)).splitlines()[0]))


def _call(made: Callable[[], object]) -> None:
    made()  # its result is not sent back
