"""Optimizers: their rules, what their weight decay touches, and a state that goes on to the same bits."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from plusx.engine.optim import make_optimizer, optimizer_tensors, restore_optimizer, set_multiplier
from plusx.recipes.optim import SGD, Adadelta, Adagrad, Adam, AdamW, Lamb, Muon, Optim, RMSprop

EVERY = [
    SGD(momentum=0.0),
    SGD(momentum=0.9, nesterov=True),
    AdamW(),
    Adam(weight_decay=1e-3),
    Lamb(),
    Lamb(decay="all"),
    Adagrad(weight_decay=1e-3),
    Adagrad(),
    Adadelta(rho=0.95, weight_decay=1e-3),
    RMSprop(alpha=0.9, weight_decay=1e-3),
    RMSprop(momentum=0.9),
    RMSprop(weight_decay=1e-3, decay="weights"),
    Adagrad(weight_decay=1e-3, decay="weights"),
    SGD(decay="weights"),
    Muon(weight_decay=1e-3),
]


class Scaled(nn.Module):
    """A parameter without dimensions, as gates have."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x


def small_net() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), Scaled(), nn.Flatten(), nn.Linear(64, 5))
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def train(net: nn.Module, optimizer: torch.optim.Optimizer, start: int, stop: int) -> None:
    for step in range(start, stop):
        rng = torch.Generator().manual_seed(step)
        x, labels = torch.randn(8, 3, 6, 6, generator=rng), torch.randint(0, 5, (8,), generator=rng)
        set_multiplier(optimizer, 1 - step / 10)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), labels).backward()
        optimizer.step()


@pytest.mark.parametrize("spec", EVERY, ids=str)
def test_a_restored_optimizer_goes_on_to_the_same_bits(spec: Optim) -> None:
    straight = small_net()
    train(straight, make_optimizer(spec, straight), 0, 4)

    before = small_net()
    optimizer = make_optimizer(spec, before)
    train(before, optimizer, 0, 2)
    saved = {key: value.clone().contiguous() for key, value in optimizer_tensors(optimizer, before).items()}
    after = small_net()
    after.load_state_dict(before.state_dict())
    fresh = make_optimizer(spec, after)
    restore_optimizer(fresh, after, saved)
    train(after, fresh, 2, 4)

    for (name, a), b in zip(straight.state_dict().items(), after.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    unrestored = small_net()
    unrestored.load_state_dict(before.state_dict())
    train(unrestored, make_optimizer(spec, unrestored), 2, 4)
    remembers = spec != SGD(momentum=0.0)
    assert torch.equal(unrestored[0].weight, straight[0].weight) != remembers


def by_hand(spec: Optim) -> Callable[[Tensor, list[Tensor]], Tensor]:
    """The published rule, from a start and its gradients to the end."""

    def run(w: Tensor, gradients: list[Tensor]) -> Tensor:
        s, u, m = torch.zeros_like(w), torch.zeros_like(w), torch.zeros_like(w)
        for t, g in enumerate(gradients, start=1):
            match spec:
                case SGD(lr):
                    w = w - lr * g
                case Adagrad(lr, _, eps):
                    s = s + g**2
                    w = w - lr * g / (s.sqrt() + eps)
                case Adadelta(lr, rho, eps):
                    s = rho * s + (1 - rho) * g**2
                    d = (u + eps).sqrt() / (s + eps).sqrt() * g
                    u = rho * u + (1 - rho) * d**2
                    w = w - lr * d
                case RMSprop(lr, alpha, eps):
                    s = alpha * s + (1 - alpha) * g**2
                    w = w - lr * g / (s.sqrt() + eps)
                case Lamb(lr, beta1, beta2, eps, decay):
                    m = beta1 * m + (1 - beta1) * g
                    s = beta2 * s + (1 - beta2) * g**2
                    r = (m / (1 - beta1**t)) / ((s / (1 - beta2**t)).sqrt() + eps) + decay * w
                    w = w - lr * w.norm() / r.norm() * r
                case Adam(lr, beta1, beta2, eps):
                    m = beta1 * m + (1 - beta1) * g
                    s = beta2 * s + (1 - beta2) * g**2
                    w = w - lr * (m / (1 - beta1**t)) / ((s / (1 - beta2**t)).sqrt() + eps)
                case _:
                    raise AssertionError(f"no rule by hand for {spec}")
        return w

    return run


@pytest.mark.parametrize(
    "spec", [SGD(momentum=0.0, weight_decay=0.0), Adagrad(), Adadelta(), RMSprop(), Adam(), Lamb()], ids=str
)
def test_an_optimizer_follows_its_papers_rule(spec: Optim) -> None:
    net = nn.Linear(7, 3, bias=False).double()
    rng = torch.Generator().manual_seed(0)
    gradients = [torch.randn(3, 7, generator=rng, dtype=torch.float64) for _ in range(5)]
    expected = by_hand(spec)(net.weight.detach().clone(), gradients)
    optimizer = make_optimizer(spec, net)
    for g in gradients:
        net.weight.grad = g.clone()
        optimizer.step()
    torch.testing.assert_close(net.weight.detach(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", [SGD, AdamW, Adam, Lamb, Adagrad, Adadelta, RMSprop])
@pytest.mark.parametrize("decay", ["all", "weights"])
def test_weight_decay_touches_what_the_recipe_says(kind: type, decay: str) -> None:
    net = small_net()
    nn.init.ones_(net[0].bias)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimizer = make_optimizer(kind(weight_decay=0.1, decay=decay), net)
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    shrunk = {name for name, p in net.named_parameters() if p.abs().sum() < before[name].abs().sum()}
    moved = {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    matrices = {"0.weight", "5.weight"}
    assert shrunk == moved
    assert shrunk == (matrices if decay == "weights" else set(before) - {"1.bias"})  # batch norm's shift starts at 0


def test_every_group_follows_the_schedule() -> None:
    optimizer = make_optimizer(SGD(lr=0.5, decay="weights"), small_net())
    set_multiplier(optimizer, 0.1)
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.05]


@pytest.mark.parametrize(("spec", "device"), [(AdamW(), "meta"), (Adadelta(), "cpu")], ids=str)
def test_the_count_of_steps_is_put_back_where_the_kernel_looks_for_it(spec: Optim, device: str) -> None:
    net = nn.Linear(2, 2, device="meta")  # stands for an accelerator
    optimizer = make_optimizer(spec, net)
    restore_optimizer(optimizer, net, {"weight/step": torch.tensor(3.0)})
    assert optimizer.state[net.weight]["step"].device.type == device


def test_lamb_replaces_the_same_share_of_every_layer_and_leaves_vectors_to_adam() -> None:
    net, plain = small_net(), small_net()
    with torch.no_grad():
        for layers in (net, plain):
            layers[5].weight.mul_(100)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    for layers, spec in ((net, Lamb(lr=0.01)), (plain, Adam(lr=0.01, eps=1e-6))):
        optimizer = make_optimizer(spec, layers)
        for p in layers.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()
    moved = {
        name: float((p.detach() - before[name]).norm() / before[name].norm()) for name, p in net.named_parameters()
    }
    assert [moved[name] for name in ("0.weight", "5.weight")] == pytest.approx([0.01, 0.01], rel=1e-4)
    for name in ("0.bias", "1.weight", "1.bias", "5.bias", "3.scale"):
        torch.testing.assert_close(net.get_parameter(name), plain.get_parameter(name))


def test_lamb_moves_weights_of_length_zero() -> None:
    net = nn.Linear(3, 2, bias=False)
    nn.init.zeros_(net.weight)
    net.weight.grad = torch.ones_like(net.weight)
    make_optimizer(Lamb(lr=0.1), net).step()
    torch.testing.assert_close(net.weight.detach(), torch.full((2, 3), -0.1), rtol=1e-5, atol=0)
