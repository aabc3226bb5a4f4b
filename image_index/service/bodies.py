"""Bodies of requests: a JSON object, or a form with one."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from image_index.errors import UsageError

QUERY = "query"
"""The part of a form that says, as a JSON object, what is asked for."""

Asked = TypeVar("Asked", bound=BaseModel)


def validated(query: str | bytes, model: type[Asked]) -> Asked:
    """Return what a JSON object asks for; raise what FastAPI raises for one that is no such object.

    Unlike in an address, where all is text, a number is no truth value here, and a text no number.
    """
    try:
        return model.model_validate_json(query, strict=True)
    except ValidationError as error:
        # as FastAPI puts it: the first place is where in the request it stands
        found = error.errors(include_url=False, include_input=False, include_context=False)
        raise RequestValidationError([one | {"loc": ("body", *one["loc"])} for one in found]) from error


def is_form(request: Request) -> bool:
    """Tell whether the body of a request is a form with files."""
    return request.headers.get("content-type", "").lower().startswith("multipart/")


async def read_body(request: Request, model: type[Asked]) -> Asked:
    """Return what the body of a request asks for, as JSON or as the part `QUERY` of a form.

    A page can send a form and let the browser save the answer, which no script then has to hold in memory.
    """
    if not is_form(request):
        return validated(await request.body(), model)
    async with request.form(max_files=0, max_fields=1) as form:
        query = form.get(QUERY)
        if not isinstance(query, str):
            raise UsageError(f"a form has a JSON object as {QUERY!r}, and nothing else")
        return validated(query, model)


def body_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return what the OpenAPI document says of a body that `read_body` reads."""
    part = {"type": "string", "contentMediaType": "application/json"}
    form = {"type": "object", "required": [QUERY], "additionalProperties": False, "properties": {QUERY: part}}
    content = {"application/json": model.model_json_schema(), "multipart/form-data": form}
    return {"requestBody": {"required": True, "content": {kind: {"schema": one} for kind, one in content.items()}}}
