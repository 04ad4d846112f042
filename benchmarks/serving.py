"""The server under load, beside LitServe and a plain handler of FastAPI; results/serving.json.

Servers are processes of their own, asked over loopback by a further process, on the same processors. All compute the
same run by plusx's own predictor, so that what differs is how requests reach it:

- `batching`: answers in a second at 16 and 32 clients, with images put together and with each by itself;
- `latency`: one client; what HTTP adds to the predictor alone, both by the median;
- `peers`: 16 clients, rounds in turns;
- `overload`: as many requests as can be answered, twice and ten times as many;
- `memory`: what the process holds before and after 10,000 requests;
- `paint`: milliseconds until headless Chromium first paints the page.

Weights are random, which does not change the speed. `python -m benchmarks serving resnet20:peers` measures one case.
"""

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

import plusx
from benchmarks.harness import has_case, only, write_case

CASES = (
    ("resnet20", "latency"),
    ("resnet20", "batching"),
    ("resnet20", "peers"),
    ("resnet20", "memory"),
    ("resnet20", "paint"),
    ("resnet18", "overload"),
)
SIDES = {"resnet20": 32, "resnet18": 224}
ROUNDS = 5
SECONDS = 5.0
"""Of a round."""
CLIENTS = 16
REQUESTS = 10_000
PEERS = ("litserve", "fastapi")
PAINTED = "performance.getEntriesByName('first-contentful-paint')"


def main(wanted: Sequence[str] = ()) -> None:
    """Measure every case that results/ does not have yet, or those that are named; print and write each."""
    for net, way in only(CASES, wanted):
        if not wanted and has_case("serving", {"net": net, "way": way}):
            continue
        with TemporaryDirectory() as folder:
            run, image = prepared(Path(folder), net)
            case = {"net": net, "way": way, **globals()[way](run, image)}
        print(json.dumps(case, indent=1), flush=True)
        write_case("serving", case)


def prepared(folder: Path, net: str) -> tuple[Path, Path]:
    """A run of a net, trained for a step, and an image for it."""
    side, draw = SIDES[net], np.random.default_rng(0)
    for number in range(8):
        file = folder / "photos" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(file)
    settings = {"net.name": net, "preprocess.size": side, "steps": 1, "batch_size": 4, "placement.precision": "fp32"}
    overrides = {**settings, "epochs": "none"}
    run = plusx.train(folder / "photos", overrides=overrides, out=folder / "run", progress=False).run
    return run, folder / "photos" / "a" / "0.png"


# ---- what is measured ------------------------------------------------------------------------------------------------


def latency(run: Path, image: Path) -> dict[str, Any]:
    """One client beside the predictor alone, in rounds of turns; milliseconds.

    The predictor computes a lone image on all processors or on one, as the server does; the faster way counts.
    """
    raw, alone, asked = image.read_bytes(), list[float](), list[float]()
    with plusx.Predictor(run) as predictor, server(run) as port:
        load(port, image, clients=1, seconds=1)
        for _ in range(ROUNDS):
            asked.append(load(port, image, clients=1, seconds=SECONDS)["p50_ms"])
            ways = (lambda: predictor.predict(raw), lambda: next(predictor.predict_many([raw])))
            alone.append(min(1e3 * median_seconds(way) for way in ways))
    differences = [whole - bare for whole, bare in zip(asked, alone, strict=True)]
    return {
        "server_p50_ms": spread(asked),
        "predictor_p50_ms": spread(alone),
        "http_ms": spread(differences),
        "image": f"PNG, {SIDES['resnet20']} pixels",
    }


def median_seconds(call: Callable[[], object]) -> float:
    """The median of 200 calls."""
    seconds = []
    for _ in range(200):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def batching(run: Path, image: Path) -> dict[str, Any]:
    """Images together beside each by itself, in rounds of turns; with twice the clients, two batches can be full."""
    by_clients = {}
    for clients in (CLIENTS, 2 * CLIENTS):
        with server(run) as together, server(run, "--latency-budget", "0") as single:
            found = in_turns({"together": together, "single": single}, image, clients=clients)
            sizes = batches(together)
        both = zip(found["together"], found["single"], strict=True)
        ratios = [a["answered_per_s"] / b["answered_per_s"] for a, b in both]
        by_clients[str(clients)] = {**summary(found), "ratio": spread(ratios), "batches": sizes}
    return {"by_clients": by_clients}


def peers(run: Path, image: Path) -> dict[str, Any]:
    """Ours beside LitServe and a plain handler, in rounds of turns."""
    with ExitStack() as stack:
        ports = {"ours": stack.enter_context(server(run))}
        for name in PEERS:
            ports[name] = stack.enter_context(peer(name, run))
        found = in_turns(ports, image)
    return {"clients": CLIENTS, **summary(found)}


def overload(run: Path, image: Path) -> dict[str, Any]:
    """As much as can be answered, twice and ten times as much."""
    with server(run) as port:
        load(port, image, clients=CLIENTS, seconds=2)
        capacity = load(port, image, clients=CLIENTS, seconds=SECONDS)["answered_per_s"]
        found = {f"{times}x": load(port, image, rate=times * capacity, seconds=2 * SECONDS) for times in (1, 2, 10)}
        after = load(port, image, clients=1, seconds=2)
    return {"capacity_per_s": capacity, **found, "after": after}


def memory(run: Path, image: Path) -> dict[str, Any]:
    """Bytes that the process holds, before and after many requests."""
    held = []
    with server(run) as port:
        for _ in range(5):
            load(port, image, clients=CLIENTS, seconds=60, requests=REQUESTS // 5)
            held.append(resident(port))
    return {"requests": REQUESTS, "resident_bytes": held, "growth_bytes": held[-1] - held[0]}


def paint(run: Path, image: Path) -> dict[str, Any]:
    """From a visit to the first paint of the page, each time by a browser that has no copy of it."""
    from playwright.sync_api import sync_playwright

    program, painted = shutil.which("chromium"), list[float]()
    if program is None:
        raise ValueError("paint needs Chromium, and none is found")
    with server(run) as port, sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for _ in range(ROUNDS):
            page = browser.new_context().new_page()
            page.goto(f"http://127.0.0.1:{port}/")
            page.wait_for_function(f"{PAINTED}.length > 0")
            painted.append(page.evaluate(f"{PAINTED}[0].startTime"))
            page.context.close()
        browser.close()
    return {"first_paint_ms": spread(painted)}


# ---- how -------------------------------------------------------------------------------------------------------------


def load(port: int, image: Path, **options: float) -> Any:
    """What `benchmarks.load` says, run as a process of its own."""
    command = [sys.executable, "-m", "benchmarks.load", str(port), str(image)]
    command += [f"--{name}={value}" for name, value in options.items()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    return json.loads(done.stdout.splitlines()[-1])


def in_turns(ports: dict[str, int], image: Path, clients: int = CLIENTS) -> dict[str, list[Any]]:
    """Rounds of load on each server, in alternating order, after one that is not counted."""
    found: dict[str, list[Any]] = {name: [] for name in ports}
    for number in range(1 + ROUNDS):
        for name in sorted(ports, reverse=bool(number % 2)):
            result = load(ports[name], image, clients=clients, seconds=SECONDS if number else 1)
            if number:
                found[name].append(result)
    return found


def summary(found: dict[str, list[Any]]) -> dict[str, Any]:
    """Of each server the median, the least and the most of its rounds, and what was lost."""
    keys = ("answered_per_s", "p50_ms", "p99_ms")
    return {
        name: {
            **{key: spread([each[key] for each in rounds]) for key in keys},
            "errors": sum(sum(each["statuses"].values()) - each["statuses"].get("200", 0) for each in rounds),
            "lost": sum(each["lost"] for each in rounds),
        }
        for name, rounds in found.items()
    }


def spread(values: Sequence[float]) -> list[float]:
    """Median, least and most."""
    return [statistics.median(values), min(values), max(values)]


_PROCESSES: dict[int, int] = {}
"""Port -> process."""


@contextmanager
def server(run: Path, *options: str) -> Iterator[int]:
    """Our server in a process of its own; its port."""
    with started([sys.executable, "-m", "plusx", "serve", str(run), "--port", "0", "--json", *options]) as process:
        assert process.stdout
        port = int(json.loads(process.stdout.readline())["url"].rpartition(":")[2])
        _PROCESSES[port] = process.pid
        until_answered(port, "/readyz")
        yield port


@contextmanager
def peer(name: str, run: Path) -> Iterator[int]:
    """A peer's server in a process of its own; its port."""
    port = free_port()
    with started([sys.executable, "-m", "benchmarks.serving_peers", name, str(run), str(port)]):
        until_answered(port, "/health")
        yield port


@contextmanager
def started(command: Sequence[str]) -> Iterator["subprocess.Popen[str]"]:
    """A process that is told to end; what is left of it and of those that it started is killed."""
    root = Path(__file__).parents[1]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with suppress(ProcessLookupError):  # LitServe's workers outlive it
                os.killpg(process.pid, signal.SIGKILL)


def until_answered(port: int, path: str) -> None:
    """Wait until a server answers with 200."""
    import http.client

    for _ in range(1200):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise ValueError(f"no server answered on port {port} within two minutes")


def free_port() -> int:
    """A port that nobody listens to."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def resident(port: int) -> int:
    """Bytes of memory that one of our servers holds."""
    pages = int(Path(f"/proc/{_PROCESSES[port]}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def batches(port: int) -> dict[str, int]:
    """How often our server computed so many images together."""
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    found = (line.split() for line in lines if line.startswith("plusx_batches_total{"))
    return {labels.partition('images="')[2].rstrip('"}'): int(count) for labels, count in found}
