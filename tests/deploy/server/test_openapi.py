"""Requests that schemathesis makes from the OpenAPI schema: nothing but documented answers, and never a defect."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from starlette.testclient import TestClient

from tests.deploy.server.conftest import asked

schemathesis = pytest.importorskip("schemathesis")
pytestmark = pytest.mark.more


@pytest.fixture(scope="module")
def served(digits_run: Path) -> Any:
    with asked(digits_run) as client:
        yield client


@pytest.fixture
def documented(served: TestClient) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", served.app, headers={"Host": "localhost"})


schema = schemathesis.pytest.from_fixture("documented")


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_only_documented_answers(case: Any) -> None:
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]
    case.call_and_validate(headers={"Host": "localhost"}, checks=checks)


def test_the_schema_names_every_refusal_that_there_is(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/v1/predict", "/v1/explain", "/v1/models", "/v1/models/{name}", "/healthz", "/readyz", "/metrics"} <= set(
        paths
    )
    statuses = set(paths["/v1/predict"]["post"]["responses"])
    assert {"200", "400", "401", "403", "404", "408", "413", "415", "421", "422", "503"} <= statuses
