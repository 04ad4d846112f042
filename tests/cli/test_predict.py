"""`plusx predict`."""

from pathlib import Path

from tests.cli.commands import plusx
from tests.conftest import save_image


def test_one_bad_image_does_not_silence_the_others(digits_run: Path, tmp_path: Path) -> None:
    good = save_image(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"")
    done = plusx("predict", digits_run, tmp_path / "bad.png", good)
    assert done.returncode == 2 and done.stdout.startswith(f"{good}: ") and "bad.png: the file is empty" in done.stderr
