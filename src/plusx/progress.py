"""What a person sees while something runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def shown(
    progress: bool | Callable[..., None],
    title: str,
    *,
    unit: str = "",
    stopping: Callable[[], bool] | None = None,
) -> Iterator[Callable[..., None]]:
    """Placeholder."""

    def nothing(*event: Any) -> None: ...

    yield progress if callable(progress) else nothing
