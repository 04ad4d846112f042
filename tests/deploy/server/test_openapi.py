"""Requests that schemathesis makes from the OpenAPI schema, right ones and wrong ones, and the schema itself."""

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from starlette.testclient import TestClient

from tests.deploy.server.conftest import Server


def operations(server: Server) -> dict[str, Any]:
    """What the server documents, by method and path."""
    schemathesis = pytest.importorskip("schemathesis")
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    found = (result.ok() for result in schema.get_all_operations())
    return {f"{operation.method.upper()} {operation.path}": operation for operation in found}


@pytest.mark.more
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_every_answer_is_a_documented_one(server: Server, mode: str) -> None:
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    required = [
        checks.content_type_conformance,
        checks.response_schema_conformance,
        checks.status_code_conformance,
    ]
    asked = 0
    for operation in operations(server).values():

        @settings(
            max_examples=20,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=GenerationMode(mode)))
        def answered(case: Any) -> None:
            nonlocal asked
            asked += 1
            answer = case.call(timeout=60)
            assert answer.status_code < 500 or answer.status_code == 503
            case.validate_response(
                answer, checks=[*required, *([not_a_server_error] if answer.status_code != 503 else [])]
            )

        try:
            answered()
        except Exception as fault:
            if "Unsatisfiable" in type(fault).__name__ or "Impossible" in str(fault):
                continue  # an operation without parameters has no wrong request
            raise
    assert asked > 20


def test_the_schema_names_every_refusal_that_there_is(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    wanted = {"/v1/predict", "/v1/explain", "/v1/models", "/v1/models/{name}", "/healthz", "/readyz", "/metrics"}
    assert wanted <= set(paths)
    statuses = set(paths["/v1/predict"]["post"]["responses"])
    assert {"200", "400", "401", "403", "404", "408", "413", "415", "421", "422", "503"} <= statuses
