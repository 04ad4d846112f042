"""From training to the comparison of runs, nothing opens a socket."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import save_image

PROGRAM = """
import socket, sys

class Blocked(socket.socket):
    def __init__(self, *arguments, **options):
        raise AssertionError("a socket was opened")

def blocked(*arguments, **options):
    raise AssertionError("a connection or a name was asked for")

socket.socket = socket.SocketType = Blocked
socket.create_connection = socket.getaddrinfo = socket.socketpair = blocked

from plusx.cli.app import main

small = "--set net.name=resnet20 --set preprocess.size=16 --set steps=4 --set batch_size=8 --quiet".split()
for command in (
    ["train", "photos", "--out", "a", "--watch", *small],
    ["train", "photos", "--out", "b", "--seed", "1", *small],
    ["evaluate", "a", "--outsiders", "others"],
    ["calibrate", "a", "--reject-at", "95"],
    ["predict", "a", "photos", "--out", "predicted"],
    ["compare", "a", "b", "--out", "compared"],
    ["analyse", "a", "responses"],
    ["summary", "a"],
):
    sys.argv = ["plusx", *command]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, (command, ended.code)
"""


def test_everything_works_without_a_network(tmp_path: Path) -> None:
    for number in range(24):
        save_image(tmp_path / "photos" / ("ant", "bee")[number % 2] / f"{number}.png", seed=number, hue=number % 2)
    save_image(tmp_path / "others" / "1.png", seed=99, hue=2)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    for file in ("a/report.html", "a/evaluation.html", "predicted/report.html", "compared/report.html"):
        assert (tmp_path / file).is_file()
