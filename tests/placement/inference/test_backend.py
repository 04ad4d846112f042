"""Which backend computes the logits."""

import pytest
import torch
from torch import Tensor

from plusx.nets import build
from plusx.placement.inference import backend
from plusx.placement.inference.backend import candidates, measure_seconds
from plusx.placement.inference.streams import Streams


def test_openvino_is_a_candidate_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for installed, names in ((False, ["frozen"]), (True, ["frozen", "openvino"])):
        monkeypatch.setattr(backend, "is_installed", lambda name, installed=installed: installed)
        found = candidates(build("lenet5"), (1, 32, 32), precision="fp32", threads=1)
        assert list(found) == names
    assert found["frozen"]()(torch.zeros(2, 1, 32, 32)).shape == (2, 10)


def test_every_processor_is_given_batches_of_the_same_size() -> None:
    seen: list[tuple[int, ...]] = []

    def forward(x_BCHW: Tensor) -> Tensor:
        seen.append(tuple(x_BCHW.shape))
        return x_BCHW

    with Streams(2) as streams:
        assert measure_seconds(forward, (3, 4, 4), streams=streams, rounds=2) > 0
    assert seen == [(backend.BATCH, 3, 4, 4)] * 4 * 3
