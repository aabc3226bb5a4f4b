"""Figures for Prometheus."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from image_index.settings import IndexHome
from tests.support.served import client_of, make_served


def test_what_was_done_and_what_there_is_are_counted(served: IndexHome) -> None:
    """As Prometheus' own parser reads it; each server counts for itself."""
    with client_of(served) as client:
        for _ in range(3):
            assert client.get("/api/v1/search", params={"image_id": 1}).status_code == 200
        assert client.get("/api/v1/search", params={"image_id": 999}).status_code == 422
        answer = client.get("/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain")
        families = text_string_to_metric_families(answer.text)
        figures = {sample.name: sample.value for family in families for sample in family.samples}
    assert figures["imgidx_search_seconds_count"] == 3
    assert figures["imgidx_search_seconds_sum"] > 0
    assert figures["imgidx_failed_searches_total"] == 1
    assert (figures["imgidx_pictures"], figures["imgidx_missing_pictures"], figures["imgidx_failures"]) == (4, 0, 1)
    assert "imgidx_children" in figures


def test_sessions_are_counted_by_their_state(tmp_path: Path) -> None:
    """One that was cancelled before its turn counts as stopped."""
    with client_of(make_served(tmp_path)) as client:
        for _ in range(3):
            assert client.post("/api/v1/training/sessions", json={}).status_code == 202
        assert client.post("/api/v1/training/sessions/2/cancel", json={}).status_code == 202
        families = text_string_to_metric_families(client.get("/metrics").text)
        (sessions,) = (family for family in families if family.name == "imgidx_sessions")
    counted = {sample.labels["state"]: sample.value for sample in sessions.samples if sample.value}
    assert counted == {"queued": 2, "stopped": 1}
