"""Images of many requests computed together.

Each processor takes images by itself, as soon as it has nothing to do: one where one is waiting, and all that came
meanwhile, up to what can be computed within the latency budget. So nothing waits for company while a processor is idle,
and batches grow with the load. All of this but the computing happens on the event loop, without a lock.
"""

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future as ThreadFuture
from typing import NamedTuple

from torch import Tensor

from plusx.deploy.predictor import Prediction
from plusx.deploy.server.classifiers import Classifier
from plusx.deploy.server.faults import Fault
from plusx.deploy.server.pace import Pace, compute
from plusx.placement.inference.streams import Streams

LOOP_SECONDS = 0.0005
"""Of the event loop for a request of one image, about. A model that computes an image faster keeps up with it on one
processor, and more of them would only keep the event loop from its own."""
LEAST_K = 5
"""Classes that are always ranked, so that the first of them do not depend on how many a request asks for."""


class Waiting(NamedTuple):
    """An image that waits for a processor."""

    pixels_CHW: Tensor
    top_k: int
    answer: "asyncio.Future[Prediction]"


class Workers:
    """The processors, shared by all models, so that no two models keep more of them busy than there are."""

    def __init__(self, streams: Streams) -> None:
        self.streams = streams
        self.idle = streams.threads
        self._queues: deque[Queue] = deque()
        """Those that have images waiting; they take turns."""

    def add(self, queue: "Queue") -> None:
        """Let a queue that has images take turns with the others."""
        if queue.busy < queue.most_busy and queue not in self._queues:
            self._queues.append(queue)
        # In a later turn of the loop, after every request that has already arrived has joined.
        asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        while self.idle and self._queues:
            queue = self._queues.popleft()
            everyone = self.idle == self.streams.threads and not self._queues
            batch = queue.take(-(-len(queue.waiting) // min(self.idle, queue.most_busy - queue.busy)))
            if queue.waiting and queue.busy + bool(batch) < queue.most_busy:
                self._queues.append(queue)
            if batch:
                self._compute(queue, batch, together=everyone and len(batch) == 1 and queue.pace.together)

    def _compute(self, queue: "Queue", batch: Sequence[Waiting], *, together: bool) -> None:
        loop, busy = asyncio.get_running_loop(), self.streams.threads if together else 1
        pixels, top_k = [each.pixels_CHW for each in batch], max(LEAST_K, *(each.top_k for each in batch))

        def work() -> list[Prediction]:
            return compute(queue.classifier, queue.pace, pixels, top_k=top_k)

        def done(future: "ThreadFuture[list[Prediction]]") -> None:
            loop.call_soon_threadsafe(finish, future)

        def finish(future: "ThreadFuture[list[Prediction]]") -> None:
            self.idle += busy
            queue.busy -= 1
            queue.finish(batch, future)
            self.add(queue)

        self.idle -= busy
        queue.busy += 1
        self.streams.submit(work, together=together).add_done_callback(done)


class Queue:
    """The images that wait for one model.

    Args:
        classifier: The model.
        pace: Its measured pace.
        workers: Shared with other models.
        room: Images that may be held at once, from when their request is accepted until it is answered.
    """

    def __init__(self, classifier: Classifier, pace: Pace, workers: Workers, *, room: int) -> None:
        self.classifier, self.pace, self.room = classifier, pace, room
        self.waiting: deque[Waiting] = deque()
        self.held = 0
        self.busy = 0
        """Processors that compute its images."""
        self.most_busy = min(workers.streams.threads, math.ceil(pace.seconds_an_image / LOOP_SECONDS))
        self.batches: dict[int, int] = {}
        """How often so many images were computed together."""
        self._workers = workers

    @property
    def expected_seconds(self) -> float:
        """Until an image that came now would be computed, by the measured pace."""
        return self.held * self.pace.seconds_an_image / self._workers.streams.threads

    def require_room(self, images: int, deadline: float) -> None:
        """Raises Fault (503) when there is no room for so many images, or no hope to compute them in time."""
        expected = self.expected_seconds
        if self.held + images > self.room or (self.held and expected > deadline):
            wait = {"Retry-After": str(max(1, math.ceil(expected)))}
            raise Fault(503, f"the server is busy: {self.held} images are waiting; try again", wait)

    def submit(self, pixels_CHW: Tensor, top_k: int) -> "asyncio.Future[Prediction]":
        """The answer to an image; whoever cancels it gives the image up."""
        answer: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()
        self.waiting.append(Waiting(pixels_CHW, top_k, answer))
        self._workers.add(self)
        return answer

    def take(self, share: int) -> list[Waiting]:
        """The images that one processor computes next: its share of those that nobody has given up."""
        batch: list[Waiting] = []
        while self.waiting and len(batch) < min(share, self.pace.largest):
            each = self.waiting.popleft()
            if not each.answer.done():
                batch.append(each)
        return batch

    def finish(self, batch: Sequence[Waiting], results: "ThreadFuture[list[Prediction]]") -> None:
        """Hand out the answers of a batch."""
        self.batches[len(batch)] = self.batches.get(len(batch), 0) + 1
        fault = results.exception()
        for index, each in enumerate(batch):
            if each.answer.done():
                continue
            if fault is not None:
                each.answer.set_exception(fault)
            else:
                each.answer.set_result(results.result()[index])
