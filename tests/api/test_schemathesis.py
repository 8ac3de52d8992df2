"""The running server against its own description: generated requests, each with a real signature.

`SCHEMATHESIS_EXAMPLES=1000 pytest -m schemathesis tests/api` looks longer.
"""

import copy
import os
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from requests import PreparedRequest
from requests.auth import AuthBase
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi import checks
from tenants import Site, Tenant
from test_openapi import DOCUMENT

from cachewright.model.identity import AccessKey
from cachewright.signature import SignedRequest, signature

pytestmark = pytest.mark.schemathesis

EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "8"))
SOMETIMES = 3
"""One in so many ids of instances and tasks is one that is there."""

SETTINGS = settings(
    max_examples=EXAMPLES,
    phases=[Phase.explicit, Phase.generate],  # a failure is printed as a request; shrinking it takes minutes
    suppress_health_check=list(HealthCheck),
    derandomize=EXAMPLES <= 50,
    database=None,
)
EXCLUDED = [
    checks.unsupported_method,
    checks.allow_header_conformance,  # operations that are not served answer by their name, as test_coverage has it
    checks.positive_data_acceptance,  # what is asked for must also exist, fit together and be granted
]
PATH_REPLACED = [*EXCLUDED, checks.negative_data_rejection]
"""Where what was wrong with the path has been put right."""

DESCRIPTION = schemathesis.openapi.from_dict({**copy.deepcopy(DOCUMENT), "security": []})
"""Every request here is signed; strangers are looked at in `test_middleware`."""


class Signed(AuthBase):
    def __init__(self, key: AccessKey) -> None:
        self._key = key

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Only the date is signed of the headers: what is generated may have any others."""
        date = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        target = urlsplit(str(request.url))
        body = request.body.encode() if isinstance(request.body, str) else request.body or b""
        signed = SignedRequest(
            method=str(request.method).encode(),
            path=target.path.encode(),
            query=target.query.encode(),
            headers=[],
            body=body,
        )
        claim = signature(signed, {b"x-sdk-date": date.encode()}, self._key.secret_key).decode()
        request.headers["X-Sdk-Date"] = date
        request.headers["Authorization"] = (
            f"SDK-HMAC-SHA256 Access={self._key.access_key}, SignedHeaders=x-sdk-date, Signature={claim}"
        )
        return request


class Owner:
    """A project with an instance, a task that has ended and one that has not."""

    def __init__(self, site: Site) -> None:
        self.tenant = Tenant.added(site)
        self.base_url = f"http://127.0.0.1:{site.port}"
        self.signed = Signed(self.tenant.key)
        self.instance_id = self.tenant.instance(tags=[{"key": "team", "value": "a"}])
        self.tasks = [self.tenant.add_task(self.instance_id, status=status).id for status in ("SUCCESS", "EXECUTING")]

    def put_in(self, case: schemathesis.Case) -> list[Any]:
        """Its project into the path, and sometimes its instance and a task of it. Answers what is not to be checked."""
        part = case.meta.components.get(ParameterLocation.PATH) if case.meta else None
        excluded = PATH_REPLACED if part and part.mode.is_negative else EXCLUDED
        parameters = case.path_parameters or {}
        parameters["project_id"] = self.tenant.project_id
        generated = str(parameters.get("instance_id", "")) + str(parameters.get("task_id", ""))
        chance = zlib.crc32(generated.encode("utf-8", "replace"))
        if len(generated) >= 32 and chance % SOMETIMES == 0:
            for name, known in {"instance_id": self.instance_id, "task_id": self.tasks[chance % 2]}.items():
                if name in parameters:
                    parameters[name] = known
        return excluded


@pytest.fixture(scope="module")
def owner(site: Site) -> Owner:
    return Owner(site)


@DESCRIPTION.parametrize()
@SETTINGS
def test_every_operation_answers_as_described(case: schemathesis.Case, owner: Owner) -> None:
    excluded = owner.put_in(case)
    case.call_and_validate(base_url=owner.base_url, auth=owner.signed, excluded_checks=excluded)


@pytest.fixture(scope="module")
def machine(owner: Owner) -> Iterator[Any]:
    """Calls that follow each other: what one answers, the next asks for."""

    class Machine(DESCRIPTION.as_state_machine()):  # type: ignore[misc]  # made at run time
        def before_call(self, case: schemathesis.Case) -> None:
            self.excluded = owner.put_in(case)

        def get_call_kwargs(self, _case: schemathesis.Case) -> dict[str, Any]:
            return {"base_url": owner.base_url, "auth": owner.signed}

        def validate_response(self, response: Any, case: schemathesis.Case, **_: Any) -> None:
            case.validate_response(response, excluded_checks=self.excluded)

    return Machine


def test_calls_that_follow_each_other_answer_as_described(machine: Any) -> None:
    machine.run(settings=settings(SETTINGS, max_examples=EXAMPLES, stateful_step_count=6))
