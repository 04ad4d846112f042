"""The way back of `convert`: weights of ours under the names of torchvision's or timm's net of the same name.

Which tensor is which is asked of `translate`, which reads their own net as ours; so there is one list of names.
"""

import importlib.util
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from plusx.nets import entry, names
from plusx.weights.translate import translate

Library = Literal["torchvision", "timm"]
INSTALL = "pip install 'plusx[timm]'"


def their_nets(library: Library) -> tuple[str, ...]:
    """The nets of the catalog that a library has too.

    Args:
        library: torchvision or timm.

    Raises:
        ValueError: The library is not installed.
    """
    if library == "torchvision":
        from torchvision import models

        theirs = set(models.list_models(module=models))
    else:
        if importlib.util.find_spec("timm") is None:
            raise ValueError(f"timm is not installed; install it: {INSTALL}")
        import timm

        theirs = set(timm.list_models())
    return tuple(name for name in names() if name in theirs)


def their_net(library: Library, name: str, options: Mapping[str, Any]) -> nn.Module:
    """A library's own net with random weights, for as many classes and channels as ours.

    Args:
        library: torchvision or timm.
        name: Catalog name.
        options: Of our builder.

    Raises:
        ValueError: The library lacks the net, or has it for images of three channels only.
    """
    if name not in (known := their_nets(library)):
        raise ValueError(f"{library} has no net {name}; of plusx's nets it has {', '.join(known)}")
    classes = options.get("num_classes", entry(name).num_classes)
    channels = options.get("in_channels", entry(name).input_shape[0])
    if library == "timm":
        import timm

        return timm.create_model(name, num_classes=classes, in_chans=channels)
    if channels != 3:
        raise ValueError(f"torchvision's {name} takes images of 3 channels; this net has {channels}")
    from torchvision import models

    more: dict[str, Any] = {}
    if name == "googlenet":  # drawing its weights would take half a minute
        more = {"init_weights": False, "transform_input": False, "aux_logits": bool(options.get("aux", True))}
    return models.get_model(name, num_classes=classes, **more)


def translate_back(
    library: Library, name: str, options: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """A state dict under the names of a library's net of the same name, which it loads strictly.

    Whether that net computes the same is not told by names: an option such as the place of a stride leaves no trace.

    Args:
        library: torchvision or timm.
        name: Catalog name.
        options: Of our builder.
        tensors: The state dict of our net.

    Raises:
        ValueError: The library lacks the net, or its form of it has other tensors.

    Example:
        >>> from plusx.nets import build
        >>> theirs = translate_back("torchvision", "resnet18", {}, build("resnet18").state_dict())
        >>> theirs["layer1.0.conv1.weight"].shape
        torch.Size([64, 64, 3, 3])
    """
    with torch.device("meta"):
        theirs = their_net(library, name, options).state_dict()
    try:
        found = translate(name, theirs, **{key: value for key, value in options.items() if key != "num_classes"})
        places = {**{key: key for key in found.matched}, **found.renamed}
        if {*places.values()} != {*tensors} or {*places} != {*theirs}:
            differing = min({*places.values()} ^ {*tensors} | ({*theirs} - {*places}))
            raise ValueError(f"{differing} has no place in it")
        return {key: tensors[places[key]].reshape(value.shape).contiguous() for key, value in theirs.items()}
    except (ValueError, RuntimeError) as fault:
        raise ValueError(f"{library}'s {name} is not the net of this run: {fault}") from None
