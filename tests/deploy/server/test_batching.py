"""The queue, with a model that computes nothing: who is put together, who is refused, who is given up."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from plusx.data.preprocess import Preprocess
from plusx.deploy.predictor import Prediction
from plusx.deploy.server.batching import Queue, Workers
from plusx.deploy.server.faults import Fault
from plusx.deploy.server.pace import Pace
from plusx.placement.inference.streams import Streams


class Held:
    """A model that answers with an image's own first pixel, once it is let go."""

    batch_sizes = (1, 4)

    def __init__(self) -> None:
        self.preprocess = Preprocess((1, 1), torch.zeros(1, 1, 1), torch.ones(1, 1, 1), "")
        self.go, self.sizes, self.at_once = threading.Event(), list[int](), 0
        self.go.set()
        self._lock, self._now = threading.Lock(), 0

    def predict_pixels(self, pixels: Sequence[Tensor], *, top_k: int) -> list[Prediction]:
        with self._lock:
            self._now += 1
            self.at_once = max(self.at_once, self._now)
        assert self.go.wait(10)
        with self._lock:
            self._now -= 1
            self.sizes.append(len(pixels))
        if any(int(each) == 255 for each in pixels):
            raise RuntimeError("broken")
        return [Prediction("", (str(int(each)),), (1.0,)) for each in pixels]


def image(value: int) -> Tensor:
    return torch.full((1, 1, 1), value, dtype=torch.uint8)


PACE = Pace.of({1: 1.0, 4: 1.5})  # heavy, so that every processor is used


def run(
    test: Callable[[Queue, Held, Workers], Coroutine[Any, Any, None]], *, threads: int = 2, pace: Pace = PACE
) -> None:
    async def main() -> None:
        with Streams(threads) as streams:
            model, workers = Held(), Workers(streams)
            await asyncio.wait_for(test(Queue(model, pace, workers, room=20), model, workers), 10)

    asyncio.run(main())


def test_every_image_gets_its_own_answer() -> None:
    async def test(queue: Queue, model: Held, workers: Workers) -> None:
        answers = await asyncio.gather(*(queue.submit(image(value), 1) for value in range(200)))
        assert [each.classes for each in answers] == [(str(value),) for value in range(200)]
        assert workers.idle == 2 and queue.busy == 0 and not queue.waiting

    run(test)


def test_images_that_come_while_a_processor_is_busy_are_computed_together() -> None:
    async def test(queue: Queue, model: Held, workers: Workers) -> None:
        model.go.clear()
        first = queue.submit(image(0), 1)
        await asyncio.sleep(0.05)
        others = [queue.submit(image(value), 1) for value in range(1, 5)]
        await asyncio.sleep(0.05)
        model.go.set()
        await asyncio.gather(first, *others)
        assert model.sizes == [1, 4]

    run(test, threads=1)


def test_a_lone_image_waits_for_nobody() -> None:
    async def test(queue: Queue, model: Held, workers: Workers) -> None:
        model.go.clear()
        answer = queue.submit(image(0), 1)
        for _ in range(3):
            await asyncio.sleep(0)
        assert not queue.waiting and workers.idle == 1
        model.go.set()
        await answer

    run(test)


def test_no_more_processors_are_busy_than_there_are_with_several_models() -> None:
    async def test(queue: Queue, model: Held, workers: Workers) -> None:
        other = Queue(model, PACE, workers, room=20)
        await asyncio.gather(*(each.submit(image(value), 1) for value in range(100) for each in (queue, other)))
        assert 1 <= model.at_once <= 2

    run(test)


def test_models_take_turns() -> None:
    async def test(queue: Queue, model: Held, workers: Workers) -> None:
        other = Queue(model, PACE, workers, room=20)
        many = [queue.submit(image(value), 1) for value in range(100)]
        await other.submit(image(7), 1)
        assert sum(answer.done() for answer in many) < 20

    run(test, threads=1)


def test_a_model_that_keeps_up_with_the_loop_uses_one_processor() -> None:
    async def test(queue: Queue, model: Held, workers: Workers) -> None:
        await asyncio.gather(*(queue.submit(image(value), 1) for value in range(100)))
        assert model.at_once == 1

    run(test, threads=4, pace=Pace.of({1: 1e-4, 4: 2e-4}))


def test_an_image_that_is_given_up_is_not_computed() -> None:
    async def test(queue: Queue, model: Held, workers: Workers) -> None:
        model.go.clear()
        first, second, third = (queue.submit(image(value), 1) for value in range(3))
        await asyncio.sleep(0.05)
        second.cancel()
        model.go.set()
        await asyncio.gather(first, third)
        assert sum(model.sizes) == 2

    run(test, threads=1, pace=Pace.of({1: 1.0}))


def test_a_defect_of_the_model_reaches_those_of_its_batch_and_no_others() -> None:
    async def test(queue: Queue, model: Held, workers: Workers) -> None:
        model.go.clear()
        first = queue.submit(image(255), 1)
        await asyncio.sleep(0.05)
        others = [queue.submit(image(value), 1) for value in range(3)]
        model.go.set()
        with pytest.raises(RuntimeError, match="broken"):
            await first
        assert [(await each).classes for each in others] == [("0",), ("1",), ("2",)]
        assert workers.idle == 1

    run(test, threads=1)


def test_room_is_bounded_and_a_hopeless_wait_refused() -> None:
    async def test(queue: Queue, model: Held, workers: Workers) -> None:
        queue.require_room(20, deadline=100)
        with pytest.raises(Fault) as fault:
            queue.require_room(21, deadline=100)
        assert fault.value.status == 503 and fault.value.headers["Retry-After"] == "1"
        queue.held = 19
        queue.require_room(1, deadline=100)
        with pytest.raises(Fault) as fault:
            queue.require_room(1, deadline=1)
        assert int(fault.value.headers["Retry-After"]) == 4  # 19 images, 4 in 1.5 seconds on each of 2 processors

    run(test)


def test_a_lone_image_is_computed_by_all_processors_where_that_is_faster() -> None:
    async def test(queue: Queue, model: Held, workers: Workers) -> None:
        model.go.clear()
        queue.submit(image(0), 1)
        for _ in range(3):
            await asyncio.sleep(0)
        assert workers.idle == 0
        model.go.set()
        answers = [queue.submit(image(value), 1) for value in range(8)]
        await asyncio.gather(*answers)
        assert workers.idle == 2

    run(test, pace=Pace.of({1: 1.0, 4: 1.5}, together=True))
