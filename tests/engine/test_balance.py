"""Classes of unequal size that count the same: by the loss, by what is drawn, and in what is measured."""

import math
import pickle
import shutil
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from plusx.data.balance import BalancedVisits, class_weights
from plusx.data.batches import Augmentation, TrainBatches
from plusx.data.images import ImageSet
from plusx.data.preprocess import Preprocess
from plusx.engine.evaluation import evaluate
from plusx.engine.events import StoppedError
from plusx.engine.losses import make_loss
from plusx.engine.task import Classification
from plusx.engine.training import resume, train
from plusx.placement.place import Placement
from plusx.recipes.loss import CrossEntropy
from plusx.runs.metrics import read_metrics
from tests.cli.commands import plusx, refused, result

COUNTS = st.lists(st.integers(1, 12), min_size=2, max_size=5)
AS_IT_IS = Preprocess((1, 1), torch.zeros(1, 1, 1), torch.full((1, 1, 1), 1 / 255), "")


def labels_of(counts: list[int]) -> list[int]:
    return [label for label, count in enumerate(counts) for _ in range(count)]


class Logits(nn.Module):
    """A net whose logits are given."""

    def __init__(self, logits_BK: Tensor) -> None:
        super().__init__()
        self.logits_BK = logits_BK

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.logits_BK


@given(COUNTS)
def test_weights_are_inverse_to_the_counts_and_1_in_the_mean_over_the_images(counts: list[int]) -> None:
    weights_K = class_weights(torch.tensor(counts))
    torch.testing.assert_close(weights_K * torch.tensor(counts), weights_K[0] * counts[0] * torch.ones(len(counts)))
    assert weights_K[labels_of(counts)].double().mean().item() == pytest.approx(1)


@given(counts=COUNTS, smoothing=st.sampled_from([0.0, 0.1, 0.5]), mixed=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_the_weighted_loss_is_the_sum_over_classes(counts: list[int], smoothing: float, mixed: bool, seed: int) -> None:
    """By hand: an image's loss with each class, times its share of the class, times the weight of the class."""
    rng = torch.Generator().manual_seed(seed)
    classes, weights_K = len(counts), class_weights(torch.tensor(counts))
    logits_BK = 3 * torch.randn(7, classes, generator=rng)
    labels_B = torch.randint(classes, (7,), generator=rng)
    shares_BK = F.one_hot(labels_B, classes).float()
    if mixed:
        shares_BK = 0.3 * shares_BK + 0.7 * shares_BK.roll(1, 0)
    loss_fn = make_loss(CrossEntropy(label_smoothing=smoothing), weights_K)
    loss = loss_fn(Logits(logits_BK), torch.zeros(7, 1, 1, 1), shares_BK if mixed else labels_B)
    by_hand = 0.0
    for log_K, share_K in zip(logits_BK.log_softmax(1), shares_BK, strict=True):
        for k in range(classes):
            with_k = -(1 - smoothing) * log_K[k] - smoothing * log_K.mean()
            by_hand += float(share_K[k] * weights_K[k] * with_k) / 7
    assert loss.item() == pytest.approx(by_hand, rel=1e-4)


def test_equal_classes_are_weighed_as_if_they_were_not() -> None:
    logits_BK, labels_B = torch.randn(6, 3), torch.arange(6) % 3
    plain, weighted = (
        make_loss(CrossEntropy(label_smoothing=0.1), weights_K)(Logits(logits_BK), torch.zeros(6, 1, 1, 1), labels_B)
        for weights_K in (None, class_weights(torch.tensor([4, 4, 4])))
    )
    torch.testing.assert_close(plain, weighted)


@given(counts=COUNTS, seed=st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_every_class_is_drawn_equally_often_and_every_image_of_it_too(counts: list[int], seed: int) -> None:
    labels, classes = labels_of(counts), len(counts)
    visits = BalancedVisits(labels, classes, seed)
    rounds = math.lcm(*counts) if math.lcm(*counts) < 200 else 60
    images, earlier = visits.at(range(rounds * classes))
    assert Counter(labels[image] for image in images) == dict.fromkeys(range(classes), rounds)
    seen: Counter[int] = Counter()
    for image, visit in zip(images, earlier, strict=True):
        assert seen[image] == visit  # so that no crop or flip of an image comes twice
        seen[image] += 1
    for label in range(classes):
        of_class = [seen[image] for image in range(len(labels)) if labels[image] == label]
        assert max(of_class) - min(of_class) <= 1


@given(cuts=st.lists(st.integers(1, 60), max_size=4), seed=st.integers(0, 20))
@settings(max_examples=30, deadline=None)
def test_what_is_drawn_follows_from_the_place_alone(cuts: list[int], seed: int) -> None:
    labels, edges = labels_of([5, 1, 3]), sorted({0, 61, *cuts})
    whole = BalancedVisits(labels, 3, seed).at(range(61))
    sent = pickle.loads(pickle.dumps(BalancedVisits(labels, 3, seed)))
    pieces = {start: sent.at(range(start, stop)) for start, stop in reversed(list(pairwise(edges)))}
    assert [i for start in edges[:-1] for i in pieces[start][0]] == whole[0]
    assert [v for start in edges[:-1] for v in pieces[start][1]] == whole[1]


def test_batches_of_a_balanced_stream_are_the_same_from_any_number_of_workers() -> None:
    labels_N = torch.tensor(labels_of([20, 2, 5]))
    pixels = torch.arange(27, dtype=torch.uint8)[:, None, None, None]
    images = ImageSet(labels_N, ("a", "b", "c"), pixels_NCHW=pixels)
    made = [
        [(x.flatten().tolist(), y.tolist()) for x, y in batches.steps(2, 8, workers=workers)]
        for workers in (0, 2)
        for batches in [TrainBatches(images, AS_IT_IS, Augmentation(), 9, seed=3, balanced=True)]
    ]
    assert made[0] == made[1]
    assert all(Counter(y) == {0: 3, 1: 3, 2: 3} for _, y in made[0])
    assert all(labels_N[int(v)] == label for x, y in made[0] for v, label in zip(x, y, strict=True))


def test_the_balanced_error_is_the_mean_of_the_classes_own_errors_where_they_differ_in_size() -> None:
    labels_B = torch.tensor([0] * 8 + [1] * 2 + [3])  # of class 2 there is no image
    said_B = torch.tensor([0] * 8 + [0, 1] + [0])

    def measured(labels_B: Tensor, said_B: Tensor) -> dict[str, float]:
        task = Classification(make_loss(CrossEntropy()))
        logits = Logits(5 * F.one_hot(said_B, 4).float())
        batch = torch.zeros(len(labels_B), 1, 1, 1), labels_B
        placement = Placement("cpu", "contiguous", "fp32", 1)
        return {m.name: m.value for m in task.measure(logits, [batch], placement, split="val")}

    assert measured(labels_B, said_B)["val_error"] == pytest.approx(2 / 11)
    assert measured(labels_B, said_B)["val_balanced_error"] == pytest.approx((0 + 0.5 + 1) / 3)
    assert "val_balanced_error" not in measured(torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 0, 0, 1, 1]))


QUICK = {"net.name": "resnet20", "preprocess.size": 16, "batch_size": 8, "evaluation.count": 2, "placement.threads": 1}


@pytest.mark.parametrize("balance", ["loss", "sampler"])
def test_a_balanced_run_resumes_to_the_same_bits(
    balance: str, class_folder: Callable[..., Path], tmp_path: Path
) -> None:
    photos = class_folder(["train", "val"], {"ant": 20, "bee": 4})
    changes = {**QUICK, "steps": 6, "balance": balance, "augment": "FlipLR,MixUp"}
    straight = train(photos, overrides=changes, out=tmp_path / "straight")
    answers = iter([False, False, True])
    with pytest.raises(StoppedError):
        train(photos, overrides=changes, out=tmp_path / "run", should_stop=lambda: next(answers))
    resumed = resume(tmp_path / "run").run
    assert (resumed / "weights.safetensors").read_bytes() == (straight.run / "weights.safetensors").read_bytes()
    plain = train(photos, overrides={**changes, "balance": "none"}, out=tmp_path / "plain").run
    assert (plain / "weights.safetensors").read_bytes() != (resumed / "weights.safetensors").read_bytes()
    assert {"val_error", "val_balanced_error"} <= straight.card.results.keys()
    assert any(r["name"] == "val_balanced_error" for r in read_metrics(resumed))


@pytest.mark.more
def test_of_a_class_with_a_hundredth_of_the_images_twice_as_many_are_found(digits_files: Path, tmp_path: Path) -> None:
    """Threes among a hundred times as many of all other digits, as one class."""
    for split, few, many in (("train", 3, 300), ("val", 30, 60)):
        for name, count, files in (
            ("three", few, sorted((digits_files / "3").iterdir())),
            ("other", many, [file for d in "012456789" for file in sorted((digits_files / d).iterdir())]),
        ):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            chosen = files[:count] if split == "train" else files[-count:]
            if name == "other":
                chosen = files[split == "val" :: len(files) // many][:count]
            for file in chosen:
                shutil.copy(file, tmp_path / "data" / split / name / file.name)
    recall = {}
    for balance in ("none", "loss", "sampler"):
        changes = {**QUICK, "preprocess.size": 8, "steps": 60, "batch_size": 16, "balance": balance}
        run = train(tmp_path / "data", overrides={**changes, "augment": ""}, out=tmp_path / balance).run
        recall[balance] = {each.name: each.recall for each in evaluate(run, progress=False).score.classes}
    assert recall["sampler"]["three"] >= 2 * recall["none"]["three"] and recall["sampler"]["three"] > 0.2, recall


def test_a_class_without_images_has_no_weight(tmp_path: Path) -> None:
    few = ["--set", "data.train=train[:3]", "--set", "steps=1"]
    for balance in ("loss", "sampler"):
        sentence = refused("train", "digits", *few, "--balance", balance, cwd=tmp_path)
        assert f"balance is {balance}, but the 3 training images of data.train=train[:3] have none of '" in sentence
    assert plusx("train", "digits", "--balance", "losses", cwd=tmp_path).returncode == 2


def test_the_closing_line_tells_the_mean_over_classes(class_folder: Callable[..., Path], tmp_path: Path) -> None:
    class_folder(["train", "val"], {"ant": 12, "bee": 3})
    options = [item for key, value in QUICK.items() for item in ("--set", f"{key}={value}")]
    done = plusx("train", "photos", *options, "--set", "steps=2", "--balance", "sampler", "--quiet", cwd=tmp_path)
    assert done.returncode == 0 and "% in the mean over classes)" in done.stdout
    told = result("train", "photos", *options, "--set", "steps=2", "--balance", "loss", cwd=tmp_path)
    assert 0 <= told["val_balanced_error"] <= 1
