"""The busy machine: programs begin, end with the block, and end with a benchmark that is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import busy
from plusx.placement.turns import Turns


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("kind", busy.KINDS)
def test_a_program_beside_computes(kind: str) -> None:
    busy.KINDS[kind]()()


def test_programs_end_with_the_block() -> None:
    with pytest.raises(KeyError, match="as a user would"), busy.beside("loop", 2) as programs:
        assert all(alive(program) for program in programs) and len(set(programs)) == 2
        raise KeyError("as a user would")
    assert not any(alive(program) for program in programs)


@pytest.mark.more
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test_programs_end_with_a_benchmark_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "benchmark.py"
    script.write_text(
        "import time\n"
        "from benchmarks import busy\n"
        "if __name__ == '__main__':\n"
        "    with busy.beside('loop', 1) as programs:\n"
        "        print(programs[0], flush=True)\n"
        "        time.sleep(600)\n"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=environ) as benchmark:
        assert benchmark.stdout is not None
        program = int(benchmark.stdout.readline())
        assert alive(program)
        benchmark.kill()
    until = time.monotonic() + 60
    while alive(program) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(program)


def test_a_pace_is_a_share_of_the_quiet_one(monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[tuple[str, int]] = []

    class Nobody:
        def __init__(self, *arguments: object) -> None: ...

        def __enter__(self) -> "Nobody":
            return self

        def __exit__(self, *fault: object) -> None: ...

    def turns(contenders: dict[str, object], **options: object) -> Turns:
        return Turns({who: [1.0 + began[-1][1]] * 2 for who in contenders})

    class Beside(Nobody):
        def __init__(self, kind: str, count: int) -> None:
            began.append((kind, count))

    monkeypatch.setattr(busy, "Apart", Nobody)
    monkeypatch.setattr(busy, "beside", Beside)
    monkeypatch.setattr(busy, "take_turns", turns)
    cases = list(busy.measure("resnet20", 8))
    assert [(case["beside"]["kind"], case["beside"]["count"]) for case in cases] == began
    assert began[0] == ("nothing", 0) and len(began) == 1 + len(busy.KINDS) * len(busy.COUNTS)
    assert {round(1 / case["contenders"]["ours"]["share_of_quiet"]) for case in cases} == {1, 2, 3}
    assert "ours 1.00x" in busy.in_words(cases[1]) and "beside 1 x loop" in busy.in_words(cases[1])
