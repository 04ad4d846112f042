"""The code of a run whose net is a user's own: a copy of one file, which is run only where somebody says so.

The card has the hash of the file. A copy that is not as it was written is refused, and so is every copy that nobody has
said they trust: reading a file of Python runs it.
"""

import logging
from pathlib import Path
from typing import Any

from torch import nn

from plusx.nets.own import CODES, Code, enter, enter_object, short
from plusx.runs.card import Card
from plusx.runs.files import replace_file

log = logging.getLogger(__name__)

FOLDER = "code"


def described(code: Code | str, name: str, *, as_object: bool) -> dict[str, Any]:
    """What a card says of the code of its net.

    Args:
        code: The code, or why there is none.
        name: The net's.
        as_object: Whether the run began with an object, whose weights nothing draws again.
    """
    if isinstance(code, str):
        return {"file": None, "made_by": short(name), "why": code, "as_object": as_object}
    return {"file": code.file, "made_by": code.made_by, "sha256": code.sha256, "as_object": as_object}


def write_code(run: Path, card: Card) -> None:
    """Copy the file of the run's net, if it is a user's own and has one, into the run directory."""
    if card.code is not None and card.code["file"] is not None:
        (run / FOLDER).mkdir(exist_ok=True)
        replace_file(run / FOLDER / card.code["file"], CODES[card.recipe.net.name].content)


def admit(run: Path, card: Card, *, trust_code: bool = False, net: nn.Module | None = None) -> None:
    """Make the net of a run known, so that it can be built; a net of the catalog is known.

    Args:
        run: Run directory.
        card: The run's.
        trust_code: Whether the run's copy of a file may be run.
        net: What is built instead; its weights are replaced.

    Raises:
        ValueError: The run has code and nobody trusts it, it was changed, or there is none; or `net` is not needed.
    """
    if card.code is None:
        if net is not None:
            raise ValueError(f"{run} has a net of the catalog, {card.recipe.net.name}; leave out net=")
        return
    made_by = card.code["made_by"]
    if net is not None:
        enter_object(card.recipe.net.name, net)
        return
    if card.code["file"] is None:
        raise ValueError(f"{run} can be loaded in Python only, with net={made_by}(...): {card.code['why']}")
    file = run / FOLDER / Path(card.code["file"]).name
    what = f"{run} was trained with a net of its own, {made_by} in {file} (SHA-256 {card.code['sha256'][:12]}...)"
    if not trust_code:
        raise ValueError(
            f"{what}, and loading it runs that code; if you trust it, add --trust-code (in Python, trust_code=True)"
        )
    try:
        code = Code(file.name, made_by, file.read_bytes())
    except OSError as fault:
        raise ValueError(f"{what}, which cannot be read: {fault.strerror}") from None
    if code.sha256 != card.code["sha256"]:
        raise ValueError(f"{what}, but that file has changed: its SHA-256 is {code.sha256[:12]}...; it is not run")
    log.warning("%s; its code is run", what)
    enter(code, card.recipe.net.name, file)
