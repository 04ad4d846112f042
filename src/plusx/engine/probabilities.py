"""The probabilities of images: the mean of the softmax over the views of each.

Averaging probabilities, not logits, is what the papers do; Krizhevsky et al. (2012), Sec. 4.1.

Shapes: B images in a batch, C channels, H height, W width, K classes.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from plusx.data.images import ImageSet
from plusx.data.preprocess import Preprocess
from plusx.data.views import ViewBatch, ViewBatches, Views
from plusx.nets.net import dense_form
from plusx.placement.inference.backend import BATCH, Forward
from plusx.placement.inference.eager import Eager
from plusx.placement.inference.frozen import freeze
from plusx.placement.inference.streams import Streams
from plusx.placement.machine import tune_allocator
from plusx.placement.place import Placement, placement_after
from plusx.runs.card import Card


def log_probabilities(
    net: nn.Module,
    images: ImageSet,
    preprocess: Preprocess,
    views: Views,
    placement: Placement,
    *,
    batch_size: int,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Tensor]:
    """The logarithms of the probabilities of every image, in order and batch by batch, B x K.

    On a CPU the net is frozen, as for `predict`, and every processor does all there is to do with a few images, from
    reading the file to the softmax. The graph is always our own: which backend is faster at the moment must not decide
    a number that is written down.

    Args:
        net: In evaluation mode, on the CPU; it is not to be used elsewhere.
        images: In memory or files.
        preprocess: The net's.
        views: Which of each image.
        placement: Where, and in which precision.
        batch_size: Images at once on a device that is no CPU.
        workers: Processes that read image files for a device that is no CPU; without them its threads read.
        progress: Called with the images done and the images in all.

    Raises:
        ValueError: The net has no dense form, a scale does not suit an image, or an image cannot be read.
    """
    net, done = net.requires_grad_(False), 0
    with Streams(placement.threads) as streams:
        forward: Forward
        if placement.device == "cpu":
            tune_allocator()
            forward, batches = _on_cpu(net, views, placement), ViewBatches(images, preprocess, views, BATCH)
            means = streams.apart(lambda number: mean_over_views(forward, batches[number]), range(len(batches)))
        else:
            placed, readers = placement.place(net), 1 if workers else placement.threads
            whole = dense_form(placed) if views.dense else placed
            forward = Eager(whole, device=placement.device, precision=placement.precision)
            groups = ViewBatches(images, preprocess, views, batch_size, workers, readers)
            means = (mean_over_views(forward, group) for group in groups)
        for logs_BK in means:
            yield logs_BK
            done += len(logs_BK)
            if progress:
                progress(done, len(images))


def log_probabilities_of_run(
    net: nn.Module,
    card: Card,
    images: ImageSet,
    views: Views | None = None,
    *,
    device: str,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """The logarithms of a run's probabilities as its net gives them, N x K.

    Args:
        net: As for `log_probabilities`.
        card: The run's.
        images: In memory or files.
        views: Which of each image; if not given, what the run's recipe says.
        device: auto, cpu, cuda or mps.
        progress: As for `log_probabilities`.
    """
    recipe = card.recipe
    batches = log_probabilities(
        net,
        images,
        card.preprocess,
        views or Views(flip=recipe.evaluation.flip),
        placement_after(recipe.placement, device),
        batch_size=recipe.evaluation.batch_size,
        workers=recipe.data.workers,
        progress=progress,
    )
    return torch.cat(list(batches))


def _on_cpu(net: nn.Module, views: Views, placement: Placement) -> Forward:
    """The net as a frozen graph, unless it slides over whole images by a forward pass of its own."""
    whole = dense_form(net) if views.dense else net
    if isinstance(whole, nn.Module):
        return freeze(whole, precision="bf16" if placement.precision == "bf16" else "fp32")
    return Eager(whole, device="cpu", precision=placement.precision)


def mean_over_views(forward: Forward, group: Sequence[ViewBatch]) -> Tensor:
    """The logarithms of the probabilities of a group of images, B x K, from all of their views."""
    logits: dict[int, list[Tensor]] = {}
    for owners, x_BCHW in group:
        for owner, logits_K in zip(owners, forward(x_BCHW), strict=True):
            logits.setdefault(owner, []).append(logits_K)
    by_image = [logits[owner] for owner in sorted(logits)]
    return mean_softmax([torch.stack(view) for view in zip(*by_image, strict=True)])


def mean_softmax(views: Sequence[Tensor]) -> Tensor:
    """The logarithm of the mean of softmaxes, B x K, from the logits of each view, B x K.

    Example:
        >>> mean_softmax([torch.tensor([[1.0, 1.0]]), torch.tensor([[-2.0, -2.0]])]).exp()
        tensor([[0.5000, 0.5000]], dtype=torch.float64)
    """
    return torch.stack(list(views)).double().log_softmax(-1).logsumexp(0) - math.log(len(views))
