"""The loss against its formula, with label smoothing and with auxiliary heads."""

import pytest
import torch
from torch import Tensor, nn

from plusx.engine.losses import make_loss
from plusx.nets.net import AuxiliaryHeads, Outputs
from plusx.recipes.loss import BinaryCrossEntropy, CrossEntropy


class ThreeHeads(nn.Module, AuxiliaryHeads):
    """A net with as many auxiliary heads as asked for, up to two."""

    def __init__(self, num_aux: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(5, 4) for _ in range(1 + num_aux))

    def forward(self, x: Tensor) -> Tensor:
        return self.heads[0](x)

    def forward_with_aux(self, x: Tensor) -> Outputs:
        main, *aux = (head(x) for head in self.heads)
        return Outputs(main, tuple(aux))


X, LABELS = torch.randn(6, 5, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2, 3, 3, 0])


def formula(logits: Tensor, smoothing: float) -> Tensor:
    """Mean of -sum_k q_k log p_k, q = (1 - s) one-hot + s / K; Szegedy et al. (2015), Sec. 7."""
    q = (1 - smoothing) * torch.eye(4)[LABELS] + smoothing / 4
    return -(q * (logits.exp() / logits.exp().sum(1, keepdim=True)).log()).sum(1).mean()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_cross_entropy_with_label_smoothing_is_its_formula(smoothing: float) -> None:
    net = nn.Linear(5, 4)
    loss = make_loss(CrossEntropy(label_smoothing=smoothing))(net, X, LABELS)
    torch.testing.assert_close(loss, formula(net(X), smoothing))


@pytest.mark.parametrize("num_aux", [0, 1, 2])
def test_binary_cross_entropy_asks_of_every_class_whether_it_is_shown(num_aux: int) -> None:
    """Of classes, and of shares of classes, two of which are shown."""
    net = ThreeHeads(num_aux)
    shares = 0.3 * torch.eye(4)[LABELS] + 0.7 * torch.eye(4)[LABELS.flip(0)]
    for labels, shown in ((LABELS, torch.eye(4)[LABELS]), (shares, (shares > 0).float())):
        terms = []
        for head in net.heads:
            p = 1 / (1 + (-head(X)).exp())
            terms.append(-(shown * p.log() + (1 - shown) * (1 - p).log()).mean())
        loss = make_loss(BinaryCrossEntropy(aux_weight=0.3))(net, X, labels)
        torch.testing.assert_close(loss, terms[0] + 0.3 * sum(terms[1:]))


def test_binary_cross_entropy_counts_an_image_as_often_as_its_classes() -> None:
    net, weights_K = nn.Linear(5, 4), torch.tensor([0.5, 1.0, 2.0, 4.0])
    shares = 0.3 * torch.eye(4)[LABELS] + 0.7 * torch.eye(4)[LABELS.flip(0)]
    for labels, weights_B in ((LABELS, weights_K[LABELS]), (shares, shares @ weights_K)):
        one_by_one = [make_loss(BinaryCrossEntropy())(net, X[i : i + 1], labels[i : i + 1]) for i in range(len(labels))]
        expected = (weights_B * torch.stack(one_by_one)).mean()
        torch.testing.assert_close(make_loss(BinaryCrossEntropy(), weights_K)(net, X, labels), expected)


@pytest.mark.parametrize("num_aux", [0, 1, 2])
def test_each_auxiliary_head_adds_its_weighted_loss(num_aux: int) -> None:
    net = ThreeHeads(num_aux)
    loss = make_loss(CrossEntropy(label_smoothing=0.1, aux_weight=0.3))(net, X, LABELS)
    main, *aux = (formula(head(X), 0.1) for head in net.heads)
    torch.testing.assert_close(loss, main + 0.3 * sum(aux))


def test_heads_of_weight_zero_are_not_computed() -> None:
    net = ThreeHeads(2)
    make_loss(CrossEntropy(aux_weight=0.0))(net, X, LABELS).backward()
    assert net.heads[0].weight.grad is not None and net.heads[1].weight.grad is None


class Wrapper(nn.Module):
    """As `DistributedDataParallel`: its forward is the net's, and it has no other method of the net."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)


def test_heads_that_a_wrapper_hides_are_not_left_untrained_in_silence() -> None:
    with pytest.raises(
        ValueError, match="Wrapper hides the auxiliary heads of its net, .* or set loss.aux_weight to 0"
    ):
        make_loss(CrossEntropy())(Wrapper(ThreeHeads(2)), X, LABELS)
    make_loss(CrossEntropy(aux_weight=0.0))(Wrapper(ThreeHeads(2)), X, LABELS)
    make_loss(CrossEntropy())(Wrapper(nn.Linear(5, 4)), X, LABELS)
