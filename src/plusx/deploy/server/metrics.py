"""What the server counts, in the text that Prometheus reads.

Everything is counted on the event loop, so that no lock is needed. Paths are those of the documentation and statuses
those of HTTP, so that no request can make the text grow.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping

from plusx.deploy.server.models import Models

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Of the histogram of seconds."""
METHODS = ("GET", "HEAD", "POST", "OPTIONS")


class Metrics:
    """Counters since the server began."""

    def __init__(self) -> None:
        self._began = time.time()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._below: Counter[tuple[str, float]] = Counter()
        self._seconds: Counter[str] = Counter()
        self._images: Counter[tuple[str, str]] = Counter()

    def answered(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests[method if method in METHODS else "other", path, status] += 1
        self._seconds[path] += seconds  # type: ignore[assignment]
        bound = next((bound for bound in BOUNDS if seconds <= bound), float("inf"))
        self._below[path, bound] += 1

    def image(self, model: str, outcome: str) -> None:
        """Count an image: predicted, or bad."""
        self._images[model, outcome] += 1

    def text(self, models: Models) -> str:
        """All of it."""
        return "\n".join(self._lines(models)) + "\n"

    def _lines(self, models: Models) -> Iterator[str]:
        yield from _head("plusx_requests_total", "counter", "Requests that were answered.")
        for (method, path, status), count in self._requests.items():
            yield _line("plusx_requests_total", {"method": method, "path": path, "status": str(status)}, count)
        yield from _head("plusx_request_seconds", "histogram", "From a request's head to the end of its answer.")
        for path, total in self._seconds.items():
            count = 0
            for bound in (*BOUNDS, float("inf")):
                count += self._below[path, bound]
                label = "+Inf" if bound == float("inf") else f"{bound:g}"
                yield _line("plusx_request_seconds_bucket", {"path": path, "le": label}, count)
            yield _line("plusx_request_seconds_sum", {"path": path}, total)
            yield _line("plusx_request_seconds_count", {"path": path}, count)
        yield from _head("plusx_images_total", "counter", "Images by what became of them.")
        for (name, outcome), count in self._images.items():
            yield _line("plusx_images_total", {"model": name, "outcome": outcome}, count)
        yield from _head("plusx_batches_total", "counter", "Batches by the images in them.")
        for model in models:
            for size, count in sorted(model.batches.items()):
                yield _line("plusx_batches_total", {"model": model.name, "images": str(size)}, count)
        yield from _head("plusx_images_held", "gauge", "Images that are accepted and not answered yet.")
        for model in models:
            yield _line("plusx_images_held", {"model": model.name}, model.held)
        yield from _head("plusx_model_loads_total", "counter", "How often a model was loaded, or could not be.")
        for model in models:
            yield _line("plusx_model_loads_total", {"model": model.name, "outcome": "loaded"}, model.loads)
            yield _line("plusx_model_loads_total", {"model": model.name, "outcome": "refused"}, model.refusals)
        yield from _head("plusx_start_time_seconds", "gauge", "When the server began, in seconds since 1970.")
        yield _line("plusx_start_time_seconds", {}, self._began)


def _head(name: str, kind: str, about: str) -> Iterator[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {kind}"


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    quoted = (f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{'{' + ','.join(quoted) + '}' if labels else ''} {value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
