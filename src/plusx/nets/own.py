"""Nets of a user's own: a class, or a function, in one file of Python, `mynet.py:MyNet`.

Reading such a file runs it. So nothing here is called but where a user has named the file, passed the net itself, or
said that they trust the code of a run. What is known of a net by then is its entry in the catalog, under a name with
the hash of the file: two versions of a file are two nets. `plusx nets` lists none of them.
"""

import copy
import difflib
import hashlib
import inspect
import re
import sys
import sysconfig
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from plusx.nets.catalog import OWN, Entry, build

_NAME = re.compile(r"(?P<file>.+\.py):(?P<made_by>[^\W\d]\w*)(@(?P<hash>[0-9a-f]{8}))?")


@dataclass(frozen=True)
class Code:
    """A file that defines a net, and what in it makes one."""

    file: str
    """Its name, without folders."""
    made_by: str
    """The class or the function."""
    content: bytes

    @property
    def sha256(self) -> str:
        """The hash of the file, in hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def name(self) -> str:
        """What the net is called: mynet.py:MyNet@1a2b3c4d."""
        return f"{self.file}:{self.made_by}@{self.sha256[:8]}"


def short(name: str) -> str:
    """A net's name without file and hash, as folders and titles have it.

    Example:
        >>> short("nets/mynet.py:MyNet@1a2b3c4d"), short("resnet20")
        ('MyNet', 'resnet20')
    """
    match = _NAME.fullmatch(name)
    return match["made_by"] if match else name.partition("@")[0]


def is_own(name: str) -> bool:
    """Whether a net is known that is no net of the catalog."""
    return name in OWN


def named(name: str) -> str:
    """The name of a net whose file a user has named, which is read and run; any other name as it is.

    Args:
        name: mynet.py:MyNet, with a path or without.

    Raises:
        ValueError: There is no such file, it cannot be run, or it has no such class.
    """
    match = _NAME.fullmatch(name)
    if match is None or name in OWN:
        return name
    file = Path(match["file"]).expanduser()
    try:
        code = Code(file.name, match["made_by"], file.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"net.name is {name!r}, and there is no such file: {file}") from None
    except OSError as fault:
        raise ValueError(f"net.name is {name!r}, which cannot be read: {fault.strerror}") from None
    if match["hash"] and not code.sha256.startswith(match["hash"]):
        raise ValueError(f"net.name is {name!r}, but the hash of {file} begins with {code.sha256[:8]}: it has changed")
    enter(code, code.name, file)
    return code.name


def enter(code: Code, name: str, file: Path) -> None:
    """Run a file, and enter its net under a name.

    Args:
        code: What is run; the file itself is not read again.
        name: By which `build` finds it.
        file: Where the code lies, for tracebacks.

    Raises:
        ValueError: The file cannot be run, reads others beside it, or has no such class.
    """
    OWN[name] = _entry(name, _made_by(code, file))
    CODES[name] = code
    OBJECTS.pop(name, None)


CODES: dict[str, Code] = {}
"""The code of each net of `OWN` that has a file."""
OBJECTS: dict[str, nn.Module] = {}
"""The object of each net of `OWN` that was passed as one."""


def enter_object(name: str, net: nn.Module) -> None:
    """Enter a net that a user has passed: each that is built is a copy of it, weights and all.

    Args:
        name: By which `build` finds it.
        net: Stays as it is.
    """

    def builder(**options: Any) -> nn.Module:
        return copy.deepcopy(net)

    vars(builder)["__signature__"] = _signature(type(net))
    OWN[name] = _entry(name, builder)
    OBJECTS[name] = net


def passed(net: nn.Module) -> str:
    """The name of a net that a user has passed, which is entered under it."""
    kind = hashlib.sha256(repr((net, [(key, t.shape) for key, t in net.state_dict().items()])).encode())
    name = f"{type(net).__name__}@{kind.hexdigest()[:8]}"
    enter_object(name, net)
    return name


def code_of(net: nn.Module, options: Mapping[str, Any], input_shape: tuple[int, int, int]) -> Code | str:
    """The code that makes a net of the same kind again, or why there is none, in a few words.

    A net that is made so computes the same as the one that was passed, given its weights: in evaluation and in
    training. Arguments that it was made with and that its weights do not show would change it without a word otherwise.

    Args:
        net: A user's.
        options: What the class is called with.
        input_shape: Channels, height and width of the images.
    """
    made_by = type(net)
    if made_by.__module__ == "__main__" or "<" in made_by.__qualname__ or "." in made_by.__qualname__:
        return "its class is defined in a notebook, in a script that was run, or inside of something else"
    try:
        found = inspect.getsourcefile(made_by)
    except TypeError:
        found = None
    if found is None or not Path(found).is_file():
        return "the file of its class is not there"
    code = Code(Path(found).name, made_by.__name__, Path(found).read_bytes())
    try:
        with torch.random.fork_rng(devices=[]):
            again = _made_by(code, Path(found))(**options)
            again.load_state_dict(net.state_dict())
            if _computes(net, input_shape) == _computes(again, input_shape):
                return code
    except Exception as fault:  # it takes arguments, it needs files beside it, ...
        return f"its class does not make it again ({_first_line(fault)})"
    return "its class, called without the arguments that it was made with, makes a net that computes something else"


def taken(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some options that the builder of a net of one's own has.

    Args:
        name: Of a net that was entered.
        options: Such as num_classes and in_channels.
    """
    return {option: value for option, value in options.items() if option in OWN[name].defaults}


def require_output(name: str, options: Mapping[str, Any], input_shape: tuple[int, int, int], num_classes: int) -> None:
    """Raises ValueError when a net of one's own makes no logits of images of that shape, or nothing can be trained.

    Args:
        name: Of a net that was entered.
        options: As for `build`.
        input_shape: Channels, height and width.
        num_classes: Logits of each image.
    """
    who, shape = short(name), " x ".join(map(str, input_shape))
    with torch.random.fork_rng(devices=[]):
        try:
            net = build(name, **options)
        except Exception as fault:
            raise ValueError(f"{who} cannot be built: {_first_line(fault)}") from fault
        if not isinstance(net, nn.Module):
            raise ValueError(f"{who} makes a {type(net).__name__}, which is no torch.nn.Module")
        if not any(parameter.requires_grad for parameter in net.parameters()):
            raise ValueError(f"{who} has no parameter that can be trained")
        try:
            with torch.no_grad():
                logits: Any = net.eval()(torch.zeros(2, *input_shape))
        except Exception as fault:
            raise ValueError(f"{who} does not take images of {shape}: {_first_line(fault)}") from fault
    if not isinstance(logits, Tensor):
        raise ValueError(f"{who} puts out a {type(logits).__name__}; it must be a tensor of logits, images x classes")
    if logits.shape != (2, num_classes):
        way = (
            "give its class an argument num_classes, with which it is then called"
            if "num_classes" not in OWN[name].defaults
            else "its argument num_classes must decide that"
        )
        raise ValueError(
            f"{who} makes of 2 images an output of {' x '.join(map(str, logits.shape))}; the data has {num_classes} "
            f"classes, so it must be 2 x {num_classes}: {way}"
        )


def _entry(name: str, builder: Callable[..., nn.Module]) -> Entry:
    """An entry without facts: nothing is published of it."""
    return Entry(name, builder, "", "", 0, 0, 0, (3, 0, 0), 0)


def _made_by(code: Code, file: Path) -> Callable[..., nn.Module]:
    """The class or function of a file, which is run."""
    module = types.ModuleType(f"plusx_own_{code.sha256[:16]}")
    module.__file__ = str(file)
    before = set(sys.modules)
    sys.modules[module.__name__] = module  # where dataclasses and pickles look for it
    try:
        exec(compile(code.content, str(file), "exec"), vars(module))
    except Exception as fault:
        raise ValueError(f"{file} cannot be run: {_first_line(fault)}") from fault
    if beside := _beside(module, before, file):
        raise ValueError(
            f"{file} reads {beside} beside it, which the run would not keep; put all into one file, or install it"
        )
    made_by = vars(module).get(code.made_by)
    if not callable(made_by):
        there = [key for key, its in vars(module).items() if inspect.isclass(its) and its.__module__ == module.__name__]
        near = difflib.get_close_matches(code.made_by, there, 1) or there
        hint = f"did you mean {near[0]!r}?" if near else "it has no class"
        raise ValueError(f"{file} has no class {code.made_by!r}; {hint}")
    made: Callable[..., nn.Module] = made_by
    return made


def _beside(module: types.ModuleType, before: set[str], file: Path) -> str | None:
    """A file in the folder of a module that it imports, and that is not installed."""
    named = {its.__name__ for its in vars(module).values() if isinstance(its, types.ModuleType)}
    named |= {str(getattr(its, "__module__", "")) for its in vars(module).values()}
    installed = [Path(path) for path in sysconfig.get_paths().values()]
    for name in sorted((set(sys.modules) - before | named) - {module.__name__}):
        found = getattr(sys.modules.get(name), "__file__", None)
        path = Path(found).resolve() if found else None
        if path is None or name.partition(".")[0] in ("plusx", "__main__"):
            continue
        if path.is_relative_to(file.resolve().parent) and not any(path.is_relative_to(each) for each in installed):
            return path.name
    return None


def _computes(net: nn.Module, input_shape: tuple[int, int, int]) -> list[list[float]]:
    """What a copy of a net makes of some images, in evaluation and in training."""
    found, x = [], torch.randn(4, *input_shape, generator=torch.Generator().manual_seed(0))
    for training in (False, True):
        torch.manual_seed(0)
        with torch.no_grad():
            found.append(copy.deepcopy(net).train(training)(x).flatten().tolist())
    return found


def _signature(made_by: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(made_by)
    except ValueError:
        return inspect.Signature()


def _first_line(fault: BaseException) -> str:
    text = str(fault).strip()
    return f"{type(fault).__name__}: {text.splitlines()[0]}" if text else type(fault).__name__
