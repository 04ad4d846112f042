"""The text of the container's files, held to the code."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from plusx.deploy.server.settings import Settings

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
COMPOSE = (ROOT / "deploy" / "compose.yaml").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_it_is_built_from_the_wheel_with_the_extra_and_the_versions_of_the_project() -> None:
    assert f"COPY dist/{PROJECT['name']}-*.whl" in DOCKERFILE
    assert "[serve]" in DOCKERFILE and "serve" in PROJECT["optional-dependencies"]
    for needed in re.findall(r'"(torch\S*>=[\d.]+)"', DOCKERFILE):
        assert needed in PROJECT["dependencies"]
    (python,) = re.findall(r"^FROM python:([\d.]+)-slim$", DOCKERFILE, re.MULTILINE)
    assert f">={python}" == PROJECT["requires-python"]


def test_it_serves_at_the_published_port_as_nobody() -> None:
    port = str(Settings().port)
    assert f"EXPOSE {port}" in DOCKERFILE
    assert f'"--host", "0.0.0.0", "--port", "{port}"' in DOCKERFILE
    assert f'"127.0.0.1:{port}:{port}"' in COMPOSE
    assert f"127.0.0.1:{port}/readyz" in DOCKERFILE
    user = re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)
    assert user and int(user[0]) > 0
    assert DOCKERFILE.index("USER") < DOCKERFILE.index("ENTRYPOINT")


def test_the_verb_and_its_options_are_those_of_the_command_line() -> None:
    from typer.testing import CliRunner

    from plusx.cli.app import app

    (entry,) = re.findall(r"^ENTRYPOINT \[(.*)\]$", DOCKERFILE, re.MULTILINE)
    words = [word.strip(",") for word in shlex.split(entry)]
    assert words[:2] == ["plusx", "serve"]
    described = CliRunner().invoke(app, ["serve", "--help"]).output
    assert all(word in described for word in words if word.startswith("--"))


def test_it_is_given_time_to_answer_what_it_has_accepted() -> None:
    (grace,) = re.findall(r"stop_grace_period: (\d+)s", COMPOSE)
    assert int(grace) > Settings().body_seconds + Settings().deadline


def test_compose_is_yaml_and_mounts_nothing_that_can_be_written_to() -> None:
    yaml = pytest.importorskip("yaml")
    service = yaml.safe_load(COMPOSE)["services"]["plusx"]
    assert (ROOT / "deploy" / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == (
        ROOT / "deploy" / "Dockerfile"
    )
    assert service["read_only"] and all(volume.endswith(":ro") for volume in service["volumes"])
    assert "PLUSX_TOKEN" in service["environment"], "it listens on every network"
