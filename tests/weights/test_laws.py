"""Laws of other people's weights, for any file and any names that can be drawn.

However tensors are wrapped, the net computes what its author's did, or the file is refused; and whatever classes are
called and in whatever order, an image is given the name that it was given, or a new last layer begins.
"""

import argparse
import copy
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

import plusx
from plusx.runs.store import load_run
from plusx.weights.start import starting_weights
from tests.nets.test_equality import to_cifar_names

quick = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def small(name: str) -> nn.Module:
    """A net that is built in milliseconds."""
    torch.manual_seed(0)
    options = {"lenet5_dense": {}, "mlp": {"image_size": 32, "depth": 4}, "resnet20": {"in_channels": 1}}
    return plusx.build(name, num_classes=4, **options[name]).eval()


NETS = {name: small(name) for name in ("lenet5_dense", "mlp", "resnet20")}
OPTIONS: dict[str, dict[str, Any]] = {"lenet5_dense": {}, "mlp": {"image_size": 32, "depth": 4}, "resnet20": {}}
X = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def logits(net: nn.Module) -> Tensor:
    return net.eval()(X)


prefixes = st.lists(st.sampled_from(["module", "model", "net", "_orig_mod", "backbone", "my_net"]), max_size=3)
entries = st.sampled_from([None, "model", "state_dict", "model_ema", "net", "weights"])
beside = st.dictionaries(
    st.sampled_from(["epoch", "acc", "args", "optimizer", "best"]),
    st.sampled_from([3, np.float64(0.9), np.int64(7), argparse.Namespace(lr=0.1), {"lr": 0.1}, "text", torch.ones(())]),
)
counts = st.lists(st.sampled_from(["total_ops", "total_params", "n_averaged"]), unique=True)


@given(
    st.sampled_from([*NETS, "theirs"]),
    prefixes,
    entries,
    beside,
    counts,
    st.sampled_from(["pt", "old", "st"]),
    st.sampled_from([torch.float32, torch.float64, torch.float16]),
)
@quick
def test_however_tensors_are_wrapped_the_net_computes_what_its_authors_did(
    tmp_path: Path,
    name: str,
    prefix: list[str],
    entry: str | None,
    others: dict[str, object],
    counted: list[str],
    form: str,
    dtype: torch.dtype,
) -> None:
    name, theirs = ("resnet20", True) if name == "theirs" else (name, False)
    rounded = copy.deepcopy(NETS[name]).to(dtype)
    state = rounded.state_dict()
    state = (
        {key.replace("linear", "fc"): t for key, t in to_cifar_names(state, "shortcut").items()} if theirs else state
    )
    tensors = {"".join(f"{part}." for part in prefix) + key: t for key, t in state.items()}
    tensors |= {key: torch.zeros(1, dtype=torch.float64) for key in counted}
    if form == "st":
        save_file(tensors, file := tmp_path / "w.safetensors")
    else:
        content = tensors if entry is None else {**others, entry: tensors}
        torch.save(content, file := tmp_path / "w.pt", _use_new_zipfile_serialization=form == "pt")
    chosen = {"padding": "behind"} if theirs else {}  # which no tensor shows
    assert torch.equal(logits(plusx.build(name, weights=file, **chosen, **OPTIONS[name])), logits(rounded.float()))


@given(st.sampled_from(sorted(NETS)), st.data())
@quick
def test_a_file_that_lacks_a_tensor_or_has_one_more_is_refused_or_says_so(
    tmp_path: Path, name: str, data: st.DataObject
) -> None:
    state = dict(NETS[name].state_dict())
    key = data.draw(st.sampled_from([key for key in state if not key.endswith("_tracked")]))
    state[data.draw(st.sampled_from(["other.weight", f"{key}_g", f"{key}.0"]))] = state.pop(key)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="the weights are not"):
        plusx.build(name, weights=tmp_path / "w.pt", **OPTIONS[name])


words = st.text(st.sampled_from("aB\u00e9\u1100\uac15 1"), min_size=1, max_size=3).map(
    lambda word: unicodedata.normalize("NFC", word).strip()
)
four = st.lists(words.filter(bool), min_size=4, max_size=4, unique=True)
forms: dict[str, Callable[[str], str]] = {
    form: lambda name, form=form: unicodedata.normalize(form, name)  # type: ignore[arg-type, misc]
    for form in ("NFC", "NFD")
}


@given(st.sampled_from(sorted(NETS)), four, st.data())
@quick
def test_no_order_of_classes_changes_the_name_that_an_image_is_given(
    tmp_path_factory: pytest.TempPathFactory, name: str, theirs: list[str], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("law")
    save_file(NETS[name].state_dict(), folder / "w.safetensors")
    (folder / "names.txt").write_text("\n".join(map(forms[data.draw(st.sampled_from(["NFC", "NFD"]))], theirs)))
    preprocessing: dict[str, Any] = {"mean": [0.5], "std": [0.5], "size": 32, "options": OPTIONS[name]}
    run = plusx.convert(
        folder / "w.safetensors", name, classes=folder / "names.txt", out=folder / "run", **preprocessing
    ).run
    # What the images are called: the same names in another order, or others, fewer or more.
    ours = data.draw(st.permutations(theirs) | st.lists(words.filter(bool), min_size=2, max_size=6, unique=True))
    spelt = [forms[data.draw(st.sampled_from(["NFC", "NFD"]))](each) for each in ours]
    start = starting_weights(run, name, class_names=spelt, num_classes=len(ours), **OPTIONS[name]).translation
    if set(ours) == set(theirs):
        net = plusx.build(name, num_classes=4, in_channels=1, **OPTIONS[name])
        net.load_state_dict(start.tensors)
        before, after = logits(load_run(run)[0]), logits(net)
        for place, called in enumerate(ours):
            torch.testing.assert_close(after[:, place], before[:, theirs.index(called)])
    else:
        assert start.last_layers and not set(start.last_layers) & set(start.tensors)
        assert len(ours) != 4 or start.notes
