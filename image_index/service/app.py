"""The application: its routes, and what stands before them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.types import ASGIApp

from image_index.service import clip_retrieval, exporting, library, metrics, pictures, search_routes, sessions
from image_index.service.access import Access, Rules
from image_index.service.metrics import Metrics
from image_index.service.page_files import page_routes
from image_index.service.problems import PROBLEM_ANSWERS, answer_with_problems
from image_index.service.readers import Service
from image_index.service.sessions import Training
from image_index.service.sessions_runner import EmbeddedRunner
from image_index.service.streams import Places
from image_index.service.thumbnail_cache import ThumbnailCache
from image_index.service.uploads import Uploads
from image_index.settings import IndexHome
from image_index.workers.engine import Engine

ROUTERS = (
    library.outer,
    metrics.outer,
    library.router,
    search_routes.router,
    pictures.router,
    exporting.router,
    sessions.router,
    clip_retrieval.router,
)


def make_app(
    home: IndexHome,
    rules: Rules,
    engine: Engine | None = None,
    training: Training | None = None,
    *,
    allow_urls: bool = False,
) -> ASGIApp:
    """Return the application that answers for the index in `home` to whom `rules` allow.

    `engine` is what runs the model where a child is needed; `training` is who runs sessions, by default the server.
    With `allow_urls` a search may name pictures of the public web.
    """
    training = training or Training(EmbeddedRunner(home))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.service = Service.start(home, engine, allow_urls=allow_urls)
        app.state.metrics = Metrics()
        app.state.uploads = Uploads()
        app.state.places = Places()
        app.state.thumbnails = ThumbnailCache(home.thumbnails)
        app.state.training = training
        training.runner.open()
        yield
        training.runner.close()
        app.state.service.close()

    app = FastAPI(
        title="imgidx",
        version=version("imgidx"),
        description="Find pictures by meaning.",
        docs_url=None,  # FastAPI's own pages load scripts from elsewhere
        redoc_url=None,
        responses=PROBLEM_ANSWERS,
        lifespan=lifespan,
    )
    answer_with_problems(app, [route for router in ROUTERS for route in router.routes])
    for router in (*ROUTERS, page_routes()):
        app.include_router(router)
    return Access(app, rules)
