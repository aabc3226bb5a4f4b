"""Training sessions: asked for, listed, watched and cancelled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from time import monotonic
from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Path, Request, Response
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from image_index.catalog.catalog import Catalog
from image_index.catalog.runs import Runs
from image_index.errors import ImgidxError, WorkersFailed
from image_index.present.sessions import session_record
from image_index.records import Session, SessionState
from image_index.service.answers import SessionAnswer, SessionsAnswer
from image_index.service.cursors import read_cursor, write_cursor
from image_index.service.library import service_of
from image_index.service.problems import problem_answers
from image_index.service.readers import OpenIndex
from image_index.service.requests import MOST_ID, Cursor, Limit
from image_index.service.sessions_request import TrainingRequest
from image_index.service.sessions_runner import Runner
from image_index.service.streams import Stream

MOST_WAITING = 1000
"""How many sessions may wait; a further one is refused."""

MOST_STREAMS = 32
"""How many clients may watch sessions at once; a further one is refused."""

LOOK_EVERY_S = 0.5
"""How often it is looked for something new in a session that is watched."""

SIGN_OF_LIFE_S = 15.0
"""After how long without news a stream says that it is still there."""

ENDED = {SessionState.DONE, SessionState.INCOMPLETE, SessionState.FAILED, SessionState.STOPPED}

SessionId = Annotated[int, Path(ge=1, le=MOST_ID, description="The number of a session or a foreign run.")]

router = APIRouter(prefix="/api/v1/training/sessions")


@dataclass(slots=True)
class Training:
    """Who runs sessions, where they may train beside the roots of the index (real paths), and how many are watched."""

    runner: Runner
    allowed: tuple[bytes, ...] = ()
    streams: int = 0
    is_ending: bool = False

    def end(self) -> None:
        """Begin to end, once the server has got a signal: running sessions are to stop, and streams end."""
        self.is_ending = True
        self.runner.end()

    def leave(self) -> None:
        """Count a client that watches no longer."""
        self.streams -= 1


def training_of(request: Request) -> Training:
    """Return who runs the sessions of the server that a request has come to."""
    training: Training = request.app.state.training
    return training


@router.post(
    "",
    response_model=SessionAnswer,
    status_code=202,
    responses=problem_answers(403, 408, 413, 415),
    summary="Queue a training session.",
)
async def ask(request: Request, response: Response, asked: TrainingRequest) -> dict[str, Any]:
    """Have directories trained: as `imgidx train`. `Location` is where the session can be asked for."""
    training = training_of(request)

    def queue(opened: OpenIndex) -> Session:
        asked.check(opened.home, training.allowed)
        with Catalog(opened.home.catalog, write=True) as catalog:
            runs = Runs(catalog)
            if len(runs.queued(training.runner.kind)) >= MOST_WAITING:
                raise WorkersFailed(f"{MOST_WAITING} sessions wait already", "try again when some are done")
            queued = known(runs, runs.ask(training.runner.kind, asked.priority, asked.model_dump_json()))
        training.runner.start(queued)
        return queued

    session = await service_of(request).writes.read(queue)
    response.headers["Location"] = f"{request.scope.get('root_path', '')}{router.prefix}/{session.id}"
    return session_record(session)


@router.get("", response_model=SessionsAnswer, summary="The sessions and the runs that nobody asked a server for.")
async def sessions(request: Request, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    """Newest first; of a run that was not asked for over HTTP the `kind` is `foreign`."""
    before = MOST_ID if cursor is None else read_cursor(cursor, "sessions", int)[0]

    def read(opened: OpenIndex) -> dict[str, Any]:
        page = Runs(opened.catalog).page(before, limit + 1)
        following = write_cursor("sessions", page[limit - 1].id) if len(page) > limit else None
        return {"sessions": [session_record(one) for one in page[:limit]], "next": following}

    return await service_of(request).read.read(read)


@router.get("/{session_id}", response_model=SessionAnswer, summary="A session: where it stands, how far it is.")
async def session(request: Request, session_id: SessionId) -> dict[str, Any]:
    """What was asked for, how far it is, and how it ended."""
    return session_record(await read_session(request, session_id))


@router.post(
    "/{session_id}/cancel",
    response_model=SessionAnswer,
    status_code=202,
    responses=problem_answers(403, 408, 409, 413, 415),
    summary="Stop a session.",
)
async def cancel(request: Request, session_id: SessionId) -> dict[str, Any]:
    """Stop a session or a foreign run as SIGINT does: what is stored stays. One that waits is ended at once."""

    def mark(opened: OpenIndex) -> Session:
        with Catalog(opened.home.catalog, write=True) as catalog:
            runs = Runs(catalog)
            before = known(runs, session_id)
            if before.state in ENDED or not runs.ask_to_stop(session_id):
                raise HTTPException(HTTPStatus.CONFLICT, f"session {session_id} has ended: {before.state}")
            marked = known(runs, session_id)
        if before.state is not SessionState.STOPPING:  # a second SIGINT would throw away the batches in flight
            training_of(request).runner.cancel(marked)
        return marked

    return session_record(await service_of(request).writes.read(mark))


@router.get(
    "/{session_id}/events",
    response_class=Response,
    responses={
        200: {"content": {"text/event-stream": {}}},
        204: {"description": "The session has ended, and `Last-Event-ID` is its last event: there is no more to come."},
    },
    summary="Watch a session, by server-sent events.",
)
async def events(
    request: Request, session_id: SessionId, last_event_id: Annotated[str | None, Header(max_length=100)] = None
) -> Response:
    """Each event is the session as it is now, from the first one on until it has ended; then the stream ends."""
    training = training_of(request)
    first = await read_session(request, session_id)
    if first.state in ENDED and event_id(first) == last_event_id:
        return Response(status_code=HTTPStatus.NO_CONTENT)  # tells a browser not to come back
    if training.streams >= MOST_STREAMS:
        raise WorkersFailed(f"{MOST_STREAMS} clients watch sessions already", "ask for the session now and then")
    training.streams += 1
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the latter for nginx, which would collect them
    return Stream(_watched(request, first, last_event_id), "text/event-stream", headers, training.leave)


async def _watched(request: Request, session: Session, last: str | None) -> AsyncIterator[bytes]:
    """Yield an event for each change of a session that a client has not seen, until it ends or the server does."""
    training = training_of(request)
    quiet_since = monotonic()
    while True:
        if event_id(session) != last:
            last, quiet_since = event_id(session), monotonic()
            yield format_sse_event(data_str=json.dumps(session_record(session)), id=last)
        elif monotonic() - quiet_since >= SIGN_OF_LIFE_S:
            quiet_since = monotonic()
            yield KEEPALIVE_COMMENT
        if session.state in ENDED:
            return
        await asyncio.sleep(LOOK_EVERY_S)
        if training.is_ending:
            return
        try:
            session = await read_session(request, session.id)
        except (ImgidxError, HTTPException):  # the answer has begun: the client comes back, and is told then
            return


def event_id(session: Session) -> str:
    """Return what tells a state of a session from all others."""
    return sha256(json.dumps(session_record(session)).encode()).hexdigest()[:16]


async def read_session(request: Request, session_id: int) -> Session:
    """Return a session as it is now; raise the answer 404 where there is none."""
    return await service_of(request).read.read(lambda opened: known(Runs(opened.catalog), session_id))


def known(runs: Runs, session_id: int) -> Session:
    """Return a session; raise the answer 404 where there is none."""
    found = runs.session(session_id)
    if found is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no session {session_id}")
    return found
