"""The page of `imgidx serve` in a real browser: how soon the first hit is there, and scrolling through all of them.

    python benchmarks/page.py [--count 100000] [--hits 10000] [--searches 20] [--pixels-per-frame 200]

Prints a table on stderr and JSON on stdout. The pictures that a search finds have pixels of their own; the rest of
the library are rows with synthetic vectors and empty files. The reference, in the same run: the same search by a bare
HTTP client, which draws nothing. Needs Chromium and Playwright, as the tests of the page do.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from measure import child_environment, imgidx, machine, run
from PIL import Image
from playwright.sync_api import Page, ViewportSize, sync_playwright
from vectors import clustered

from image_index import __version__
from image_index.catalog.catalog import Catalog
from image_index.records import EmbeddedBatch, EmbeddedImage, ImageFile, PictureFacts
from image_index.search.encode import QueryEncoder
from image_index.settings import IndexHome
from image_index.training.freshness import build_if_stale

TEXT = "a painting of the sea"
SHAPES = ((640, 480), (480, 640), (640, 360), (600, 600))
OPTIONS = ("--no-sandbox", "--disable-dev-shm-usage")  # it refuses root without the first; the page is our own
WINDOW = ViewportSize(width=1280, height=800)
BATCH = 2000
FIRST = 60
"""How many hits the page asks for at first (`search/hits.js`)."""

LONG_AGO_NS = 10**18

FIRST_HIT = """async words => {
  const field = document.querySelector(".box input[type=search]");
  field.value = words;
  field.dispatchEvent(new InputEvent("input", { bubbles: true }));
  const frame = () => new Promise(requestAnimationFrame);
  await frame();
  const start = performance.now();
  const before = new Set([...document.querySelectorAll(".hit img")].map(image => image.src));
  field.form.requestSubmit();
  let tile = 0;
  for (;;) {
    await frame();
    const hits = [...document.querySelectorAll(".hit")];
    const isNew = !document.querySelector(".found.waiting, .spinner") && hits.length;
    if (isNew && !tile) tile = performance.now() - start;
    if (isNew && document.querySelector('.hit[data-at="0"] img')) break;
  }
  await frame(); // it has been drawn when the next frame begins
  return [tile, performance.now() - start];
}"""
"""Search for words as a user does; the milliseconds to the first tile and to the first picture on the screen."""

SCROLL = """async ([pixels, wanted]) => {
  const frame = () => new Promise(requestAnimationFrame);
  const grid = document.querySelector(".grid");
  const seen = { frames: [], gaps: 0, stalls: 0, empty: 0, tiles: 0, most_tiles: 0, hits: 0 };
  let before = await frame();
  while (seen.hits < wanted) {
    const top = scrollY;
    scrollBy({ top: pixels, behavior: "instant" });
    const now = await frame();
    seen.frames.push(now - before);
    before = now;
    if (scrollY === top) seen.stalls++;
    const boxes = [...document.querySelectorAll(".hit")].map(hit => [hit, hit.getBoundingClientRect()]);
    const inside = boxes.filter(([, box]) => box.bottom > 0 && box.top < innerHeight);
    // the window is covered if from each row the next one begins at once, down to its lower edge or the grid's
    const rows = inside.map(([, box]) => box).sort((a, b) => a.top - b.top);
    const lower = Math.min(innerHeight, grid.getBoundingClientRect().bottom);
    let covered = Math.max(0, grid.getBoundingClientRect().top);
    for (const row of rows) if (row.top <= covered + 12) covered = Math.max(covered, row.bottom);
    if (covered < lower - 12) seen.gaps++;
    seen.tiles += inside.length;
    seen.empty += inside.filter(([hit]) => !hit.querySelector("img")).length;
    seen.most_tiles = Math.max(seen.most_tiles, boxes.length);
    seen.hits = Math.max(seen.hits, ...inside.map(([hit]) => Number(hit.dataset.at) + 1));
    if (seen.stalls > 600) break;
  }
  return seen;
}"""
"""Scroll by so many pixels a frame until so many hits have been passed; what each frame showed."""


def make_library(where: Path, count: int, hits: int) -> IndexHome:
    """Make an index of `count` pictures; `hits` of them are files, and nearest to `TEXT`."""
    home, photos = IndexHome(where / "index"), where / "photos"
    photos.mkdir(parents=True)
    Image.new("RGB", (64, 64), (200, 30, 30)).save(photos / "first.png")
    run(imgidx("train", str(photos), "--model", "starter", "--index", str(home.path), "--quiet"))
    with Catalog(home.catalog, write=True) as catalog:
        with QueryEncoder(catalog, home) as encoder:
            text = encoder.text(TEXT)
        random = np.random.default_rng(0)
        vectors = np.concatenate([*clustered(count - 1, len(text))])
        vectors[:hits] += 2 * text
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        for first in range(0, len(vectors), BATCH):
            numbers = range(first, min(first + BATCH, len(vectors)))
            images = [_picture(photos, number, random, has_pixels=number < hits) for number in numbers]
            catalog.record(EmbeddedBatch(tuple(images), vectors[first : first + BATCH]))
        build_if_stale(catalog, home, lambda _: None)
    return home


def _picture(photos: Path, number: int, random: np.random.Generator, *, has_pixels: bool) -> EmbeddedImage:
    """Return what embedding a picture would tell, after writing its file."""
    width, height = SHAPES[number % len(SHAPES)]
    path = photos / f"{number:06d}.jpg"
    facts = PictureFacts(width, height, "jpeg")
    if not has_pixels:
        path.touch()  # what is gone is no hit
        file = ImageFile(bytes(path), number + 1, LONG_AGO_NS)
        return EmbeddedImage(file, sha256(bytes(path)).digest(), 2 * LONG_AGO_NS, facts)
    colours = random.integers(256, size=(6, 8, 3), dtype=np.uint8)
    Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC).save(path, quality=85)
    file = ImageFile.of(bytes(path), path.stat())
    return EmbeddedImage(file, sha256(path.read_bytes()).digest(), 2 * LONG_AGO_NS, facts)


@contextmanager
def serving(home: IndexHome) -> Iterator[str]:
    """Serve an index in a process of its own, and give the address with its token."""
    command = imgidx("serve", "--port", "0", "--index", str(home.path))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=child_environment()) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@contextmanager
def shown(address: str, executable: str) -> Iterator[Page]:
    """Show the page in a browser."""
    with sync_playwright() as driver, driver.chromium.launch(executable_path=executable, args=OPTIONS) as browser:
        page = browser.new_page(viewport=WINDOW)
        page.goto(address)
        page.wait_for_selector(".welcome")
        yield page


def bare_ms(address: str, words: str) -> float:
    """Return the milliseconds of the search that the page makes, by a client that draws nothing."""
    base, _, token = address.partition("?token=")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    body = json.dumps({"text": words, "limit": FIRST}).encode()
    start = time.perf_counter()
    with urllib.request.urlopen(urllib.request.Request(f"{base}api/v1/search", body, headers)) as answer:
        answer.read()
    return 1e3 * (time.perf_counter() - start)


def measure(page: Page, address: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Search for texts that are new each time, in turns with the reference; then scroll through the hits of one."""
    page.evaluate(FIRST_HIT, "the first search loads what the server needs")
    bare_ms(address, "and this one a connection")
    turns: list[tuple[float, float, float]] = []
    for number in range(arguments.searches):
        reference = bare_ms(address, f"{TEXT}, as number {number}")
        turns.append((reference, *page.evaluate(FIRST_HIT, f"{TEXT}, number {number}")))
    bare, tile, picture = (sorted(column) for column in zip(*turns, strict=True))
    page.evaluate(FIRST_HIT, TEXT)
    seen = page.evaluate(SCROLL, [arguments.pixels_per_frame, min(arguments.hits, arguments.count) - 10])
    frames = sorted(seen["frames"])
    return {
        "search": {
            "bare_p50_ms": round(median(bare), 1),
            "first_tile_p50_ms": round(median(tile), 1),
            "first_picture_p50_ms": round(median(picture), 1),
            "first_picture_worst_ms": round(picture[-1], 1),
            "ratio": round(median(picture) / median(bare), 2),
        },
        "scroll": {
            "hits": seen["hits"],
            "seconds": round(sum(frames) / 1e3, 1),
            "pixels_per_frame": arguments.pixels_per_frame,
            "frames": len(frames),
            "frames_with_a_gap": seen["gaps"],
            "frames_that_waited_for_hits": seen["stalls"],
            "frame_p50_ms": round(median(frames), 1),
            "frame_p99_ms": round(frames[int(len(frames) * 0.99)], 1),
            "tiles_without_picture_yet": round(seen["empty"] / max(seen["tiles"], 1), 4),
            "most_tiles_in_the_page": seen["most_tiles"],
        },
    }


def main() -> None:
    """Parse the command line, measure, print the table and the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="pictures of the library")
    parser.add_argument("--hits", type=int, default=10_000, help="pictures to scroll through")
    parser.add_argument("--searches", type=int, default=20)
    parser.add_argument("--pixels-per-frame", type=int, default=200)
    parser.add_argument("--browser", default=shutil.which("chromium") or "chromium", help="Chromium or Chrome")
    parser.add_argument("--keep", type=Path, help="a directory for the library, used again if it is there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        where = arguments.keep or Path(scratch)
        home = IndexHome(where / "index")
        if not home.catalog.exists():
            home = make_library(where, arguments.count, arguments.hits)
        with serving(home) as address, shown(address, arguments.browser) as page:
            record = measure(page, address, arguments)
    record = {"imgidx": __version__, "machine": machine(), "pictures": arguments.count, **record}
    for part in ("search", "scroll"):
        for name, value in record[part].items():
            print(f"{part:<7} {name:<28} {value:>9}", file=sys.stderr)
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
