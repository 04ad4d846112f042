"""Ctrl-C and SIGTERM while something is trained."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import plusx


@contextmanager
def stoppable(typed: str | None = None) -> Iterator[Callable[[], bool]]:
    """Ctrl-C or SIGTERM lets training finish its step, write a resume point and stop; a second Ctrl-C ends it at once.

    Args:
        typed: The command that resumes it, if it is not the one that the message of `StoppedError` names.
    """
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    except ValueError as fault:
        if not asked:
            raise
        known = typed and isinstance(fault, plusx.StoppedError)
        print(f"plusx: {f'{fault.args[0]}; resume with: {typed}' if known else fault}", file=sys.stderr)
        sys.exit(130)
    except KeyboardInterrupt:
        if typed is None:
            raise
        print(f"plusx: interrupted; resume with: {typed}", file=sys.stderr)
        sys.exit(130)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
