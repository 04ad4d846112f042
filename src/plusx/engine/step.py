"""One step of training: net, optimizer, task, penalty and placement as one callable."""

import torch
from torch import Tensor, nn

from plusx.engine.optim import hold_rates, set_multiplier
from plusx.engine.penalty import add_gradient
from plusx.engine.task import Batch, Task
from plusx.placement.place import Placement
from plusx.recipes import Recipe
from plusx.recipes.optim import Penalty


class Step:
    """`step(batch, rate)` takes one step of the optimizer and returns the batch's loss without the penalty, detached.

    What changes from one step to the next reaches it as data: the batch, the rate, and the random draws through the
    seed of the device's generator. So it can be recorded once and replayed, where the placement and the optimizer
    allow it; the tensor that it returns is good until the next step.

    Args:
        net: Placed already.
        optimizer: The net's.
        task: What is learnt.
        penalty: Adds its gradient to that of the loss.
        placement: The net's.
        clip: Largest length of the gradient; None leaves it as it is.
        accumulate: Pieces that a batch is computed in.
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        task: Task,
        penalty: Penalty,
        placement: Placement,
        *,
        clip: float | None = None,
        accumulate: int = 1,
    ) -> None:
        self.net, self.optimizer, self.task, self.penalty, self.placement = net, optimizer, task, penalty, placement
        self.clip, self.accumulate = clip, accumulate
        self._thread, self._learn = placement.thread(), placement.captured(self._once, self._changed)
        if self._learn.record is not None and not hold_rates(optimizer, placement.device):
            self._learn.record = None
            self._learn.refused = f"{type(optimizer).__name__} counts its steps on the CPU"

    @classmethod
    def of(
        cls, recipe: Recipe, net: nn.Module, optimizer: torch.optim.Optimizer, task: Task, placement: Placement
    ) -> "Step":
        """The step of a recipe; the other arguments are those of the class."""
        clip, accumulate = recipe.optim.clip, recipe.accumulate
        return cls(net, optimizer, task, recipe.penalty, placement, clip=clip, accumulate=accumulate)

    def __call__(self, batch: Batch, rate: float) -> Tensor:
        """One step.

        Args:
            batch: As the task takes it, on any device.
            rate: What the optimizer's peak rates are multiplied by.
        """
        set_multiplier(self.optimizer, rate)
        return self._thread(self._learn, *batch)

    @property
    def not_captured(self) -> str | None:
        """Why steps are not recorded, where the placement asks for it."""
        return self._learn.refused

    def _once(self, *batch: Tensor) -> Tensor:
        if self.accumulate == 1:
            loss = self._loss(batch)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
        else:
            loss = self._backward_by_pieces(batch)
        add_gradient(self.penalty, self.net)
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.clip)
        self.optimizer.step()
        return loss.detach()

    def _loss(self, batch: Batch) -> Tensor:
        x_BCHW, *rest = batch
        placed = (self.placement.place_images(x_BCHW), *(tensor.to(self.placement.device) for tensor in rest))
        with self.placement.autocast():
            return self.task.loss(self.net, placed)

    def _backward_by_pieces(self, batch: Batch) -> Tensor:
        """The gradient of the mean loss over the batch, and that loss: a piece counts by its images."""
        total = torch.zeros((), device=self.placement.device)
        self.optimizer.zero_grad(set_to_none=True)
        for piece in zip(*(tensor.tensor_split(self.accumulate) for tensor in batch), strict=True):
            loss = self._loss(piece) * (len(piece[0]) / len(batch[0]))
            loss.backward()
            total += loss.detach()
        return total

    def _changed(self) -> list[Tensor]:
        """The tensors that a step changes."""
        moments = [t for state in self.optimizer.state.values() for t in state.values() if isinstance(t, Tensor)]
        return [*self.net.parameters(), *self.net.buffers(), *moments]
