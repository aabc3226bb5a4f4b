"""Figures of the server for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import active_children
from time import perf_counter

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from image_index.catalog.runs import Runs
from image_index.records import Counts, SessionState
from image_index.service.library import service_of

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The upper bounds of the classes into which the times of searches fall."""

outer = APIRouter()


class Metrics:
    """What the server has done since it was started, and what the index holds now."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._failed = Counter("imgidx_failed_searches", "Searches answered with a problem.", registry=self.registry)
        self._seconds = Histogram(
            "imgidx_search_seconds", "Searches, and how long each took.", buckets=SECONDS, registry=self.registry
        )
        self._pictures = Gauge("imgidx_pictures", "Pictures of the index.", registry=self.registry)
        self._missing = Gauge("imgidx_missing_pictures", "Pictures whose file is gone.", registry=self.registry)
        self._failures = Gauge("imgidx_failures", "Files that could not be indexed.", registry=self.registry)
        self._sessions = Gauge(
            "imgidx_sessions", "Training sessions and other runs, by state.", ["state"], registry=self.registry
        )
        self._children = Gauge("imgidx_children", "Child processes that hold a model.", registry=self.registry)

    @contextmanager
    def search(self) -> Iterator[None]:
        """Count the search of a block and its time, or that it failed."""
        begun = perf_counter()
        with self._failed.count_exceptions():
            yield
        self._seconds.observe(perf_counter() - begun)

    def text(self, counts: Counts, sessions: Mapping[str, int]) -> bytes:
        """Return all figures in the format of Prometheus."""
        self._pictures.set(counts.images)
        self._missing.set(counts.missing)
        self._failures.set(counts.failures)
        for state in SessionState:
            self._sessions.labels(state).set(sessions.get(state, 0))
        self._children.set(len(active_children()))
        return generate_latest(self.registry)


def metrics_of(request: Request) -> Metrics:
    """Return the figures of the server that a request has come to."""
    metrics: Metrics = request.app.state.metrics
    return metrics


@outer.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Searches, their seconds, pictures, sessions and children, for Prometheus."""
    counts, sessions = await service_of(request).read.read(
        lambda opened: (opened.index.counts(), Runs(opened.catalog).count_states())
    )
    return Response(metrics_of(request).text(counts, sessions), headers={"Content-Type": CONTENT_TYPE_LATEST})
