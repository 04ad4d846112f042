"""A callable on tensors, recorded once and replayed: a CUDA graph where there is one, the callable itself elsewhere.

A narrow net's kernels are shorter than the time that Python takes to launch them. A recording launches all of them at
once. It replays kernels, not Python: whatever is to differ from call to call must reach it as the contents of a tensor.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

Replay = Callable[[], None]
Record = Callable[[Callable[[], Tensor]], tuple[Replay, Tensor]]
"""Records a callable: what replays it, and the tensor that its result then lies in."""

WARM_UP_CALLS = 3
"""Before a recording: libraries choose kernels and take their memory, compilers compile."""
MOST_SHAPES = 4
"""Recordings that one callable may have; each holds the memory of a whole call."""


class Captured:
    """A callable, recorded at its first call for each shape of its arguments.

    Args:
        call: Takes tensors and returns one; its result is good until the next call.
        changed: The tensors that a call changes, but for its arguments and its result. A warm-up changes them as well:
            their values are put back, and those that it made are set to zero, which an optimizer's moments start from.
        record: How to record; None calls `call` every time.
        device: Where the arguments are copied to.
    """

    def __init__(
        self, call: Callable[..., Tensor], changed: Callable[[], Iterable[Tensor]], record: Record | None, device: str
    ) -> None:
        self.call, self.changed, self.record, self.device = call, changed, record, device
        self.refused: str | None = None
        """Why a recording was given up, where it was."""
        self._recordings: dict[tuple[torch.Size, ...], tuple[list[Tensor], Replay, Tensor]] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        shapes = tuple(x.shape for x in inputs)
        if self.record is not None and shapes not in self._recordings and len(self._recordings) < MOST_SHAPES:
            self._capture(shapes, inputs)
        if shapes not in self._recordings:
            return self.call(*inputs)
        held, replay, result = self._recordings[shapes]
        for mine, given in zip(held, inputs, strict=True):
            mine.copy_(given, non_blocking=True)
        replay()
        return result

    def _capture(self, shapes: tuple[torch.Size, ...], inputs: tuple[Tensor, ...]) -> None:
        """Record for these shapes, or note why not; random generators and all that `call` changes stay as they were."""
        assert self.record is not None
        held = [x.to(self.device, copy=True) for x in inputs]
        before = {id(t): (t, t.detach().clone()) for t in self.changed()}
        with torch.random.fork_rng(devices=[torch.device(self.device)] if self.device == "cuda" else []):
            _on_a_side_stream(lambda: [self.call(*held) for _ in range(WARM_UP_CALLS)], self.device)
            drawn = torch.get_rng_state()
            try:
                replay, result = self.record(lambda: self.call(*held))
                if not torch.equal(drawn, torch.get_rng_state()):  # as stochastic depth does, to leave blocks out
                    raise RuntimeError("it draws random numbers on the CPU, which a recording would repeat")
                self._recordings[shapes] = held, replay, result
            except RuntimeError as fault:
                self.record, self.refused = None, str(fault).splitlines()[0]
        with torch.no_grad():
            for tensor in self.changed():
                _, value = before.get(id(tensor), (None, None))
                tensor.zero_() if value is None else tensor.copy_(value)


def record_cuda_graph(call: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
    """Record a callable on the current CUDA device; nothing is computed yet."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        result = call()
    return graph.replay, result


def _on_a_side_stream(call: Callable[[], object], device: str) -> None:
    """CUDA wants what is recorded to have run before on a stream that is not the default one."""
    if device != "cuda":
        call()
        return
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        call()
    torch.cuda.current_stream().wait_stream(side)
