"""`imgidx serve` under load: searches and thumbnails per second by 1, 16 and 64 clients, how long each takes, memory.

    python benchmarks/serve_load.py [--count 100000] [--clients 1 16 64] [--seconds 5] [--most 5000] [--pictures 64]

Prints a table on stderr and JSON on stdout. The vectors are synthetic, in topics as those of pictures are; each search
is by another picture of the index, so that no text is encoded. The references, in the same run: `Index.search` in a
process without a server, and thumbnails made one after the other. Clients and server share the machine: what the
clients take, the server has not. Each measurement ends after some seconds, or so many requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from measure import child_environment, family, imgidx, machine, pss_bytes
from PIL import Image
from synthetic_index import SyntheticIndex
from vectors import clustered

from image_index import Index, SearchOptions, __version__, make_filters
from image_index.catalog.catalog import Catalog
from image_index.pictures.thumbnails import thumbnail
from image_index.records import EmbeddedBatch, EmbeddedImage, ImageFile, PictureFacts
from image_index.settings import IndexHome
from image_index.training.freshness import build_if_stale

LIMIT = 20
"""How many hits a search asks for: a page."""

SIZE = 1600, 1200
"""Width and height of the pictures that thumbnails are made of."""

THUMBNAIL_CLIENTS = 16
REFERENCE_SEARCHES = 200

Record = dict[str, Any]


def make(home: Path, arguments: argparse.Namespace) -> list[int]:
    """Make an index with synthetic vectors, and some pictures that are there; return the ids of these."""
    made = SyntheticIndex(home.parent, arguments.dim)
    made.write_vectors(clustered(arguments.count, arguments.dim))
    made.fill()
    noise = np.random.default_rng(1)
    images = []
    for number in range(arguments.pictures):
        path = home.parent / f"{number}.jpg"
        small = Image.fromarray(noise.integers(0, 255, (30, 40, 3), np.uint8))
        small.resize(SIZE, Image.Resampling.BICUBIC).save(path, quality=90)
        file = ImageFile.of(os.fsencode(path), path.stat())
        digest = sha256(path.read_bytes()).digest()
        images.append(EmbeddedImage(file, digest, 2 * 10**18, PictureFacts(*SIZE, "jpeg")))
    vectors = noise.normal(size=(len(images), arguments.dim)).astype(np.float32)
    with Catalog(IndexHome(home).catalog, write=True) as catalog:
        catalog.record(EmbeddedBatch(tuple(images), vectors / np.linalg.norm(vectors, axis=1, keepdims=True)))
        build_if_stale(catalog, made.home, lambda _: None)
    return [*range(arguments.count + 1, arguments.count + 1 + arguments.pictures)]


@contextmanager
def serving(home: Path) -> Iterator[tuple[str, int, int]]:
    """Give host, port and process of a server."""
    command = imgidx("serve", "--index", str(home), "--port", "0", "--no-token")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=child_environment()) as process:
        try:
            assert process.stdout is not None
            parts = urlsplit(process.stdout.readline().strip())
            yield str(parts.hostname), int(parts.port or 0), process.pid
        finally:
            process.terminate()


async def load(address: tuple[str, int], paths: Iterator[str], clients: int, bounds: argparse.Namespace) -> list[float]:
    """Let clients ask for paths, each one after the other on its own connection; return the seconds of each answer."""
    ends_at, taken = time.perf_counter() + bounds.seconds, list[float]()
    paths = islice(paths, bounds.most)

    async def client() -> None:
        reader, writer = await asyncio.open_connection(*address)
        for path in paths:
            start = time.perf_counter()
            if start > ends_at:
                break
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {address[0]}\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))
            if not head.startswith(b"http/1.1 200"):
                raise RuntimeError(f"{path} is answered with {head.splitlines()[0].decode()}")
            taken.append(time.perf_counter() - start)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return taken


def measured(address: tuple[str, int], paths: Iterator[str], clients: int, bounds: argparse.Namespace) -> Record:
    """Return how many answers a second there are, and how long they take."""
    start = time.perf_counter()
    taken = asyncio.run(load(address, paths, clients, bounds))
    seconds = time.perf_counter() - start
    return {
        "clients": clients,
        "answers": len(taken),
        "per_second": round(len(taken) / seconds, 1),
        "p50_ms": round(1000 * median(taken), 2),
        "p99_ms": round(1000 * float(np.quantile(taken, 0.99)), 2),
    }


def search_in_process(home: Path, ids: list[int]) -> float:
    """Return how many searches a second `Index.search` does, one after the other."""
    options = SearchOptions(LIMIT, filters=make_filters(missing=True))
    with Index.open(home) as index, Catalog(IndexHome(home).catalog) as catalog:
        _, vectors = catalog.vectors_of(ids)
        index.search(vectors[0], options)
        start = time.perf_counter()
        for vector in vectors:
            index.search(vector, options)
        return len(ids) / (time.perf_counter() - start)


def thumbnails_in_process(home: Path, ids: list[int]) -> float:
    """Return how many thumbnails a second are made, one after the other."""
    with Catalog(IndexHome(home).catalog) as catalog:
        images = list(catalog.facts_of(ids).values())
    start = time.perf_counter()
    for image in images:
        assert thumbnail(image).data
    return len(images) / (time.perf_counter() - start)


def measure(arguments: argparse.Namespace) -> Record:
    """Return the whole record."""
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        home = Path(scratch) / "index"
        pictures = make(home, arguments)
        some = np.random.default_rng(2).permutation(arguments.count) + 1
        searches = cycle(f"/api/v1/search?image_id={one}&missing=true&limit={LIMIT}" for one in some.tolist())
        with serving(home) as (host, port, pid):
            address = host, port
            measured(address, searches, 8, argparse.Namespace(seconds=5, most=50))  # each thread has opened the index
            found = [measured(address, searches, clients, arguments) for clients in arguments.clients]
            memory = [pss_bytes(one) for one in family(pid)]
            paths = [f"/api/v1/images/{one}/thumbnail" for one in pictures]
            made = measured(address, iter(paths), THUMBNAIL_CLIENTS, arguments)
            kept = measured(address, cycle(paths), THUMBNAIL_CLIENTS, arguments)
            memory_after = [pss_bytes(one) for one in family(pid)]
        searched = search_in_process(home, some[:REFERENCE_SEARCHES].tolist())
        thumbnails = thumbnails_in_process(home, pictures)
    return {
        "version": __version__,
        "machine": machine(),
        "count": arguments.count,
        "dim": arguments.dim,
        "searches": [one | {"ratio_to_in_process": round(one["per_second"] / searched, 3)} for one in found],
        "in_process_searches_per_second": round(searched, 1),
        "thumbnails_made": made | {"ratio_to_in_process": round(made["per_second"] / thumbnails, 3)},
        "thumbnails_kept": kept,
        "in_process_thumbnails_per_second": round(thumbnails, 1),
        "memory_mb": round(sum(memory) / 1e6),
        "memory_after_thumbnails_mb": round(sum(memory_after) / 1e6),
    }


def table(record: Record) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"{record['count']} vectors of {record['dim']} dimensions; {record['machine']}"
    yield f"{'':28}{'clients':>8}{'a second':>10}{'p50 ms':>9}{'p99 ms':>9}{'ratio':>8}"
    rows = [("search", one) for one in record["searches"]]
    rows += [("thumbnail, made", record["thumbnails_made"]), ("thumbnail, kept", record["thumbnails_kept"])]
    for name, one in rows:
        ratio = one.get("ratio_to_in_process", "")
        yield f"{name:28}{one['clients']:8}{one['per_second']:10}{one['p50_ms']:9}{one['p99_ms']:9}{ratio:>8}"
    yield f"{'Index.search (reference)':36}{record['in_process_searches_per_second']:10}"
    yield f"{'one thumbnail after another':36}{record['in_process_thumbnails_per_second']:10}"
    yield f"memory: {record['memory_mb']} MB, {record['memory_after_thumbnails_mb']} MB after the thumbnails"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="how many vectors")
    parser.add_argument("--dim", type=int, default=512, help="their dimension")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64], help="how many ask at once")
    parser.add_argument("--seconds", type=float, default=5, help="how long each measurement takes at most")
    parser.add_argument("--most", type=int, default=5000, help="how many requests it has at most")
    parser.add_argument("--pictures", type=int, default=64, help="of how many pictures thumbnails are made")
    parser.add_argument("--scratch", type=Path, help="where the index is made, by default where the system says")
    record = measure(parser.parse_args())
    print("\n".join(table(record)), file=sys.stderr)
    print(json.dumps(record))


if __name__ == "__main__":
    main()
