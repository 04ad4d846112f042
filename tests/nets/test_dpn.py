"""Dual path networks against their block's equation and the authors' widths."""

import pytest
import torch

from plusx.nets import build
from plusx.nets.dpn import DualPathBlock


@pytest.mark.parametrize("two_convs", [False, True])
def test_a_block_adds_on_one_path_and_concatenates_on_the_other(two_convs: bool) -> None:
    torch.manual_seed(0)
    block = DualPathBlock(16, inner=8, width=12, growth=2, groups=4, stride=None, two_convs=two_convs).eval()
    r, d = torch.randn(2, 12, 5, 5), torch.randn(2, 4, 5, 5)
    f, g = block.branch(torch.cat([r, d], 1))
    assert (f.shape[1], g.shape[1]) == (12, 2)
    new_r, new_d = block(torch.cat([r, d], 1)).split([12, 6], 1)
    torch.testing.assert_close(new_r, r + f)
    torch.testing.assert_close(new_d, torch.cat([d, g], 1))


def test_the_first_block_of_a_stage_makes_both_paths_by_a_projection() -> None:
    torch.manual_seed(0)
    block = DualPathBlock(16, inner=8, width=12, growth=2, groups=4, stride=2, two_convs=False).eval()
    x = torch.randn(2, 16, 6, 6)
    made, (f, g) = block.shortcut(x), block.branch(x)
    assert made.shape == (2, 12 + 2 * 2, 3, 3)
    torch.testing.assert_close(block(x), torch.cat([made[:, :12] + f, made[:, 12:], g], 1))


@pytest.mark.parametrize(("name", "channels"), [("dpn68", 832), ("dpn92", 2688), ("dpn98", 2688), ("dpn131", 2688)])
def test_the_last_stage_has_the_authors_width(name: str, channels: int) -> None:
    with torch.device("meta"):
        assert build(name).head.linear.in_features == channels


def test_after_block_i_there_are_width_plus_2_plus_i_growths() -> None:
    with torch.device("meta"):
        net = build("dpn92").eval()
        x = net.stem(torch.zeros(1, 3, 64, 64))
        for stage, (width, growth) in zip(net.stages, [(256, 16), (512, 32), (1024, 24), (2048, 128)], strict=True):
            for i, block in enumerate(stage, start=1):
                x = block(x)
                assert x.shape[1] == width + (2 + i) * growth
