"""`imgidx search` as users and scripts run it: filters, sums, many queries, marks, forms of output."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import ExifTags, Image

from image_index.catalog.catalog import Catalog
from image_index.settings import IndexHome
from tests.cli.conftest import Trained
from tests.support.library import Library
from tests.support.photos import real_photos
from tests.support.served import make_served
from tests.support.shell import Done, Shell

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, sample_photos: Path) -> Path:
    """Return a directory of 16 photos in two places, two of which say when, where and with what they were taken."""
    directory = tmp_path_factory.mktemp("photos")
    for number, path in enumerate(real_photos(sample_photos, 16)):
        place = directory / ("old" if number % 2 else "new")
        place.mkdir(exist_ok=True)
        exif = Image.Exif()
        if number < 2:
            exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Canon", f"EOS {number}"
            exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = f"199{number}:05:31 12:00:00"
            gps: dict[int, Any] = {1: "S", 2: (33.0, 51.0, 24.84), 3: "E", 4: (151.0, 12.0 + number, 54.72)}
            exif.get_ifd(ExifTags.IFD.GPSInfo).update(gps)
        with Image.open(path) as image:
            image.convert("RGB").save(place / f"{number:02}.jpg", exif=exif, quality=90)
    return directory


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, photos: Path, starter_index: IndexHome) -> Shell:
    """Return a shell with an index of the photos."""
    shell = Shell(tmp_path_factory.mktemp("shell"))
    shell.copy_index(starter_index)
    done = shell.run("train", photos, "--model", "starter", "--device", "cpu", "-j", "1", "-q")
    assert done.code == 0, done.err
    return shell


def names(done: Done) -> list[str]:
    """Return the names of the files found, in order."""
    return [Path(hit["path"]).name for hit in done.records]


def every(shell: Shell, *options: str | Path) -> list[str]:
    """Return the names of all pictures that options leave of a search for a text."""
    return sorted(names(shell.run("search", "a photo", "--top", "all", "--json", *options)))


def test_a_text_finds_every_picture_best_first(searcher: Shell, library: Trained) -> None:
    """JSON has one hit a line, ranked, with pinned keys; names that are not UTF-8 have their own."""
    done = searcher.run("search", "a photo", "--json", "-n", "100")
    assert (done.code, done.err) == (0, "")
    assert [hit["rank"] for hit in done.records] == list(range(1, len(library.good) + 1))
    scores = [hit["score"] for hit in done.records]
    assert scores == sorted(scores, reverse=True)
    keys = {tuple(hit) for hit in done.records}
    facts = ("date", "date_source", "width", "height", "format", "camera", "latitude", "longitude", "altitude_m")
    assert keys <= {("rank", "score", "sigma", path, *facts, "pair") for path in ("path", "path_bytes")}
    assert {os.fsencode(hit["path"]) for hit in done.records if "path" in hit} == {
        path for path in library.good if b"\xff" not in path
    }


def test_a_picture_finds_itself_first(searcher: Shell, library: Trained) -> None:
    """Its own vector has cosine 1 with itself."""
    done = searcher.run("search", "--image", library.photos / "plain.jpg", "--json", "-n", "1", "--include-query")
    (hit,) = done.records
    assert os.fsencode(hit["path"]) == os.path.realpath(os.fsencode(library.photos / "plain.jpg"))
    assert hit["score"] == pytest.approx(1, abs=1e-3)


def test_nothing_found_is_exit_1_without_a_word(searcher: Shell, library: Trained) -> None:
    """As grep: scripts test the code."""
    elsewhere = searcher.directory
    assert searcher.run(*library.like_plain("--under", str(elsewhere))) == Done(1, b"", "")
    other = library.photos / "with space.jpg"
    assert searcher.run(*library.like_plain("--under", str(other))).code == 0
    assert searcher.run(*library.like_plain("--under", str(other), "--min-score", "0.99")) == Done(1, b"", "")


def test_hits_are_limited_by_directory(searcher: Shell, library: Trained) -> None:
    """`--under` takes a relative directory too."""
    done = searcher.run(*library.like_plain("--json", "--under", os.path.relpath(library.photos, searcher.directory)))
    assert len(done.records) == len(library.good)


def test_texts_are_put_into_sentences_where_that_is_asked_for(searcher: Shell, library: Trained) -> None:
    """One sentence is that text itself; several are averaged; each of many queries is put into them too."""
    plain = searcher.run("search", "a photo of a cat.", "--json").records
    assert searcher.run("search", "cat", "--prompt", "a photo of a {}.", "--json").records == plain
    queries = searcher.directory / "queries"
    queries.write_text("cat\n")
    asked = ("--prompt", "a photo of a {}.", "--prompt", "{}", "--json")
    both = searcher.run("search", "cat", *asked).records
    summed = searcher.run("search", "0.5:cat", "--add", "0.5:a photo of a cat.", "--json").records
    assert [hit["score"] for hit in both] == pytest.approx([hit["score"] for hit in summed], abs=1e-5)
    many = searcher.run("search", "--queries", queries, *asked).records
    assert [{**hit, "query": "cat"} for hit in both] == [{**hit} for hit in many]


def test_a_prompt_without_a_place_for_the_text_is_exit_2(searcher: Shell) -> None:
    """Before anything is searched for, also where there are many queries."""
    for query in ("cat", "--queries=/dev/null"):
        done = searcher.run("search", query, "--prompt", "a photo")
        assert (done.code, done.out) == (2, b"")
        assert "'a photo'" in done.complaint


def test_a_query_of_nothing_is_exit_2(searcher: Shell) -> None:
    """Space is no description."""
    done = searcher.run("search", " ")
    assert done.code == 2
    assert "the query is empty" in done.complaint


def test_a_query_that_is_no_picture_is_exit_2(searcher: Shell) -> None:
    """A file that is not there is wrong use."""
    done = searcher.run("search", "--image", "none.jpg")
    assert done.code == 2
    assert "none.jpg: No such file" in done.complaint


def test_filters_leave_what_they_say(trained: Shell, photos: Path) -> None:
    """Directories, globs, dates, cameras, formats, sizes and shapes, by themselves and together."""
    everything = [f"{number:02}.jpg" for number in range(16)]
    old, new = everything[1::2], everything[::2]
    assert every(trained) == everything
    assert every(trained, "--under", photos / "old") == every(trained, "--exclude-under", photos / "new") == old
    assert every(trained, "--under", photos / "old", "--under", photos / "new") == everything
    assert every(trained, "-g", "new/*") == new
    assert every(trained, "-g", "0[0-3].*", "-g", "!01*") == ["00.jpg", "02.jpg", "03.jpg"]
    assert every(trained, "--name", "NEW .jp") == every(trained, "--name", "n\u00e9w/") == new
    assert every(trained, "--name", "'") == []
    assert every(trained, "--camera", "canon") == every(trained, "--older", "1999") == ["00.jpg", "01.jpg"]
    assert every(trained, "--camera", "eos 1") == every(trained, "--newer", "1991", "--older", "1992") == ["01.jpg"]
    assert every(trained, "--newer", "1d") == everything[2:]
    assert every(trained, "--on", "05-31") == every(trained, "--has-gps") == ["00.jpg", "01.jpg"]
    assert every(trained, "--on", "1991") == every(trained, "--between", "1991-05", "1991-05-31") == ["01.jpg"]
    assert every(trained, "--near", "-33.8569,151.2152") == ["00.jpg"]
    assert every(trained, "--near", "-33.8569,151.2152,2") == ["00.jpg", "01.jpg"]
    assert every(trained, "--type", "jpg") == everything
    assert every(trained, "--type", "png") == []
    assert every(trained, "--min-size", "99999x1") == []
    shapes = [every(trained, "--orientation", shape) for shape in ("landscape", "portrait", "square")]
    assert sorted(name for shape in shapes for name in shape) == everything


def give_stdin(patch: pytest.MonkeyPatch, text: str) -> None:
    """Let standard input have this text."""
    patch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))


def test_only_the_files_of_a_list_are_searched(trained: Shell, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As other programs write it; relative ones are those of the current directory, unknown ones are counted."""
    (trained.directory / "link").symlink_to(photos)
    listed = ["link/old/01.jpg", str(photos / "new/00.jpg"), "none.jpg", "link/new/02.jpg", "none.jpg"]
    from_stdin = ("search", "a photo", "--json", "--files-from", "-")
    for end in ("\n", "\0"):
        give_stdin(monkeypatch, "".join(one + end for one in listed))
        found = trained.run(*from_stdin, "-g", "0[01].*")
        assert (sorted(names(found)), found.code) == (["00.jpg", "01.jpg"], 0)
        assert found.err == "imgidx: 1 of the 4 files listed are not in the index\n"
    (trained.directory / "list").write_text("\n".join(listed[:2]))
    assert every(trained, "--files-from", "list") == ["00.jpg", "01.jpg"]
    give_stdin(monkeypatch, "")
    assert trained.run(*from_stdin) == Done(1, b"", "")


def test_queries_and_files_cannot_come_from_one_stdin(trained: Shell) -> None:
    """Whichever was read first would take both."""
    done = trained.run("search", "--queries", "-", "--files-from", "-")
    assert done.code == 2
    assert "cannot both come from stdin" in done.complaint


def test_hits_are_linked_or_copied_beside_what_is_printed(trained: Shell, tmp_path: Path) -> None:
    """A name that is taken is wrong use before anything is printed or written; `--json` and the others go with it."""
    words = ("search", "a photo", "-g", "0[012].*", "--json")
    found = trained.run(*words, "--copy-to", tmp_path / "out")
    assert (found.code, found.err) == (0, "")
    copies = [f"00{hit['rank']}-{Path(hit['path']).name}" for hit in found.records]
    assert sorted(os.listdir(tmp_path / "out")) == copies
    again = trained.run(*words, "--copy-to", tmp_path / "out")
    assert (again.code, again.out) == (2, b"")
    assert "is there already" in again.complaint
    trained.run(*words, "--link-to", tmp_path / "links")
    assert [os.readlink(tmp_path / "links" / name) for name in copies] == [hit["path"] for hit in found.records]


def test_a_hit_that_cannot_be_linked_is_exit_3(trained: Shell, photos: Path, tmp_path: Path) -> None:
    """It is named; the others are linked."""
    gone = photos / "new/00.jpg"
    content = gone.read_bytes()
    gone.unlink()
    try:
        done = trained.run("search", "a photo", "-g", "0[02].*", "--missing", "--paths", "--link-to", tmp_path / "out")
    finally:
        gone.write_bytes(content)
    assert done.code == 3
    assert done.complaint == f"imgidx: {gone}: No such file or directory\n"
    assert len(done.out.splitlines()) == 2
    assert [name[4:] for name in os.listdir(tmp_path / "out")] == ["02.jpg"]


@pytest.mark.parametrize(
    "words", [("--link-to", "a", "--copy-to", "b"), ("--queries", "list", "--link-to", "a"), ("--link-to", "")]
)
def test_links_that_make_no_sense_are_wrong_use(trained: Shell, words: tuple[str, ...]) -> None:
    """Both at once; many queries, whose ranks are the same; an empty name."""
    done = trained.run("search", *([] if "--queries" in words else ["a photo"]), *words)
    assert done.code == 2
    assert not (trained.directory / "a").exists()


def test_a_hit_has_the_facts_that_exif_gave(trained: Shell) -> None:
    """Date, camera and size, and how far it stands out."""
    (hit,) = trained.run("search", "a photo", "--json", "--camera", "EOS 0").records
    assert (hit["camera"], hit["date"][:10], hit["date_source"]) == ("Canon EOS 0", "1990-05-31", "exif")
    assert hit["width"] > 0
    assert isinstance(hit["sigma"], float)


def test_a_hit_near_a_place_says_how_far_it_is(trained: Shell) -> None:
    """In JSON, in a table and in a template; one minute of longitude is 1.54 km in Sydney."""
    search = ("search", "a photo", "--near=-33.8569,151.2152,2", "--sort", "path")
    hits = trained.run(*search, "--json").records
    assert [(Path(hit["path"]).name, hit["distance_km"]) for hit in hits] == [("00.jpg", 0.0), ("01.jpg", 1.539)]
    assert trained.run(*search, "--format", "{distance_km:.1f} {latitude}").out == b"0.0 -33.8569\n1.5 -33.8569\n"
    assert "distance_km" not in trained.run("search", "a photo", "--has-gps", "--json").records[0]
    done = trained.run("search", "a photo", "--near", "north of here")
    assert (done.code, done.err) == (
        2,
        "imgidx: --near takes latitude and longitude, and perhaps kilometres, such as 48.8584,2.2945 or"
        " -33.8569,151.2152,5, not 'north of here'\n",
    )


def test_min_sigma_keeps_what_stands_out(trained: Shell) -> None:
    """The same hits as without, up to where they get too bad."""
    hits = trained.run("search", "a photo", "--top", "all", "--json").records
    kept = trained.run("search", "a photo", "--top", "all", "--json", "--min-sigma", "0.5").records
    assert kept == [hit for hit in hits if hit["sigma"] >= 0.5]
    assert 0 < len(kept) < len(hits)
    assert trained.run("search", "a photo", "--min-sigma", "50") == Done(1, b"", "")


def test_hits_come_in_the_order_asked_for(trained: Shell) -> None:
    """The best ones, sorted; their ranks say how good they are."""
    hits = trained.run("search", "a photo", "--json", "-n", "5").records
    by_path = trained.run("search", "a photo", "--json", "-n", "5", "--sort", "path").records
    assert by_path == sorted(hits, key=lambda hit: hit["path"])
    dates = [
        hit["date"] for hit in trained.run("search", "a photo", "--json", "--top", "all", "--sort", "date").records
    ]
    assert dates == sorted(dates, reverse=True)
    assert dates[-1] < "1991"


def test_the_query_is_not_among_its_hits_unless_asked_for(trained: Shell, photos: Path) -> None:
    """A picture is nearest to itself, which nobody wants to know."""
    own = photos / "new" / "00.jpg"
    assert "00.jpg" not in names(trained.run("search", "--image", own, "--top", "all", "--json"))
    first = trained.run("search", "--image", own, "--json", "--include-query").records[0]
    assert (Path(first["path"]).name, round(first["score"], 2)) == ("00.jpg", 1.0)


def test_sums_of_texts_and_pictures(trained: Shell, photos: Path) -> None:
    """A picture with much of another's weight comes near that other; one taken away falls to the end."""
    first, second = photos / "new" / "00.jpg", photos / "old" / "03.jpg"
    near = names(trained.run("search", "--image", first, "--add", f"9:{second}", "--json", "--include-query"))
    assert near[0] == "03.jpg"
    far = names(trained.run("search", "a photo", "--minus", f"9:{second}", "--json", "--include-query", "-n", "all"))
    assert far[-1] == "03.jpg"
    assert trained.run("search", "--image", first, "--minus", str(first)).complaint.startswith("imgidx: the parts")


def test_many_queries_in_one_run(trained: Shell, photos: Path) -> None:
    """JSON lines with the query's name; a bad one is named, the rest goes on, and the exit code says so."""
    lines = ["a face", '{"name": "first", "image": "%s"}' % (photos / "new" / "00.jpg"), '{"x": 1}', "a leopard"]
    process = trained.start("search", "--queries", "-", "-n", "2", stdin=subprocess.PIPE)
    out, err = process.communicate("\n".join(lines).encode())
    assert process.returncode == 3
    assert [json.loads(line)["query"] for line in out.splitlines()] == ["a face"] * 2 + ["first"] * 2 + [
        "a leopard"
    ] * 2
    assert err.decode().startswith("imgidx: line 3 of standard input: no key is called 'x'")
    assert len(err.splitlines()) == 1


def test_a_contact_sheet_is_written_and_opened(trained: Shell) -> None:
    """One page with a section for each query; nothing on stdout but what is asked for besides."""
    browser = trained.directory / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {trained.directory}/opened\n')
    browser.chmod(0o755)
    shell = Shell(trained.directory, {"BROWSER": str(browser)})
    assert shell.spawn("search", "a <photo>", "-n", "3", "--html", "page.html", "--open") == Done(0, b"", "")
    page = trained.directory / "page.html"
    text = page.read_text(encoding="utf-8")
    assert (text.count("<img"), "a &lt;photo&gt;" in text, "a <photo>" in text) == (3, True, False)
    assert (trained.directory / "opened").read_text() == page.resolve().as_uri()
    (trained.directory / "two").write_text("a face\na leopard\n")
    done = shell.run("search", "--queries", "two", "-n", "2", "--html", "page.html")
    assert len(done.records) == 4
    text = page.read_text(encoding="utf-8")
    assert (text.count("<img"), text.count("<h2")) == (4, 2)


def test_what_concerns_all_of_many_queries_ends_the_run_at_once(trained: Shell, photos: Path) -> None:
    """A device that is not there is said once, not for every line."""
    with Image.open(photos / "new" / "00.jpg") as image:
        image.resize((50, 50)).save(trained.directory / "foreign.png")
    (trained.directory / "queries").write_text(3 * '{"image": "foreign.png"}\n')
    done = trained.run("search", "--queries", "queries", "--device", "warp")
    assert (done.code, done.out) == (2, b"")
    assert "no device warp" in done.complaint


def test_a_template_prints_what_it_says(trained: Shell) -> None:
    """Also beside a filter of the same name, and with zero bytes between the hits."""
    done = trained.run("search", "a photo", "-n", "2", "--format", r"{rank}\t{name}", "--type", "jpeg")
    ranks = [line.split(b"\t") for line in done.out.splitlines()]
    assert [rank for rank, _ in ranks] == [b"1", b"2"]
    assert trained.run("search", "a photo", "-n", "2", "--format", "{rank}", "-0").out == b"1\x002\x00"


@pytest.fixture
def own(shell: Shell) -> Library:
    """Return pictures that the shell's own index holds, by a model that costs nothing."""
    made = Library(shell.directory / "photos", IndexHome(shell.index))
    made.add("a.png", "b.png")
    made.train()
    return made


def like_a(own: Library, *more: str) -> tuple[str | Path, ...]:
    """Return a search that finds all pictures and costs no model."""
    return ("search", "--image", own.photos / "a.png", "--include-query", "--json", *more)


def mark_of(shell: Shell, name: str) -> int:
    """Return a mark as the catalog has it."""
    with Catalog(IndexHome(shell.index).catalog) as catalog:
        return catalog.mark(name)


def test_since_last_shows_each_picture_once(shell: Shell, own: Library) -> None:
    """By name; a peek does not count; what is new since then is shown, or is passed over where it is too bad."""
    search = like_a(own, "--since-last", "dog")
    assert sorted(names(shell.run(*search, "--peek"))) == ["a.png", "b.png"]
    assert sorted(names(shell.run(*search))) == ["a.png", "b.png"]
    assert shell.run(*search) == Done(1, b"", "")
    assert len(shell.run(*like_a(own, "--since-last", "cat")).records) == 2
    Image.new("RGB", (8, 8), "blue").save(own.photos / "c.png")
    own.train()
    assert names(shell.run(*search, "--min-sigma", "90")) == []
    assert shell.run(*search) == Done(1, b"", "")
    own.add("d.png")
    own.train()
    assert names(shell.run(*search)) == ["d.png"]


def test_a_mark_stays_where_the_output_was_lost_or_a_query_failed(shell: Shell, own: Library) -> None:
    """A reader that is gone has seen nothing, and sees it the next time; so does a query that could not be used."""
    search = like_a(own, "--since-last", "dog")
    ours, theirs = os.pipe()
    os.close(ours)
    shell.spawn(*search, stdout=theirs)
    os.close(theirs)
    assert mark_of(shell, "dog") == 0
    with open("/dev/full", "wb") as full:
        assert shell.spawn(*search, stdout=full).code == 9
    assert mark_of(shell, "dog") == 0
    queries = [{"image": str(own.photos / "a.png")}, {"image": "/nonexistent.jpg"}]
    (shell.directory / "queries").write_text("\n".join(map(json.dumps, queries)))
    done = shell.run("search", "--queries", "queries", "--include-query", "--json", "--since-last", "dog")
    assert (done.code, len(done.records)) == (3, 2)
    assert mark_of(shell, "dog") == 0
    assert shell.run(*search).code == 0
    assert mark_of(shell, "dog") > 0


def test_files_that_are_gone_are_left_out_unless_asked_for(shell: Shell, own: Library) -> None:
    """Before any training has noticed, and after."""
    (own.photos / "b.png").unlink()
    for _ in range(2):
        assert names(shell.run(*like_a(own))) == ["a.png"]
        assert sorted(names(shell.run(*like_a(own, "--missing")))) == ["a.png", "b.png"]
        assert shell.run("train", "-q").code == 0


def test_a_directory_that_nobody_knows_is_wrong_use(trained: Shell) -> None:
    """A slip of the pen is not `nothing found`."""
    done = trained.run("search", "a photo", "--under", "/nonexistent")
    assert (done.code, done.out) == (2, b"")
    assert "/nonexistent: no such directory" in done.complaint


def test_a_text_that_is_too_long_says_what_was_cut(trained: Shell) -> None:
    """On stderr, and the search goes on; the next time too."""
    text = "a dog and " * 30 + "the very last word"
    for _ in range(2):
        done = trained.run("search", text, "-n", "1")
        assert done.code == 0
        assert done.complaint.endswith("the very last word\n")
    assert trained.run("search", "a dog " * 15, "-n", "1").err == ""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the directories of two small indexes; beside each is its `photos`."""
    homes = [make_served(tmp_path_factory.mktemp(name)).path for name in ("one", "two")]
    return homes[0], homes[1]


def test_two_indexes_are_searched_as_one(shell: Shell, two: tuple[Path, Path]) -> None:
    """Each hit says which it is of, in JSON and in a template; --top counts over both, and so do filters."""
    one, other = two
    both = ("--index", one, "--index", other, "--image", other.parent / "photos/red.png")
    found = shell.run("search", *both, "--json", "-n", "5").records
    assert [hit["rank"] for hit in found] == [1, 2, 3, 4, 5]
    assert {(hit["index"], hit["path"].rpartition("/photos/")[0]) for hit in found} == {
        (str(home), str(home.parent)) for home in two
    }
    assert found[0]["path"] == str(one.parent / "photos/red.png")
    assert list(found[0])[-2:] == ["pair", "index"]
    text = shell.run("search", *both, "--format", "{index} {name}", "-n", "1", "--under", other.parent / "photos")
    assert text.out.decode() == f"{other} pink.png\n"
    alone = shell.run("search", "--index", one, "--image", one.parent / "photos/red.png", "--json").records
    assert all("index" not in hit for hit in alone)


def test_many_queries_in_two_indexes(shell: Shell, two: tuple[Path, Path], tmp_path: Path) -> None:
    """Each under its name; a bad one is told, and the others go on."""
    one, other = two
    photos = (one.parent / "photos/red.png", other.parent / "photos/blue.png")
    lines = [json.dumps({"name": path.name, "image": str(path)}) for path in photos]
    (tmp_path / "queries").write_text("\n".join([*lines, '{"image": "/none.png"}']))
    done = shell.run("search", "--index", one, "--index", other, "--queries", tmp_path / "queries", "-n", "1")
    assert done.code == 3
    assert "/none.png" in done.complaint
    assert [(hit["query"], hit["index"]) for hit in done.records] == [("red.png", str(other)), ("blue.png", str(one))]


def test_what_two_indexes_cannot_do_is_told(shell: Shell, two: tuple[Path, Path], tmp_path: Path) -> None:
    """Another model is exit 5 and named, an index that is not there 4, a mark of one index wrong use."""
    one, other = two
    odd = make_served(tmp_path).path
    with Catalog(IndexHome(odd).catalog, write=True) as catalog:
        model = catalog.read_model()
        assert model is not None
        catalog.set_model(replace(model, name="odd", weights_sha256="f" * 64))
    query = ("--image", one.parent / "photos/red.png")
    refused = shell.run("search", "--index", one, "--index", odd, *query)
    assert refused.code == 5
    assert f"{odd} was made with the model odd" in refused.complaint
    assert shell.run("search", "--index", one, "--index", tmp_path / "none", *query).code == 4
    assert shell.run("search", "--index", one, "--index", other, *query, "--since-last", "x").code == 2
