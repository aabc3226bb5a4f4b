"""The application: its routes, and what stands before them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.types import ASGIApp

from image_index.service import library
from image_index.service.access import Access, Rules
from image_index.service.problems import PROBLEM_ANSWERS, answer_with_problems
from image_index.service.readers import Readers
from image_index.settings import IndexHome


def make_app(home: IndexHome, rules: Rules) -> ASGIApp:
    """Return the application that answers for the index in `home` to whom `rules` allow."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.readers = Readers(home)
        yield
        app.state.readers.close()

    app = FastAPI(
        title="imgidx",
        version=version("imgidx"),
        description="Find pictures by meaning.",
        docs_url=None,  # FastAPI's own pages load scripts from elsewhere
        redoc_url=None,
        responses=PROBLEM_ANSWERS,
        lifespan=lifespan,
    )
    answer_with_problems(app)
    app.include_router(library.outer)
    app.include_router(library.router)
    return Access(app, rules)
