"""Random weights of torchvision's and timm's nets, put into ours, give equal logits and gradients."""

import re
from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from plusx.nets import build, entry, names
from plusx.nets.net import AuxiliaryHeads
from plusx.nets.resnet import ZeroPad
from plusx.weights.layouts import Padding
from plusx.weights.translate import translate

TORCHVISION = set(torchvision.models.list_models(module=torchvision.models)) & set(names())
TIMM = {name for name in names() if name.startswith("dpn")}
ONE_A_FAMILY = {"alexnet", "vgg11_bn", "googlenet", "resnet18", "resnext50_32x4d", "densenet121", "dpn68", "dpn68b"}

PEERS = [
    pytest.param(name, marks=[] if name in ONE_A_FAMILY else [pytest.mark.slow])
    for name in names()
    if name in TORCHVISION | TIMM
]


def peer(name: str, num_classes: int = 1000) -> nn.Module:
    """Theirs, with running statistics as if it had been trained."""
    torch.manual_seed(0)
    if name in TIMM:
        net = timm.create_model(name, num_classes=num_classes)
    else:
        options = {"init_weights": False} if name == "googlenet" else {}  # theirs would take half a minute
        net = torchvision.models.get_model(name, num_classes=num_classes, **options)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net


def twin(name: str, theirs: nn.Module) -> nn.Module:
    translation = translate(name, theirs.state_dict())
    assert not translation.dropped and not translation.missing
    net = build(name, **translation.options)
    net.load_state_dict(translation.tensors)
    return net


def logits(net: nn.Module, x: Tensor, *, training: bool) -> Tensor:
    """Of all heads, side by side; the same seed draws the same dropout."""
    torch.manual_seed(2)
    if isinstance(net, AuxiliaryHeads) and training:
        outputs = net.forward_with_aux(x)
        return torch.cat([outputs.main, *outputs.aux], 1)
    y = net.train(training)(x)
    if isinstance(y, tuple):  # torchvision's GoogLeNet in training
        return torch.cat([y.logits, y.aux_logits1, y.aux_logits2], 1)
    return y


def relative(a: Tensor, b: Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max().clamp(min=1e-20)).item()


@pytest.mark.more
@pytest.mark.parametrize("name", PEERS)
def test_logits_and_gradients_are_theirs(name: str) -> None:
    theirs = peer(name)
    ours = twin(name, theirs)
    torch.manual_seed(1)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        error_eval = relative(logits(ours.eval(), x, training=False), logits(theirs.eval(), x, training=False))
    inputs, outputs = [x.clone().requires_grad_() for _ in range(2)], []
    for net, image in zip((ours.train(), theirs.train()), inputs, strict=True):
        y = logits(net, image, training=True)
        nn.functional.cross_entropy(y, torch.tensor([0, 1])).backward()
        outputs.append(y.detach())
    error_train = relative(*outputs)
    renamed = translate(name, theirs.state_dict()).renamed
    gradients = {key: p.grad for key, p in ours.named_parameters()}
    pairs = [
        (gradients[renamed[k]].reshape(p.shape), p.grad) for k, p in theirs.named_parameters() if p.grad is not None
    ]
    pairs.append((inputs[0].grad, inputs[1].grad))
    # Of one: a gradient that batch norm makes zero but for rounding has no relative error to speak of.
    worst = max(((a - b).abs().max() / b.abs().max().clamp(min=1)).item() for a, b in pairs)
    print(f"{name}: logits {error_eval:.1e} in evaluation, {error_train:.1e} in training, gradients {worst:.1e}")
    assert error_eval <= 1e-5 and error_train <= 1e-5 and worst <= 1e-4
    for key, value in theirs.state_dict().items():  # running statistics after the step
        torch.testing.assert_close(ours.state_dict()[renamed[key]].reshape(value.shape), value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["dpn68", pytest.param("dpn68b", marks=pytest.mark.more)])
def test_what_rounding_hides_is_equal_in_double(name: str) -> None:
    """timm adds and concatenates in another order, which in fp32 shows in gradients that are zero but for rounding."""
    theirs = peer(name)
    ours, theirs = twin(name, theirs).double(), theirs.double()
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    for net in (ours.train(), theirs.train()):
        nn.functional.cross_entropy(net(x), torch.tensor([0, 1])).backward()
    renamed = translate(name, theirs.state_dict()).renamed
    gradients = {key: p.grad for key, p in ours.named_parameters()}
    for key, p in theirs.named_parameters():
        assert relative(gradients[renamed[key]].reshape(p.shape), p.grad) < 1e-9, key


def test_every_net_that_they_have_is_compared() -> None:
    resnets = {f"resnet{n}" for n in (18, 34, 50, 101, 152)}
    vggs = {f"vgg{n}{bn}" for n in (11, 13, 16, 19) for bn in ("", "_bn")}
    wide = {"wide_resnet50_2", "wide_resnet101_2", "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"}
    dense = {f"densenet{n}" for n in (121, 161, 169, 201)}
    assert resnets | vggs | wide | dense | {"alexnet", "googlenet"} == TORCHVISION
    assert {f"dpn{n}" for n in ("68", "68b", "92", "98", "107", "131")} == TIMM


# ---- what files look like in the wild --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda key: f"module.{key}",
        lambda key: f"_orig_mod.{key}",
        lambda key: f"_orig_mod.module.{key}",
        lambda key: f"module._orig_mod.{key}",
    ],
)
def test_prefixes_of_wrappers_are_taken_off(change: Callable[[str], str]) -> None:
    theirs = peer("resnet18").state_dict()
    translation = translate("resnet18", {change(key): value for key, value in theirs.items()})
    assert torch.equal(translation.tensors["head.linear.bias"], theirs["fc.bias"])


@pytest.mark.parametrize("prefix", ["model.", "net.", "backbone.", "student.", "encoder.", "model.net.", "a.b.c."])
def test_a_prefix_that_all_names_have_comes_off_and_is_said(prefix: str) -> None:
    for theirs in (cifar_names(), build("resnet20").state_dict()):  # theirs, and ours out of somebody's training loop
        translation = translate("resnet20", {prefix + key: value for key, value in theirs.items()})
        assert translation.prefix == prefix and not translation.dropped and not translation.missing
        assert set(translation.renamed) == {prefix + key for key in theirs}


def cifar_names(**options: object) -> dict[str, Tensor]:
    return to_cifar_names(build("resnet20", **options).state_dict(), "shortcut")


def test_of_several_nets_in_a_file_one_is_chosen_by_its_prefix() -> None:
    teacher, student = cifar_names(), cifar_names()
    both = {f"{who}.{key}": t for who, net in (("teacher", teacher), ("student", student)) for key, t in net.items()}
    with pytest.raises(ValueError, match=r"under teacher. and under student.: choose with --prefix"):
        translate("resnet20", both)
    for prefix in ("student", "student."):
        translation = translate("resnet20", both, prefix=prefix)
        assert torch.equal(translation.tensors["head.linear.bias"], student["linear.bias"])
        assert set(translation.dropped) == {f"teacher.{key}" for key in teacher}
    with pytest.raises(ValueError, match="no tensor's name begins with tutor.; they begin with teacher., student."):
        translate("resnet20", both, prefix="tutor")
    beside = {"criterion.weight": torch.ones(10), **{f"model.{key}": t for key, t in student.items()}}
    with pytest.raises(ValueError, match="criterion.weight has no place in it; it lies under model.: choose with"):
        translate("resnet20", beside)
    assert translate("resnet20", beside, prefix="model").dropped == ("criterion.weight",)


def test_a_head_beside_a_prefixed_net_is_its_head() -> None:
    theirs = cifar_names()
    split = {key.replace("linear", "head.fc") if "linear" in key else f"backbone.{key}": t for key, t in theirs.items()}
    translation = translate("resnet20", split, padding="behind")
    assert (
        not translation.dropped
        and not translation.missing
        and translation.renamed["head.fc.bias"] == "head.linear.bias"
    )


def test_of_two_last_layers_none_is_taken_by_chance() -> None:
    inside = {f"model.{key}": value for key, value in cifar_names().items()}
    for other in ("linear", "head.fc"):
        both = {f"{other}.weight": torch.ones(10, 64), f"{other}.bias": torch.ones(10), **inside}
        with pytest.raises(ValueError, match=f"{other}.weight has no place in it; it lies under model.: choose with"):
            translate("resnet20", both)
        translation = translate("resnet20", both, prefix="model")
        assert translation.dropped == (f"{other}.weight", f"{other}.bias")
        assert torch.equal(translation.tensors["head.linear.bias"], inside["model.linear.bias"])


def test_what_profilers_and_averages_count_is_dropped_by_name() -> None:
    counts = ("total_ops", "layer1.0.conv1.total_params", "bn1.total_ops", "n_averaged")
    theirs = {**dict.fromkeys(counts, torch.zeros(1, dtype=torch.float64)), **cifar_names()}
    translation = translate("resnet20", theirs)
    assert translation.dropped == counts and not translation.missing
    wrapped = {
        "n_averaged": torch.tensor(3),
        **{f"module.{key}": t for key, t in cifar_names().items()},
    }  # AveragedModel
    assert translate("resnet20", wrapped).dropped == ("n_averaged",)


@pytest.mark.parametrize("head", ["fc.1", "fc.0", "classifier", "classifier.1", "head.fc", "head.1", "linear.2"])
def test_a_head_in_a_sequential_is_the_head(head: str) -> None:
    theirs = {key.replace("linear", head): value for key, value in cifar_names().items()}
    translation = translate("resnet20", theirs, padding="behind")
    assert (
        translation.renamed[f"{head}.weight"] == "head.linear.weight"
        and not translation.dropped
        and not translation.missing
    )
    ours = {key.replace("head.linear", "head.linear.1"): t for key, t in build("resnet20").state_dict().items()}
    assert translate("resnet20", ours).renamed["head.linear.1.bias"] == "head.linear.bias"


def test_a_head_of_two_layers_is_refused() -> None:
    theirs = {**cifar_names(), "linear.2.weight": torch.ones(10, 10), "linear.2.bias": torch.ones(10)}
    with pytest.raises(ValueError, match="linear.weight and linear.2.weight would both be head.linear.weight"):
        translate("resnet20", theirs)


@pytest.mark.parametrize("name", ["resnet20", "vgg11", "densenet_40_12", "highway_a", "lenet5"])
def test_a_file_without_a_last_layer_is_a_net_that_gets_a_new_one(name: str) -> None:
    with torch.device("meta"):
        ours = build(name)
    bare = {key: value for key, value in ours.state_dict().items() if key not in last_layer(ours)}
    with torch.device("meta"):
        features = build(name, num_classes=0).state_dict()
    for theirs in (bare, features):
        translation = translate(name, theirs)
        assert set(translation.missing) == set(ours.state_dict()) - set(theirs) and not translation.dropped
        assert translation.options.get("num_classes", entry(name).num_classes) == entry(name).num_classes


@pytest.mark.parametrize("name", ["resnet20", "highway_a", "lenet5"])
def test_weights_load_into_a_net_without_or_with_other_classes(name: str) -> None:
    theirs = build(name).state_dict()
    for count in (0, 4):
        translation = translate(name, theirs, num_classes=count)
        net = build(name, num_classes=count)
        assert set(translation.tensors) | set(translation.missing) == set(net.state_dict())
        assert translation.dropped and all(key.startswith("head.") for key in translation.dropped)


def last_layer(net: nn.Module) -> set[str]:
    last = [key for key in net.state_dict() if key.startswith("head.")][-1].rpartition(".")[0]
    return {key for key in net.state_dict() if key.startswith(f"{last}.")}


def test_another_number_of_classes_leaves_the_last_layer_out() -> None:
    theirs = peer("resnet18", num_classes=11).state_dict()
    assert translate("resnet18", theirs).options == {"num_classes": 11, "in_channels": 3}
    translation = translate("resnet18", theirs, num_classes=5)
    assert translation.dropped == ("fc.weight", "fc.bias")
    assert translation.missing == ("head.linear.weight", "head.linear.bias")


def test_a_file_with_auxiliary_heads_may_leave_them_out() -> None:
    theirs = peer("googlenet").state_dict()
    assert translate("googlenet", theirs).options["aux"] is True
    translation = translate("googlenet", theirs, aux=False)
    assert translation.dropped and all(key.startswith("aux") for key in translation.dropped) and not translation.missing
    without = {key: value for key, value in theirs.items() if not key.startswith("aux")}
    assert translate("googlenet", without).options["aux"] is False


def test_old_densenet_files_write_norm_dot_1() -> None:
    theirs = peer("densenet121").state_dict()
    old = {key: value for key, value in theirs.items() if not key.endswith("num_batches_tracked")}
    for digit in "12":
        for part in ("norm", "conv"):
            old = {key.replace(f".{part}{digit}.", f".{part}.{digit}."): value for key, value in old.items()}
    translation = translate("densenet121", old)
    assert any(".norm.1." in key for key in translation.renamed)
    assert all(key.endswith("num_batches_tracked") for key in translation.missing)


def to_cifar_names(state: dict[str, Tensor], blocks: str) -> dict[str, Tensor]:
    """Our names of a residual net as the CIFAR repositories write them."""
    names = {}
    for key, value in state.items():
        new = re.sub(r"stages\.(\d)\.", lambda m: f"layer{int(m[1]) + 1}.", key)
        new = re.sub(r"branch\.conv(\d)\.conv", r"conv\1", re.sub(r"branch\.conv(\d)\.norm", r"bn\1", new))
        new = new.replace("stem.conv.conv", "conv1").replace("stem.conv.norm", "bn1").replace("head.linear", "linear")
        new = new.replace("shortcut.conv", f"{blocks}.0").replace("shortcut.norm", f"{blocks}.1")
        names[new] = value
    return names


@pytest.mark.parametrize(
    ("name", "shortcut", "source"),
    [("resnet20", "B", "akamaster"), ("resnet18_cifar", "B", "kuangliu")],
)
def test_the_cifar_repositories_files_are_known(name: str, shortcut: str, source: str) -> None:
    ours = build(name, shortcut=shortcut)
    translation = translate(name, to_cifar_names(ours.state_dict(), "shortcut"))
    assert translation.source == source and not translation.missing and not translation.dropped
    net = build(name, **translation.options)
    net.load_state_dict(translation.tensors)
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(net.eval()(x), ours.eval()(x))


def test_akamasters_option_a_pads_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its channels come in another order; the net that pads as it does gives our logits."""
    torch.manual_seed(0)  # sums of other orders differ in their last digits, for some weights in more than others
    theirs = build("resnet20").eval()
    translation = translate("resnet20", to_cifar_names(theirs.state_dict(), "shortcut"))
    assert translation.source == "akamaster" and not translation.missing and not translation.dropped
    ours = build("resnet20").eval()
    ours.load_state_dict(translation.tensors)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        y, behind = ours(x), theirs(x)
        monkeypatch.setattr(ZeroPad, "forward", pads_on_both_sides)
        torch.testing.assert_close(y, theirs(x))
    assert not torch.allclose(y, behind)


@pytest.mark.parametrize("head", ["linear", "fc"])
@pytest.mark.parametrize("padding", ["behind", "both"])
def test_where_the_zeros_lie_is_asked_and_said_where_it_was_assumed(
    head: str, padding: Padding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the last layer is called: no tensor shows it, and the other guess gives wrong logits."""
    theirs = build("resnet20").eval()
    renamed = {key.replace("linear", head): t for key, t in to_cifar_names(theirs.state_dict(), "shortcut").items()}
    assert_equal_where_it_pads("resnet20", theirs, renamed, padding, monkeypatch)
    stated, guessed = translate("resnet20", cifar_names(), padding=padding), translate("resnet20", cifar_names())
    assert not stated.notes
    assert re.search("taken to lie on both sides.*akamaster.*convert with --set padding=behind", *guessed.notes)
    with pytest.raises(ValueError, match="padding is 'front'; choose behind or both"):
        translate("resnet20", cifar_names(), padding="front")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "options"), [("resnet20", {"layers_per_block": 1}), ("resnet50_cifar", {"shortcut": "A"})]
)
def test_blocks_of_one_and_three_layers_pad_on_both_sides_too(
    name: str, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = build(name, **options).eval()
    renamed = to_cifar_names(theirs.state_dict(), "shortcut")
    assert_equal_where_it_pads(name, theirs, renamed, "both", monkeypatch, **options)
    with pytest.raises(ValueError, match="padding=both is for blocks that end in ReLU; these are pre-activated"):
        translate(
            "preact_resnet110", build("preact_resnet110", shortcut="A").state_dict(), padding="both", shortcut="A"
        )


def assert_equal_where_it_pads(
    name: str,
    theirs: nn.Module,
    file: dict[str, Tensor],
    padding: Padding,
    patch: pytest.MonkeyPatch,
    **options: object,
) -> None:
    ours = build(name, **options).eval()
    ours.load_state_dict(translate(name, file, padding=padding, **options).tensors)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad(), patch.context() as patched:
        y = ours.double()(x)
        if padding == "both":
            patched.setattr(ZeroPad, "forward", pads_on_both_sides)
        torch.testing.assert_close(y, theirs.double()(x))


def test_where_nothing_is_padded_nothing_is_asked() -> None:
    for name, options in (("resnet20", {"shortcut": "B"}), ("plain20", {})):
        theirs = to_cifar_names(build(name, **options).state_dict(), "shortcut")
        assert not translate(name, theirs).notes
        with pytest.raises(ValueError, match=f"padding=both says where option A's zeros lie; this {name} has no such"):
            translate(name, theirs, padding="both")
    assert not translate("resnet20", build("resnet20").state_dict()).notes  # ours lie behind


def pads_on_both_sides(self: ZeroPad, x: Tensor) -> Tensor:
    half = self.new_channels // 2
    return nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))


def test_a_preactivation_file_of_kuangliu_is_known() -> None:
    ours = build("preact_resnet18_cifar")
    theirs = {}
    for key, value in ours.state_dict().items():
        new = re.sub(r"stages\.(\d)\.", lambda m: f"layer{int(m[1]) + 1}.", key)
        new = new.replace("open.norm", "bn1").replace("branch.conv1", "conv1").replace("branch.conv2.norm", "bn2")
        new = new.replace("branch.conv2.conv", "conv2").replace("stem.conv", "conv1").replace("head.linear", "linear")
        theirs[new.replace("shortcut.weight", "shortcut.0.weight")] = value
    translation = translate("preact_resnet18_cifar", theirs)
    assert translation.source == "kuangliu" and not translation.missing and not translation.dropped
    assert all(torch.equal(translation.tensors[key], value) for key, value in ours.state_dict().items())


def test_a_bias_in_the_first_convolution_is_seen() -> None:
    theirs = peer("resnet50").state_dict()
    assert translate("resnet50", {**theirs, "conv1.bias": torch.zeros(64)}).options["stem_bias"] is True


@pytest.mark.parametrize(
    ("name", "of", "words"),
    [
        ("resnet34", "resnet18", "the weights are not resnet34's: they lack stages.0.2"),
        ("resnet18", "resnet34", "the weights are not resnet18's: layer1.2.conv1.weight has no place in it"),
        pytest.param(
            "resnet50",
            "wide_resnet50_2",
            "the weights are not resnet50's: layer1.0.conv1.weight is 128 x 64 x 1 x 1",
            marks=pytest.mark.more,
        ),
        pytest.param("vgg16", "resnet18", "the weights are not vgg16's", marks=pytest.mark.more),
        ("mlp", "resnet18", "the weights are not mlp's: conv1.weight has no place in it"),
    ],
)
def test_the_weights_of_another_net_are_refused(name: str, of: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        translate(name, peer(of).state_dict())


@pytest.mark.parametrize(
    "name", ["lenet5", "lenet5_dense", "mlp", "highway_mnist_16", "densenet_40_12", "preact_resnet110"]
)
def test_our_own_names_come_back_as_they_are(name: str) -> None:
    ours = build(name, num_classes=7).state_dict()
    translation = translate(name, ours)
    assert translation.source == "plusx" and set(translation.matched) == set(ours) and not translation.renamed
    assert translation.options["num_classes"] == 7
