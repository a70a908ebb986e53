"""Every route of the OpenAPI document, with what its schema allows and with what it does not: answers are documented, and never a 5xx."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serving.app import ROUTERS
from serving.routes import pages
from tests.serving.system import System, event, note

EXAMPLES = int(os.environ.get("UPWELL_ROUTE_EXAMPLES", "40"))
"""Requests of a route; `UPWELL_ROUTE_EXAMPLES=2000 pytest tests/serving/test_routes_fuzzed.py` looks longer."""
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance, response_headers_conformance,
]  # fmt: skip


OPERATIONS = sorted(
    (method, route.path)
    for router in (*ROUTERS, pages.ops)
    for route in router.routes
    if route.include_in_schema
    for method in route.methods
)


@asynccontextmanager
async def idle(app: object) -> AsyncIterator[None]:
    yield


@pytest.fixture(scope="module")
def schema() -> schemathesis.BaseSchema:
    """Of a system with a few notes and users in it."""
    made = System()
    made.publish(*(note(f"n{i}", f"a{i % 3}", ["t"], "food/soup") for i in range(12)))
    made.send(*(event("impression", "u1", f"n{i}") for i in range(12)), event("like", "u1", "n1"), event("follow", "u1", author_id="a1"))
    made.app.state.watch.body = b"{}"
    made.app.router.lifespan_context = idle  # the client would start and stop the system around every request
    return schemathesis.openapi.from_asgi("/openapi.json", made.app)


def test_the_document_has_every_route(schema: schemathesis.BaseSchema) -> None:
    assert sorted((found.ok().method.upper(), found.ok().path) for found in schema.get_all_operations()) == OPERATIONS


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["allowed", "not allowed"])
@pytest.mark.parametrize("method, path", OPERATIONS)
def test_a_route_answers_as_documented_whatever_it_is_asked(
    schema: schemathesis.BaseSchema, method: str, path: str, mode: GenerationMode
) -> None:
    try:
        cases = schema[path][method].as_strategy(generation_mode=mode)
    except Unsatisfiable:
        pytest.skip("nothing can be asked wrongly here")

    @hypothesis.settings(max_examples=EXAMPLES, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @hypothesis.given(cases)
    def ask(case: schemathesis.Case) -> None:
        answer = case.call_and_validate(checks=CHECKS)
        assert answer.headers["x-request-id"]

    try:
        ask()
    except Unsatisfiable:
        pytest.skip("nothing can be asked wrongly here")
