"""Figures for Prometheus."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from image_index.settings import IndexHome
from tests.support.served import client_of


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
