"""Muon: the orthogonal step, its batches, its groups, and the rule as it is written."""

import pytest
import torch
from torch import Tensor, nn

from plusx.engine.muon import groups, orthogonalise
from plusx.engine.optim import make_optimizer, set_multiplier
from plusx.nets import build
from plusx.recipes.optim import Muon


def random_matrices(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("shape", [(3, 16, 40), (3, 40, 16), (1, 24, 24)])
def test_five_iterations_bring_singular_values_near_one_and_leave_the_axes(shape: tuple[int, int, int]) -> None:
    x = random_matrices(*shape, dtype=torch.float64)
    u, s, v = torch.linalg.svd(x, full_matrices=False)
    inside = u.mT @ orthogonalise(x, steps=5) @ v.mT
    found = inside.diagonal(dim1=1, dim2=2)
    far = s > 0.02 * s.norm(dim=1, keepdim=True)  # the smallest of a square matrix need more iterations
    assert far.sum() >= 0.9 * s.numel()
    assert found[far].min() > 0.65 and found.max() < 1.25
    assert (inside - torch.diag_embed(found)).abs().max() < 1e-9


def test_the_length_of_a_matrix_does_not_matter_and_zero_stays_zero() -> None:
    x = random_matrices(2, 6, 9)
    torch.testing.assert_close(orthogonalise(1e4 * x, steps=3), orthogonalise(x, steps=3), rtol=1e-4, atol=1e-5)
    assert orthogonalise(torch.zeros(1, 4, 5), steps=3).eq(0).all()


def test_bf16_orthogonalises_as_fp32_does_to_two_digits() -> None:
    x = random_matrices(2, 32, 90)
    torch.testing.assert_close(
        orthogonalise(x.bfloat16(), steps=3).float(), orthogonalise(x, steps=3), rtol=0, atol=0.02
    )


def test_matrices_of_one_shape_get_together_what_they_get_alone() -> None:
    layers = [nn.Conv2d(4, 6, 3), nn.Conv2d(4, 6, 3), nn.Conv2d(6, 4, 3), nn.Linear(9, 5), nn.Linear(2, 2)]
    together, alone = nn.ModuleList(layers).double(), [nn.ModuleList([m, nn.Linear(2, 2)]).double() for m in layers]
    expected = []
    for net in (*alone, together):
        optimizer = make_optimizer(Muon(), net)
        for p in net.parameters():
            p.grad = random_matrices(*p.shape, dtype=torch.float64)
        before = [m.weight.detach().clone() for m in net]
        optimizer.step()
        moves = [m.weight.detach() - w for m, w in zip(net, before, strict=True)]
        if net is not together:
            net[0].weight.data.copy_(before[0])
            expected.append(moves[0])
    for move, one in zip(moves[:4], expected[:4], strict=True):
        torch.testing.assert_close(move, one, rtol=1e-9, atol=1e-12)


def test_the_groups_of_a_net_are_matrices_the_last_layer_and_vectors() -> None:
    net = build("res_airbench94")
    names = {id(p): name for name, p in net.named_parameters()}
    matrices, head, vectors = ([names[id(p)] for p in group["params"]] for group in groups(Muon(), net))
    assert head == ["head.linear.weight"]
    assert len(matrices) == 7 and all(name.endswith("conv.weight") for name in matrices)  # one is frozen
    assert set(vectors) == set(names.values()) - set(matrices) - set(head)


def test_every_group_has_its_own_rate_and_follows_the_schedule() -> None:
    optimizer = make_optimizer(Muon(lr=0.2, head_lr=0.5, vector_lr=3.0), build("resnet20"))
    set_multiplier(optimizer, 0.1)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.02, 0.05, 0.3])


def test_two_steps_are_those_of_the_rule_by_hand() -> None:
    spec = Muon(lr=0.3, momentum=0.6, head_lr=0.4, vector_lr=2.0, sgd_momentum=0.8, weight_decay=0.01, ns_steps=2)
    net = (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 5)).double().to(memory_format=torch.channels_last)
    )
    w = {name: p.detach().clone() for name, p in net.named_parameters()}
    b = {name: torch.zeros_like(p) for name, p in w.items()}
    optimizer = make_optimizer(spec, net)
    for step in range(2):
        for seed, (name, p) in enumerate(net.named_parameters()):
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            if name == "0.weight":
                b[name] = 0.6 * b[name] + p.grad
                x = (p.grad + 0.6 * b[name]).reshape(4, 27)
                x = x / x.norm()
                for _ in range(2):
                    x = 3.4445 * x - 4.7750 * x @ x.T @ x + 2.0315 * x @ x.T @ x @ x.T @ x
                w[name] = 2 * w[name] / w[name].norm() - 0.3 * x.reshape(w[name].shape)  # 2 is the root of 4 outputs
            else:
                lr = 0.4 if name == "2.weight" else 2.0
                g = p.grad + 0.01 / lr * w[name]
                b[name] = 0.8 * b[name] + g
                w[name] = w[name] - lr * (g + 0.8 * b[name])
        optimizer.step()
        for name, p in net.named_parameters():
            torch.testing.assert_close(p.detach(), w[name], rtol=0, atol=1e-6, msg=f"{name} at step {step}")


def test_what_is_not_trained_stays_as_it_is() -> None:
    net = build("res_airbench94")
    frozen = {name: p.detach().clone() for name, p in net.named_parameters() if not p.requires_grad}
    assert len(frozen) == 7
    optimizer = make_optimizer(Muon(weight_decay=0.1), net)
    nn.functional.cross_entropy(net(torch.randn(4, 3, 32, 32)), torch.arange(4)).backward()
    optimizer.step()
    assert all(torch.equal(net.get_parameter(name), before) for name, before in frozen.items())
    assert "stem.conv.bias" not in frozen and net.get_parameter("stem.conv.bias").abs().max() > 0
