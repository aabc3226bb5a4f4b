"""Errors as `application/problem+json` (RFC 9457): the sentence that the command line prints, and its exit code."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Match

from image_index.errors import ImgidxError, UsageError
from image_index.paths import message_line
from image_index.service.originals import OriginalGone
from image_index.service.sessions_request import NotAllowed

MEDIA_TYPE = "application/problem+json"

STATUS_OF_EXIT_CODE = {
    2: HTTPStatus.UNPROCESSABLE_ENTITY,
    7: HTTPStatus.CONFLICT,
}
"""The status of an error by its exit code; of any other, the server cannot answer now: 503."""

logger = logging.getLogger(__name__)


class Problem(BaseModel):
    """What went wrong: `detail` is a sentence for people, `exit_code` what the command line would exit with.

    `exit_code` is null for what no command can meet, such as a path that there is not.
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    exit_code: int | None = None


def problem(status: int, detail: str, exit_code: int | None = None, headers: Any = None) -> JSONResponse:
    """Return the answer that tells of a problem."""
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=message_line(detail), exit_code=exit_code)
    return JSONResponse(body.model_dump(), status, headers, media_type=MEDIA_TYPE)


def problem_of(error: ImgidxError) -> JSONResponse:
    """Return the answer that tells of an error of ours."""
    status = STATUS_OF_EXIT_CODE.get(error.exit_code, HTTPStatus.SERVICE_UNAVAILABLE)
    return problem(status, str(error), error.exit_code)


def answer_with_problems(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Make every error in a route of `app` an answer; none becomes a traceback that a client sees.

    `routes` are those of which several may have one path, each with a method of its own.
    """

    @app.exception_handler(ImgidxError)
    async def ours(_: Request, error: ImgidxError) -> JSONResponse:
        return problem_of(error)

    @app.exception_handler(OriginalGone)
    async def gone(_: Request, error: OriginalGone) -> JSONResponse:
        return problem(HTTPStatus.GONE, str(error))

    @app.exception_handler(NotAllowed)
    async def not_allowed(_: Request, error: NotAllowed) -> JSONResponse:
        return problem(HTTPStatus.FORBIDDEN, str(error), error.exit_code)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"][1:])) or str(first["loc"][0])
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{place}: {first['msg']}", UsageError.exit_code)

    @app.exception_handler(ClientDisconnect)
    async def left(_: Request, __: ClientDisconnect) -> JSONResponse:
        # nobody reads it; without it, every client that leaves in the middle of a body is an error in the log
        return problem(HTTPStatus.BAD_REQUEST, "the client left before its body was whole")

    @app.exception_handler(HTTPException)
    async def by_the_library(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            # of all routes of this path; the library names those of the first
            matching = (route for route in routes if route.matches(request.scope)[0] is not Match.NONE)
            methods = {method for route in matching for method in getattr(route, "methods", ())}
            headers |= {"Allow": ", ".join(sorted(methods))} if methods else {}
        return problem(error.status_code, error.detail, headers=headers)

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, error: Exception) -> JSONResponse:
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}; the server's log has the rest")


def problem_answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what the OpenAPI document says of the problems with these statuses."""
    return {
        status: {"model": Problem, "content": {MEDIA_TYPE: {}}, "description": HTTPStatus(status).phrase}
        for status in statuses
    }


PROBLEM_ANSWERS = problem_answers(400, 401, 404, 410, 421, 422, 503)
"""The problems that every route may answer with."""
