"""The benchmarks run and report what they promise; how fast anything is, no test says.

All but the shortest run nightly: they take two minutes, and change with the benchmarks alone.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import NAMES
from tests.support.programs import needed

REPOSITORY = Path(__file__).parents[1]


def run_benchmark(name: str, *options: str) -> tuple[dict[str, Any], str]:
    """Return the JSON and the table of a tiny run of a benchmark."""
    script = [sys.executable, str(REPOSITORY / "benchmarks" / name)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([*script, *options], env=environment, capture_output=True, text=True, timeout=240, check=True)
    return json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def end_to_end(sample_photos: Path) -> tuple[dict[str, Any], str]:
    """Return the JSON and the table of a tiny run of the end-to-end benchmark."""
    options = ["--count", "3", "--repeat", "1", "--limit-seconds", "0.2", "--mosaics"]
    return run_benchmark("end_to_end.py", "--photos", str(sample_photos), *options)


@pytest.mark.nightly
def test_both_sides_embed_every_picture(end_to_end: tuple[dict[str, Any], str]) -> None:
    """A ratio compares equal work."""
    record, _ = end_to_end
    assert (
        [record[side]["embedded"] for side in ("imgidx", "naive")] == [record["pictures"], record["pictures"]] == [3, 3]
    )


@pytest.mark.nightly
def test_rates_and_ratios_are_what_counts_and_seconds_say(end_to_end: tuple[dict[str, Any], str]) -> None:
    """Each side has seconds per stage and two rates; a rate has a ratio to the other side's and to the limit."""
    record, _ = end_to_end
    rates = {"pictures_per_second", "embedding_pictures_per_second"}
    for side in (record["imgidx"], record["naive"]):
        assert set(side) == {"embedded", "seconds", "embedding_seconds", "stage_seconds"} | rates
        assert set(side["stage_seconds"]) == {"read", "decode", "forward"}
        assert side["pictures_per_second"] == pytest.approx(3 / side["seconds"], abs=0.01)
        assert side["embedding_pictures_per_second"] == pytest.approx(3 / side["embedding_seconds"], rel=0.02)
    assert set(record["ratio"]) == set(record["share_of_limit"]) == rates
    for rate in rates:
        assert record["ratio"][rate] == pytest.approx(record["imgidx"][rate] / record["naive"][rate], abs=0.001)
        allowed = record["limit"]["pictures_per_second"]
        assert record["share_of_limit"][rate] == pytest.approx(record["imgidx"][rate] / allowed, abs=0.001)


@pytest.mark.nightly
def test_the_table_shows_the_ratios(end_to_end: tuple[dict[str, Any], str]) -> None:
    """What people read is what the JSON says."""
    record, table = end_to_end
    for ratio in record["ratio"].values():
        assert f"{ratio:.2f}" in table


@pytest.mark.nightly
def test_the_grid_has_every_cell_and_its_share_of_the_best(sample_photos: Path) -> None:
    """The best has all of it, and `auto` is one of them."""
    options = ["--count", "4", "--repeat", "1", "--most-children", "1", "--batch-sizes", "2"]
    record, table = run_benchmark("grid.py", "--photos", str(sample_photos), *options)
    assert len(record["of_the_best"]) == 2
    assert max(record["of_the_best"].values()) == 1
    assert record["of_the_best"]["auto"] > 0
    assert record["auto_is"] in table


@pytest.mark.nightly
def test_parity_tells_what_every_shortcut_does_to_the_vectors(sample_photos: Path) -> None:
    """float32 is what it is compared with; every other way comes near it."""
    record, table = run_benchmark("parity.py", "--photos", str(sample_photos), "--count", "5")
    shortcuts = record["shortcuts"]
    assert list(shortcuts) == [
        *(f"precision {name}" for name in ("auto", "fp32", "bf16", "fp16")),
        *("fast decoding", "fast decoding, enlarged x4", "preview decoding, enlarged x4"),
    ]
    assert shortcuts["precision fp32"]["least_cosine"] == pytest.approx(1, abs=1e-4)
    assert all(0.9 < figures["mean_cosine"] <= 1.0001 for figures in shortcuts.values())
    assert all(name in table for name in shortcuts)


@pytest.mark.nightly
def test_a_rescan_finds_all_unchanged_and_starts_no_child() -> None:
    """Every variant looks at every file, and the table shows each ratio."""
    record, table = run_benchmark("rescan.py", "--counts", "30", "60", "--repeat", "1", "--dim", "8")
    for count, results in record["sizes"].items():
        assert len(results) == 3
        for result in results.values():
            assert (result["unchanged"], result["children_started"]) == (int(count), 0)
            assert result["update_seconds"] < result["seconds"]
            assert f"{result['ratio']:.2f}" in table
    small, large = (record["sizes"][count]["plain"]["update_seconds"] / int(count) for count in ("30", "60"))
    assert record["linearity"] == pytest.approx(large / small, abs=0.001)


@pytest.mark.nightly
def test_the_start_reaches_its_steps_in_order(sample_photos: Path) -> None:
    """The timeline ends with the first batch stored."""
    options = ["--photos", str(sample_photos), "--count", "2", "--files", "10", "--repeat", "1"]
    record, table = run_benchmark("start.py", *options)
    steps = list(record["reached_seconds"])
    assert (steps[0], steps[-1], len(steps)) == ("parent's imports done", "first batch stored", 5)
    expected = record["reached_seconds"]["first batch stored"] / record["reference_seconds"]
    assert record["ratio"] == pytest.approx(expected, abs=0.01)
    assert f"{record['reference_seconds']:.2f}" in table


def test_commits_are_counted_and_compared() -> None:
    """Each batch is one commit, and stands beside a bare write of as many bytes."""
    record, table = run_benchmark("commits.py", "--count", "320", "--dim", "8")
    assert (record["batches"], len(record["mean_ms_by_part"])) == (10, 5)
    assert record["ratio"] == pytest.approx(record["mean_ms"] / record["fsync_mean_ms"], rel=0.02)
    assert f"{record['ratio']:.2f}" in table


def test_words_of_names_are_compared_with_a_scan() -> None:
    """Both find the same pictures; some have a word, and all have one."""
    record, table = run_benchmark("names.py", "--count", "2000", "--batch", "500")
    found = record["words"]
    assert [one["pictures"] for one in found.values()][::6] == [1, 2000]
    assert 0 < found["\u5317\u4eac"]["pictures"] < 2000
    assert all(one["ratio"] == pytest.approx(one["scan_ms"] / one["ms"], rel=0.1) for one in found.values())
    assert f"{record['bytes_of_words']:.0f} bytes" in table


@pytest.mark.nightly
def test_several_indexes_stand_beside_one_of_the_same_pictures() -> None:
    """Which find the same."""
    record, table = run_benchmark(
        "many_indexes.py", "--count", "3000", "--indexes", "3", "--dim", "8", "--queries", "3"
    )
    assert (record["pictures"], record["indexes"], record["shared_hits"]) == (3000, 3, 1.0)
    assert record["ratio"] == pytest.approx(record["many_ms"] / record["one_ms"], rel=0.01)
    assert f"{record['ratio']:.2f}" in table


@pytest.mark.nightly
def test_tagging_tells_how_many_labels_are_right(sample_photos: Path, tmp_path: Path) -> None:
    """Of two directories with a photo each, by every set of sentences."""
    for name in ("coffee", "astronaut"):
        (tmp_path / f"a_{name}").mkdir()
        shutil.copy(sample_photos / f"{name}.png", tmp_path / f"a_{name}")
    record, table = run_benchmark("tagging.py", "--photos", str(tmp_path))
    assert (record["pictures"], record["labels"]) == (2, 2)
    assert len(record["sentences"]) == len(record["searches"]) == 3
    for name, figures in record["sentences"].items():
        assert (figures["top_1"], figures["kept"], figures["right_of_the_kept"]) == (1.0, 2, 2)
        assert record["searches"][name] == {"first_hit_right": 1.0, "right_of_ten": 1.0}
        assert name in table


@pytest.mark.nightly
def test_models_cost_what_they_cost_beside_the_reference(sample_photos: Path) -> None:
    """A model beside itself is as fast, and its rate, memory and size are told."""
    options = ["--reference", "tiny", "--models", "tiny", "--count", "4", "--repeat", "1", "--seconds", "0.2"]
    record, table = run_benchmark("models.py", "--photos", str(sample_photos), *options)
    cost = record["models"]["tiny"]
    assert (cost["ratio"], cost["vector_bytes"]) == (1.0, 32)
    assert cost["search_seconds"] > 0
    assert f"{cost['pictures_per_second']:8.1f}" in table


@pytest.fixture(scope="module")
def kept_search(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict[str, Any], str]:
    """Return the options, the JSON and the table of a tiny run of the search benchmark that keeps what it made."""
    kept = str(tmp_path_factory.mktemp("search"))
    options = ["--counts", "300", "--dim", "16", "--repeat", "1", "--keep", kept]
    return options, *run_benchmark("search.py", *options)


def figures_of(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the figures of the only library of a search record, by their names."""
    (library,) = record["libraries"]
    return {one["name"]: one for part in library["parts"].values() for one in part["figures"]}


@pytest.mark.nightly
def test_every_figure_of_a_search_has_a_reference_and_a_ratio(
    kept_search: tuple[list[str], dict[str, Any], str],
) -> None:
    """Building, warm, with filters, cold and after adding; so few pictures are searched exactly, and none is missed."""
    _, record, table = kept_search
    figures = figures_of(record)
    for name, one in figures.items():
        assert one["value"] > 0
        assert one["ratio"] == pytest.approx(one["value"] / one["reference_value"], rel=0.01, abs=0.001)
        assert name in table
        assert one["reference"] in table
    assert {"first build", "--exact", "filter: type raw", "cold by a stored picture"} < set(figures)
    assert {f"100 pictures more, with {newer} newer" for newer in (0, 2000, 20_000)} < set(figures)
    assert figures["recall at 10 near a picture"]["value"] == figures["recall at 10 like a text"]["value"] == 1.0
    assert figures["first build, peak memory"]["value"] > 20


@pytest.mark.nightly
def test_a_kept_library_is_measured_again_in_part(kept_search: tuple[list[str], dict[str, Any], str]) -> None:
    """What the pictures that were added have spoilt is refused; a build makes it whole, with the pictures of before."""
    options, before, _ = kept_search
    with pytest.raises(subprocess.CalledProcessError):
        run_benchmark("search.py", *options, "--parts", "warm")
    after, table = run_benchmark("search.py", *options, "--parts", "build", "warm", "--markdown")
    assert list(after["libraries"][0]["parts"]) == ["build", "warm"]
    derived, again = (
        {name: one for name, one in figures_of(record).items() if "size of" in name and "catalog" not in name}
        for record in (before, after)
    )
    assert derived == again != {}
    assert figures_of(after)["recall at 10 near a picture"]["value"] == 1.0
    assert "| 10 million: 100 pictures more | 2.0 s | 0.3 s | not yet |" in table


@pytest.mark.nightly
def test_vectors_mixed_from_real_photos_are_searched_by_their_names(sample_photos: Path) -> None:
    """The bundled model embeds the photos and the texts, and a cold search by a text finds its model again."""
    options = ["--data", "real", "--photos", str(sample_photos), "--counts", "300", "--repeat", "1"]
    record, _ = run_benchmark("search.py", *options, "--parts", "warm", "cold")
    figures = figures_of(record)
    assert figures["recall at 10 like a text"]["value"] == 1.0
    assert figures["cold by a new text"]["value"] > figures["cold by a new text"]["reference_value"]


def test_the_table_of_targets_shows_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several figures share a cell, of filters the slowest counts, and what was not measured is said not to be."""
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    tables = importlib.import_module("search_tables")
    reference = {"reference": "numpy", "reference_value": 100.0}
    figures = [
        {"name": "warm near a picture, p50", "value": 2.04, "unit": "ms", "ratio": 0.0204, **reference},
        {"name": "warm near a picture, p95", "value": 4.1, "unit": "ms", "ratio": 0.041, **reference},
        {"name": "warm like a text, p50", "value": 9.0, "unit": "ms", "ratio": 0.09, **reference},
        {"name": "filter: one", "value": 30.0, "unit": "ms", "ratio": 0.3, **reference},
        {"name": "filter: other", "value": 31.0, "unit": "ms", "ratio": 0.31, **reference},
        {"name": "--exact", "value": 450.0, "unit": "ms", "ratio": 4.5, **reference},
    ]
    record = {"libraries": [{"count": 1_000_000, "parts": {"all": {"figures": figures}}}]}
    rows = tables.markdown(record).splitlines()
    near = "| 1 million: warm p50, p95, near a picture | 8.3, 18 ms | 2, 4 ms | **2.04 ms, 4.1 ms**"
    assert f"{near} | numpy: 100 ms | 0.0204, 0.041 |" in rows
    assert "| 1 million: warm p50, p95, like a text | 7.7, 16 ms | 5, 10 ms | not yet |  |  |" in rows
    assert [row.split(" | ")[3] for row in rows if "slowest" in row] == ["**31 ms**"]
    assert [row.split(" | ")[3] for row in rows if "`--exact`" in row] == ["**0.45 s**"]
    assert "| --exact, ms | 450 (4.5) | numpy |" in rows


@pytest.fixture(scope="module")
def gpu() -> tuple[dict[str, Any], str]:
    """Return the JSON and the table of a tiny run of the GPU benchmark on the CPU."""
    few = ["--count", "24", "--children", "1", "--threads", "2", "--ceiling-seconds", "0.05", "--minutes", "20"]
    return run_benchmark("gpu.py", "--device", "cpu", "--models", "tiny", *few)


@pytest.mark.nightly
def test_the_gpu_benchmark_embeds_every_picture_in_every_cell(gpu: tuple[dict[str, Any], str]) -> None:
    """Auto, one child with two threads, and the best of both with the fastest batch and precision."""
    record, _ = gpu
    model = record["models"]["tiny"]
    auto, asked, refined = model["cells"]
    assert [cell["embedded"] for cell in (auto, asked, refined)] == [24] * 3 == [model["naive"]["embedded"]] * 3
    assert ([cell["auto"] for cell in model["cells"]], record["dropped"]) == ([True, False, False], [])
    assert (asked["children"], asked["decode_threads"]) == (1, 2)
    fastest = model["ceiling"]["best"]
    assert (refined["batch_size"], refined["precision"]) == (fastest["batch_size"], fastest["precision"])


@pytest.mark.nightly
def test_the_gpu_benchmark_says_what_is_best_and_what_auto_takes(gpu: tuple[dict[str, Any], str]) -> None:
    """The ceilings, each cell's rate and the share of auto are in the table."""
    record, table = gpu
    model = record["models"]["tiny"]
    assert set(model["ceiling"]["precisions"]) == {"fp32", "fp16", "bf16"}
    rates = [cell["pictures_per_second"] for cell in model["cells"]]
    assert model["recommended"]["pictures_per_second"] == max(rates)
    assert model["auto_of_the_best"] == round(rates[0] / max(rates), 3)
    assert f"{model['auto_of_the_best']:.2f} of the best" in table
    assert all(f"{rate:.1f}" in table for rate in rates)
    assert all(0 < cell["of_the_ceiling"] <= cell["of_the_limit"] for cell in model["cells"])
    assert all(20 < cell["parent_peak_mb"] < 200 for cell in model["cells"])


def test_the_gpu_benchmark_drops_what_there_is_no_time_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without time every cell of every model is named as dropped, and none is run."""
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    gpu, gpu_cell = importlib.import_module("gpu"), importlib.import_module("gpu_cell")
    (tmp_path / "sources").mkdir()
    best = {"precision": "bf16", "batch_size": 8, "pictures_per_second": 100.0}
    ceiling = {"best": best, "auto_precision": "bf16"}
    bench = gpu_cell.Bench("tiny", tmp_path / "tiny", "cpu", ceiling, {}, 100.0, 1.0)
    cells = gpu.grid([1, 2], [0, 4])
    dropped = list(gpu.fill([bench], cells, 10, time.monotonic()))
    asked = [(cell["children"], cell["decode_threads"]) for cell in dropped if not cell["auto"]][:-1]
    assert (asked, bench.cells) == ([(1, 0), (2, 0), (1, 4), (2, 4)], [])


@pytest.mark.parametrize(
    ("threads", "seconds", "expected"),
    [
        (0, (1.0, 2.0, 8.0, 0.5), "forward"),
        (0, (1.0, 8.0, 2.0, 0.5), "decode"),
        (0, (1.0, 2.0, 2.0, 8.0), "parent"),
        (4, (0.0, 39.0, 6.0, 4.0), "forward"),
        (4, (1.0, 36.0, 2.0, 8.0), "decode"),
        (4, (1.0, 5.0, 2.0, 8.0), "parent"),
    ],
)
def test_the_gpu_benchmark_tells_what_bounds_a_run(
    monkeypatch: pytest.MonkeyPatch, threads: int, seconds: tuple[float, ...], expected: str
) -> None:
    """Children that wait while their threads are busy wait for decoding; with idle threads they wait for the parent."""
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    stages = dict(zip(("read", "decode", "forward", "idle"), seconds, strict=True))
    assert importlib.import_module("gpu_cell").bound_by(stages, threads) == expected


@pytest.mark.nightly
def test_the_benchmark_of_duplicates_has_false_groups_recall_and_time(sample_photos: Path) -> None:
    """Three photos are three, their copies are found, and of the large library what was planted."""
    options = ["--count", "3", "--large", "2000", "--dim", "16"]
    record, table = run_benchmark("duplicates.py", "--photos", str(sample_photos), *options)
    assert (record["few"]["photos"], record["few"]["groups"]) == (3, [])
    assert record["graphics"] == 0
    assert set(record["copies"]["recall"]) == {"jpeg", "webp", "resized", "cropped", "rotated", "watermarked"}
    assert record["copies"]["recall"]["rotated"] == 1
    assert record["large"]["pictures"] == 2000
    assert record["large"]["groups"] == record["large"]["planted"] == 101
    assert "3 different photos: 0 groups" in table


@pytest.mark.nightly
def test_the_promises_on_a_device_are_checked(sample_photos: Path) -> None:
    """On the CPU too, where each must hold."""
    script = [sys.executable, str(REPOSITORY / "benchmarks/device_check.py"), "--photos", str(sample_photos)]
    done = subprocess.run(
        [*script, "--device", "cpu", "--count", "60"], capture_output=True, text=True, timeout=600, check=True
    )
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["ok"] for record in records] == [True] * 7


@pytest.mark.nightly
def test_commands_without_torch_are_measured_against_their_references(sample_photos: Path) -> None:
    """Differences and the ratio are those of the medians; every run has embedded what it was for."""
    options = ["--model", "starter", "--count", "40", "--repeat", "1", "--bulk-repeat", "1"]
    record, table = run_benchmark("without_torch.py", "--photos", str(sample_photos), *options)
    seconds, fp32 = record["seconds"], record["fp32_seconds"]
    assert set(seconds) == {"text", "picture", "picture, torch", "nothing new", "ten new", "ten new, torch"}
    assert record["beyond_text_s"] == pytest.approx(seconds["picture"] - seconds["text"], abs=0.002)
    assert record["beyond_nothing_new_s"] == pytest.approx(seconds["ten new"] - seconds["nothing new"], abs=0.002)
    assert record["fp32_ratio"] == pytest.approx(fp32["torch"] / fp32["auto"], abs=0.01)
    assert "torch / auto, in float32" in table


@pytest.mark.nightly
def test_a_search_with_a_siglip_is_measured_beside_one_with_clip(sample_photos: Path) -> None:
    """Both encode the text in the process of the search: the benchmark itself refuses a tower that is not there."""
    options = ["--count", "4", "--words", "30000", "--repeat", "1", "--tiny"]
    record, table = run_benchmark("text_models.py", "--photos", str(sample_photos), *options)
    seconds = record["seconds"]
    assert record["beyond_clip_s"] == pytest.approx(seconds["SigLIP2"] - seconds["CLIP"], abs=0.002)
    assert record["weights_mb"]["SigLIP2"] == pytest.approx(30_000 * 64 * 4 / 1e6, abs=2)
    assert "SigLIP2 beyond CLIP" in table


@pytest.mark.nightly
def test_a_heic_is_measured_in_full_by_its_preview_and_beside_a_jpeg(sample_photos: Path) -> None:
    """The ratios are of core seconds, and the picture that was made has a preview that serves."""
    record, table = run_benchmark("decode_heic.py", "--photos", str(sample_photos), "--count", "1", "--repeat", "1")
    seconds = record["core_seconds"]
    assert list(seconds) == ["fast", "preview", "jpeg"]
    assert (record["pictures"], record["preview_served"]) == (1, 1)
    assert record["ratio"]["preview"] == pytest.approx(seconds["fast"] / seconds["preview"], rel=0.02)
    assert len(table.splitlines()) == 3


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells it in /proc")
def test_the_memory_of_all_processes_is_that_of_each(sample_photos: Path) -> None:
    """The largest sum is of one moment, and no process of it was ever smaller than then."""
    record, table = run_benchmark("memory.py", "--photos", str(sample_photos), "--count", "3", "--workers", "1")
    ours = record["imgidx"]
    assert ours["peak_mb"] == pytest.approx(sum(ours["at_peak_mb"]), abs=len(ours["at_peak_mb"]))
    assert max(ours["at_peak_mb"]) <= max(ours["largest_mb"])
    assert record["ratio"] == pytest.approx(ours["peak_mb"] / record["reference"]["peak_mb"], abs=0.01)
    assert f"{record['ratio']:.2f}" in table


STAND_IN = """#!{python}
# rclip, as far as a command line goes: pictures are found in the directory, and hits are the first of them.
import json, os, sys, time
from pathlib import Path

time.sleep(0.3)  # memory is sampled ten times a second
if sys.argv[1:] == ["--version"]:
    sys.exit(print("rclip 0.0.1"))
data, options, query = Path(os.environ["RCLIP_DATADIR"]), sys.argv[1:-1], sys.argv[-1]
assert (data / "visual.onnx").read_text() == "weights"
known = data / "db.sqlite3"
if "--no-indexing" not in options:
    known.write_text(json.dumps(sorted(os.listdir())))
pictures = json.loads(known.read_text())
with Path(__file__).with_suffix(".log").open("a") as log:
    print(json.dumps([options, query, len(pictures)]), file=log)
print("\\n".join(pictures[: int(options[options.index("--top") + 1])]))
"""


@pytest.mark.nightly
def test_a_peer_does_the_same_jobs_in_turns(sample_photos: Path, tmp_path: Path) -> None:
    """With a stand-in for rclip: each job once a repetition, a new index each time, and the weights left alone."""
    peer, weights = tmp_path / "peer.py", tmp_path / "weights"
    peer.write_text(STAND_IN.format(python=sys.executable))
    peer.chmod(0o755)
    weights.mkdir()
    (weights / "visual.onnx").write_text("weights")
    (weights / "db.sqlite3").write_text("another index")
    options = ["--weights", str(weights), "--rclip", str(peer), "--model", "starter", "--count", "6", "--repeat", "2"]
    record, table = run_benchmark("peer.py", "--photos", str(sample_photos), *options)
    assert (record["rclip"], len(record["jobs"])) == ("0.0.1", 4)
    for job, figures in record["jobs"].items():
        seconds, peak = figures["seconds"], figures["peak_mb"]
        assert figures["ratio"] == pytest.approx(seconds["rclip"] / seconds["imgidx"], abs=0.02)
        assert job in table
        if sys.platform == "linux":
            assert peak["imgidx"] > peak["rclip"] > 0
    calls = [json.loads(line) for line in peer.with_suffix(".log").read_text().splitlines()]
    assert [pictures for _, _, pictures in calls] == [6, 16, 16, 16] * 2
    assert ["--no-indexing" in options for options, _, _ in calls] == [False, False, True, True] * 2
    queries = [query for _, query, _ in calls]
    assert len(set(queries[:3] + queries[4:7])) == 6
    assert (weights / "db.sqlite3").read_text() == "another index"


@pytest.mark.nightly
def test_each_command_is_compared_with_the_same_import(sample_photos: Path) -> None:
    """Every one has its seconds and its ratio, and the table shows them."""
    options = ["--photos", str(sample_photos), "--count", "2", "--repeat", "1"]
    record, table = run_benchmark("commands.py", *options)
    seconds, reference = record["seconds"], record["seconds"]["python -c 'import numpy'"]
    assert {"imgidx --version", "imgidx status", "search by a new text"} <= set(seconds)
    for name, ratio in record["ratio_to_numpy"].items():
        assert ratio == pytest.approx(seconds[name] / reference, rel=0.01)
        assert any(line.startswith(name) and f"{ratio:.2f} x" in line for line in table.splitlines())


@pytest.mark.nightly
def test_a_cluster_and_the_local_pool_embed_the_same(sample_photos: Path) -> None:
    """Two real nodes of Ray, in turns with two children."""
    options = ["--count", "40", "--repeat", "1"]
    record, table = run_benchmark("cluster.py", "--photos", str(sample_photos), *options)
    assert record["cluster"]["embedded"] == record["local"]["embedded"] == 40
    rates = [record[side]["pictures_per_second"] for side in ("cluster", "local")]
    assert record["ratio"] == pytest.approx(rates[0] / rates[1], abs=0.001)
    assert f"ratio {record['ratio']}" in table


@pytest.mark.nightly
def test_the_page_is_measured_against_a_bare_client() -> None:
    """How soon the first hit is there, and whether scrolling meets a gap."""
    options = ["--count", "300", "--hits", "150", "--searches", "3", "--browser", needed(NAMES, "chromium")]
    record, table = run_benchmark("page.py", *options)
    searched, scrolled = record["search"], record["scroll"]
    assert 0 < searched["first_tile_p50_ms"] <= searched["first_picture_p50_ms"] <= searched["first_picture_worst_ms"]
    assert searched["ratio"] == pytest.approx(searched["first_picture_p50_ms"] / searched["bare_p50_ms"], abs=0.05)
    assert scrolled["hits"] >= 140
    assert 0 <= scrolled["tiles_without_picture_yet"] <= 1
    assert "frames_with_a_gap" in table


@pytest.mark.nightly
def test_the_load_on_a_server_has_rates_times_and_memory() -> None:
    """The ratios are to the references of the same run, and nothing is asked more often than it may be."""
    options = ["--count", "300", "--dim", "16", "--clients", "1", "3", "--most", "40", "--pictures", "3"]
    record, table = run_benchmark("serve_load.py", *options)
    assert [one["clients"] for one in record["searches"]] == [1, 3]
    for one in record["searches"]:
        assert one["answers"] <= 40
        assert one["p50_ms"] <= one["p99_ms"]
        reference = record["in_process_searches_per_second"]
        assert one["ratio_to_in_process"] == pytest.approx(one["per_second"] / reference, rel=0.02, abs=0.002)
    assert record["thumbnails_made"]["answers"] == 3
    assert record["memory_mb"] > 0 or sys.platform != "linux"
    assert "Index.search (reference)" in table
