"""A part of a recipe in words, for people who read a report."""

from typing import assert_never

from plusx.recipes.augment import Augment, ColorNoise, FlipLR, Progressive, RandomCrop, RandomResizedCrop, ScaleCrop
from plusx.recipes.length import ByImages
from plusx.recipes.loss import CrossEntropy
from plusx.recipes.optim import SGD, Adadelta, Adagrad, Adam, Averaging, Muon, Optim, Penalty, RMSprop, Touched
from plusx.recipes.schedule import Constant, Cosine, Linear, OneCycle, Plateau, Schedule, Steps, Warmup

Part = Augment | Optim | Schedule | Warmup | CrossEntropy | Penalty | Averaging | Progressive | ByImages
"""What a recipe has one or several of, and what a reader wants to know of it."""


def in_words(part: Part) -> str:
    """What a part does, with its numbers.

    Example:
        >>> in_words(SGD(lr=0.1, weight_decay=5e-4, nesterov=True))
        'SGD, rate 0.1, momentum 0.9 (Nesterov), weight decay 0.0005 on all parameters'
        >>> in_words(FlipLR())
        'random horizontal flip'
    """
    match part:
        case RandomCrop():
            of = "zeros" if part.mode == "zeros" else "the mirrored image"
            return f"random crop, {part.pad} pixel{'' if part.pad == 1 else 's'} of padding with {of}"
        case FlipLR():
            return "horizontal flip in every other epoch" if part.alternate else "random horizontal flip"
        case RandomResizedCrop():
            sides = f"sides up to {part.max_aspect:.3g} to 1"
            return f"random crop of at least {_share(part.min_area)} of the area, {sides}, resized"
        case ScaleCrop():
            return f"random crop from the image at a shorter side of {part.low} to {part.high} pixels"
        case ColorNoise():
            return f"colour noise along the main axes of ImageNet's colours, deviation {part.std:g}"
        case SGD() | Adam() | Adagrad() | Adadelta() | RMSprop() | Muon():
            return _optimizer(part)
        case Constant():
            return "constant rate"
        case Steps():
            return f"rate times {part.factor:g} at {' and '.join(_share(at) for at in part.at)} of the run"
        case Cosine():
            return f"rate falls along a cosine to {_final(part.final)}"
        case Linear():
            return f"rate falls linearly to {_final(part.final)}"
        case OneCycle():
            return (
                f"rate rises linearly from {part.start:g} of its peak, which it reaches at {_share(part.peak_at)} of "
                f"the run, then falls linearly to {_final(part.final)}"
            )
        case Plateau():
            return (
                f"rate times {part.factor:g} when the validation error has not fallen for {part.patience} evaluations"
            )
        case Warmup():
            over = f"over the first {_share(part.fraction)} of the run"
            if part.shape == "linear":
                return f"linear warm-up from {part.start:g} of the rate {over}"
            return f"constant warm-up at {part.start:g} of the rate {over}"
        case CrossEntropy():
            smoothed = f", label smoothing {part.label_smoothing:g}" if part.label_smoothing else ""
            return f"cross entropy{smoothed}"
        case Penalty():
            return f"L1, {part.l1:g} times the sum of |w| over {_touched(part.on)}" if part.l1 else "none"
        case Averaging():
            every = "every step" if part.every == 1 else f"every {part.every} steps"
            return f"moving average of the weights, decay {part.decay:g}, {every}"
        case ByImages():
            return f"{part.least:g} to {part.most:g} epochs, such that about {part.images:,} images are seen"
        case Progressive():
            how = "resized to" if part.by == "resize" else "random crops of"
            return f"{how} {_share(part.scale)} of the side in the first {_share(part.until)} of the run"
    assert_never(part)


def _optimizer(optim: Optim) -> str:
    said = [type(optim).__name__, f"rate {optim.lr:g}"]
    match optim:
        case SGD():
            if optim.momentum:
                said.append(f"momentum {optim.momentum:g}{' (Nesterov)' if optim.nesterov else ''}")
        case Adam():  # and AdamW, which is one
            said.append(f"betas {optim.beta1:g} and {optim.beta2:g}")
        case Adagrad():
            pass
        case Adadelta():
            said.append(f"rho {optim.rho:g}")
        case RMSprop():
            said.append(f"alpha {optim.alpha:g}")
            if optim.momentum:
                said.append(f"momentum {optim.momentum:g}")
        case Muon():
            said.append(f"momentum {optim.momentum:g}, {optim.ns_steps} Newton-Schulz iterations")
            said.append(f"the last layer by SGD at {optim.head_lr:g} and the vectors at {optim.vector_lr:g}")
            said.append(f"momentum {optim.sgd_momentum:g} there")
        case _:
            assert_never(optim)
    if optim.weight_decay:
        on = "the last layer and the vectors" if isinstance(optim, Muon) else _touched(optim.decay)
        said.append(f"weight decay {optim.weight_decay:g} on {on}")
    return ", ".join(said)


def _touched(which: Touched) -> str:
    return "all parameters" if which == "all" else "the weights of layers"


def _share(part: float) -> str:
    return f"{100 * part:.3g} %"


def _final(multiplier: float) -> str:
    return f"{multiplier:g} of its peak" if multiplier else "0"
