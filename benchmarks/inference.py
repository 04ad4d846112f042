"""Inference of plusx beside torchvision, torch.compile, ONNX Runtime and OpenVINO; results/inference-speed.json.

Every contender receives the same contiguous float32 images and returns float32 logits; any conversion in between is
part of its time. A call takes BATCHES batches: one after another, or at the same time where a contender can.
"ours" is what `plusx predict` does with many images: our frozen graph or OpenVINO, whichever it measures to be faster,
a few images at a time on every processor; "frozen" is our graph alone, "frozen streams" the same in streams. Each
contender has a process of its own. Weights are random, which does not change the speed.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
import torchvision
from torch import Tensor, nn

from benchmarks.harness import as_range, between_ceilings, only, peak, write_case
from plusx.benchmark.apart import Apart
from plusx.nets import build, entry
from plusx.placement.inference.backend import BATCH, choose_backend
from plusx.placement.inference.frozen import freeze
from plusx.placement.inference.openvino import core, without_reports
from plusx.placement.inference.streams import Streams
from plusx.placement.machine import cpu_flags, multiplies_bf16, tune_allocator, usable_cpus
from plusx.placement.turns import Turns, take_turns

ROUNDS = 9
BATCHES = 4
CASES = (("resnet50", 16), ("resnet50", 1))
"""Net and batch."""
OURS = ("ours", "frozen", "frozen streams")


def main(wanted: Sequence[str] = ()) -> None:
    """Measure every case, or those that are named; print and write each."""
    for net, batch in only(CASES, wanted):
        case = measure(net, batch)
        print(in_words(case), flush=True)
        write_case("inference-speed", case)


def measure(net: str, batch: int) -> dict[str, Any]:
    """Measure one case."""
    left_out = {}
    with ExitStack() as stack:
        contenders = {who: stack.enter_context(Apart(contender, who, net, batch)) for who in names()}
        for who in list(contenders):
            try:
                contenders[who]()
            except RuntimeError as fault:
                if who.startswith((*OURS, "eager")):
                    raise
                left_out[who] = str(fault)  # torch.compile needs a C++ compiler, the others need packages
                del contenders[who]
        with between_ceilings() as ceilings:
            turns = take_turns(contenders, rounds=ROUNDS)
        peaks = {who: each.ask(peak) for who, each in contenders.items()}
    comparison = compared(turns, BATCHES * batch)
    for who, numbers in comparison["contenders"].items():
        numbers["peak_memory_bytes"] = peaks[who]
    return {"net": net, "batch": batch, "rounds": ROUNDS, **comparison, "left_out": left_out, "ceilings": ceilings}


def names() -> list[str]:
    """The contenders by precision, ours last; in bf16 only where the processor multiplies it in hardware."""
    contenders = []
    for precision in ("fp32", "bf16") if multiplies_bf16(cpu_flags()) else ("fp32",):
        peers = ["eager", "compile", "openvino latency", "openvino throughput"]
        peers += ["onnxruntime"] if precision == "fp32" else []
        contenders += [f"{peer} {precision}" for peer in (*peers, *OURS)]
    return sorted(contenders, key=lambda who: who.startswith(OURS))


def contender(who: str, net: str, batch: int) -> Callable[[], object]:
    """A call that computes the logits of BATCHES batches, by the name of the contender."""
    torch.set_num_threads(usable_cpus())
    peer, _, precision = who.rpartition(" ")
    x_BCHW = torch.randn(batch, *entry(net).input_shape)
    if peer in OURS:
        tune_allocator()
        streams = Streams(usable_cpus())
        wanted: Literal["fp32", "bf16"] = "bf16" if precision == "bf16" else "fp32"
        if peer == "ours":
            evaluated = build(net).eval().requires_grad_(False)
            _, logits_of = choose_backend(
                evaluated, entry(net).input_shape, precision=wanted, streams=streams, measure=True
            )
        else:
            logits_of = freeze(build(net), precision=wanted)
        if peer == "frozen":
            return in_turn(partial(logits_of, x_BCHW))
        batches = [piece for piece in x_BCHW.split(BATCH) for _ in range(BATCHES)]
        return lambda: list(streams.apart(logits_of, batches))
    theirs = torchvision.models.get_model(net).eval().requires_grad_(False)
    match peer:
        case "eager":
            return in_turn(eager(theirs, x_BCHW, bf16=precision == "bf16"))
        case "compile":
            return in_turn(compiled(theirs, x_BCHW, bf16=precision == "bf16"))
        case "onnxruntime":
            return in_turn(onnxruntime(theirs, x_BCHW))
        case _:
            return openvino(theirs, x_BCHW, peer.split()[1].upper(), "bf16" if precision == "bf16" else "f32")


def in_turn(call: Callable[[], object]) -> Callable[[], object]:
    """BATCHES calls, one after another."""
    return lambda: [call() for _ in range(BATCHES)]


def eager(net: nn.Module, x_BCHW: Tensor, *, bf16: bool) -> Callable[[], Tensor]:
    """PyTorch as it comes; in bf16 with the weights converted, and channels last, without which it is slower."""
    layout = torch.channels_last if bf16 else torch.contiguous_format
    dtype = torch.bfloat16 if bf16 else torch.float32
    net = net.to(dtype=dtype).to(memory_format=layout)

    @torch.inference_mode()
    def logits() -> Tensor:
        return net(x_BCHW.to(dtype).contiguous(memory_format=layout)).float()

    return logits


def compiled(net: nn.Module, x_BCHW: Tensor, *, bf16: bool) -> Callable[[], Tensor]:
    """torch.compile with the weights frozen into its code; in bf16 by autocast, which freezing folds away."""
    import torch._inductor.config as inductor

    inductor.freezing = True
    code = torch.compile(net.to(memory_format=torch.channels_last))

    @torch.no_grad()
    def logits() -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            return code(x_BCHW.contiguous(memory_format=torch.channels_last)).float()

    return logits


def onnxruntime(net: nn.Module, x_BCHW: Tensor) -> Callable[[], object]:
    """ONNX Runtime with all of its optimisations, which is its default. It has no bf16 on a CPU."""
    import onnxruntime

    with TemporaryDirectory() as folder:
        file = Path(folder) / "net.onnx"
        torch.onnx.export(net, (x_BCHW,), file, input_names=["x"], dynamo=True, verbose=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = usable_cpus()
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return partial(session.run, None, {"x": x_BCHW.numpy()})


def openvino(net: nn.Module, x_BCHW: Tensor, hint: str, precision: str) -> Callable[[], object]:
    """OpenVINO under one of its two hints, with the shape fixed, and as many requests at a time as it asks for."""
    openvino = without_reports("openvino")
    model = openvino.convert_model(net, example_input=x_BCHW)
    model.reshape(list(x_BCHW.shape))
    settings = {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": precision}
    code = core().compile_model(model, "CPU", settings)
    queue = openvino.AsyncInferQueue(code, code.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))

    def logits() -> None:
        for _ in range(BATCHES):
            queue.start_async([x_BCHW.numpy()], share_inputs=True)
        queue.wait_all()

    return logits


def compared(turns: Turns, images: int) -> dict[str, Any]:
    """Images per second of each contender, and in each precision the ratios of ours to the peers and to eager fp32."""
    rates = {who: turns.rate(who, images) for who in turns.seconds}
    ratios: dict[str, Any] = {}
    for precision in ("fp32", "bf16"):
        peers = [who for who in rates if who.endswith(precision) and not who.startswith(OURS)]
        ours = f"ours {precision}"
        if not peers or ours not in rates:
            continue
        over = {who: turns.ratio(ours, who) for who in dict.fromkeys([*peers, "eager fp32"])}
        ratios[ours] = {who: {"ratio": ratio.median, "ratio_range": as_range(ratio)} for who, ratio in over.items()}
        ratios[ours]["fastest_peer"] = turns.fastest(peers)
    return {
        "contenders": {
            who: {"images_per_s": rate.median, "images_per_s_range": as_range(rate)} for who, rate in rates.items()
        },
        "ratios": ratios,
    }


def in_words(case: Mapping[str, Any]) -> str:
    """A case as lines of text."""
    lines = [f"{case['net']}, batch {case['batch']}"]
    for who, numbers in case["contenders"].items():
        low, high = numbers["images_per_s_range"]
        lines.append(f"  {who:28}{numbers['images_per_s']:8.1f} images/s ({low:.1f} to {high:.1f})")
    for ours, over in case["ratios"].items():
        for who in dict.fromkeys([over["fastest_peer"], "eager fp32"]):
            low, high = over[who]["ratio_range"]
            lines.append(f"  {ours} over {who}: {over[who]['ratio']:.2f}x ({low:.2f} to {high:.2f})")
    lines += [f"  {who:28}left out: {reason}" for who, reason in case["left_out"].items()]
    return "\n".join(lines)
