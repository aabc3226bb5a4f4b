"""`imgidx search`: find pictures by what they show."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from image_index.catalog.filters import Filters
from image_index.cli.options import (
    Common,
    DeviceOption,
    EncoderOption,
    JsonOption,
    QuietOption,
    VerboseOption,
    common,
    given_path,
)
from image_index.cli.output import CopyToOption, HtmlOption, LinkToOption, NullOption, OpenOption, Output
from image_index.cli.selection import choosing
from image_index.errors import DecodeError, QueryError, UsageError
from image_index.search.selection import make_filters
from image_index.settings import IndexHome, index_home
from image_index.workers.devices import EncoderKind

if TYPE_CHECKING:
    from image_index.index import Index, Indexes
    from image_index.records import Hit
    from image_index.search.query import Query
    from image_index.search.ranking import SearchOptions

logger = logging.getLogger(__name__)

FOUND, NOTHING_FOUND, INCOMPLETE = 0, 1, 3

QueryArgument = Annotated[
    str | None,
    typer.Argument(metavar="QUERY", help="What the pictures show: a red car. A weight may precede it: 2:a red car."),
]
ImageOption = Annotated[
    list[str] | None, typer.Option("--image", "-i", metavar="FILE|URL", help="Search by a picture. May be repeated.")
]
AddOption = Annotated[
    list[str] | None, typer.Option("--add", "-a", metavar="TEXT|./FILE", help="Add to the query: more of this.")
]
MinusOption = Annotated[
    list[str] | None,
    typer.Option("--minus", "-m", metavar="TEXT|./FILE", help="Subtract from the query: less of this."),
]
PromptOption = Annotated[
    list[str] | None,
    typer.Option(
        "--prompt",
        metavar="TEXT",
        help='A sentence with {} for each text of the query: "a photo of a {}."; several are averaged.',
    ),
]
IncludeQueryOption = Annotated[
    bool, typer.Option("--include-query", help="Also find the pictures of the query itself.")
]
QueriesOption = Annotated[
    str | None,
    typer.Option(
        "--queries",
        metavar="FILE|-",
        help="Many queries, one a line, as text or JSON; prints JSON lines with each query's name.",
    ),
]
FilesFromOption = Annotated[
    Path | None,
    typer.Option(
        "--files-from",
        parser=given_path,
        metavar="FILE|-",
        help="Only the files that FILE lists, one a line or each ended by a zero byte (- is stdin).",
    ),
]
TopOption = Annotated[str, typer.Option("--top", "-n", metavar="N|all", help="How many hits at most.")]
MinScoreOption = Annotated[
    float, typer.Option("--min-score", metavar="X", min=-1.0, max=1.0, help="Only hits of at least this cosine.")
]
MinSigmaOption = Annotated[
    float,
    typer.Option(
        "--min-sigma",
        metavar="X",
        help="Only hits that stand out: X standard deviations above the mean of this query.",
        show_default=False,
    ),
]
FormatOption = Annotated[
    str | None, typer.Option("--format", metavar="TEMPLATE", help=r"How a hit is printed: '{score:.3f}\t{path}'.")
]
SortOption = Annotated[str, typer.Option("--sort", metavar="KEY", help="Order of the hits: score, date or path.")]
ExactOption = Annotated[bool, typer.Option("--exact", help="Compare with every picture, however many there are.")]
SinceOption = Annotated[
    str | None,
    typer.Option("--since-last", metavar="NAME", help="Only pictures added since a search of this NAME was last run."),
]
PeekOption = Annotated[bool, typer.Option("--peek", help="With --since-last: show the same pictures again next time.")]
PathsOption = Annotated[bool, typer.Option("--paths", help="Print paths alone, one a line.")]
IndexesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--index",
        parser=given_path,
        metavar="DIR",
        help="The index to use. Default: $IMGIDX_INDEX, else the user's data directory. May be repeated: one search"
        " in several indexes of one model.",
    ),
]
PreviewOption = Annotated[bool, typer.Option("--preview", help="Show the pictures themselves in the terminal.")]


@choosing
def search(
    query: QueryArgument = None,
    image: ImageOption = None,
    add: AddOption = None,
    minus: MinusOption = None,
    prompt: PromptOption = None,
    include_query: IncludeQueryOption = False,
    queries: QueriesOption = None,
    top: TopOption = "10",
    min_score: MinScoreOption = -1.0,
    min_sigma: MinSigmaOption = -math.inf,
    since_last: SinceOption = None,
    peek: PeekOption = False,
    sort: SortOption = "score",
    exact: ExactOption = False,
    files_from: FilesFromOption = None,
    *,
    filters: Filters,
    json: JsonOption = False,
    format: FormatOption = None,  # noqa: A002
    paths: PathsOption = False,
    null: NullOption = False,
    preview: PreviewOption = False,
    html: HtmlOption = None,
    open: OpenOption = False,  # noqa: A002
    link_to: LinkToOption = None,
    copy_to: CopyToOption = None,
    device: DeviceOption = "auto",
    encoder: EncoderOption = EncoderKind.AUTO,
    index: IndexesOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Find pictures by meaning: by a text, by pictures, or by both.

    Texts and pictures can be added up and taken away. On a terminal this prints a table, elsewhere one path a line.
    Searching while a train runs is fine.

    Example: imgidx search "a dog on the beach" --newer 2024 --minus "people" -n 20

    Exit codes: 0 found, 1 nothing found, 2 wrong use, 3 some of --queries or files cannot be used, 4 no index, 5
    another model or a newer index, 6 no model, 8 children keep dying, 9 disk or catalog.
    """
    from image_index.present.template import Template
    from image_index.search.ranking import SearchOptions

    filters = replace(filters, files=_listed(files_from, queries))
    options = SearchOptions(
        _limit(top), min_score, min_sigma, exact=exact, sort=sort, filters=filters, include_query=include_query
    )
    asked = _Asked(query, tuple(image or ()), tuple(add or ()), tuple(minus or ()), queries, tuple(prompt or ()))
    if queries is not None and (link_to or copy_to):
        raise UsageError("--link-to and --copy-to go with one query, not with --queries")
    template = Template.parse(format) if format is not None else None
    output = Output(
        json or (queries is not None and not template), paths, null, template, preview, html, open, link_to, copy_to
    )
    mark = _Mark(since_last, peek)
    if since_last is not None and index and len(index) > 1:
        raise UsageError("--since-last goes with one --index: each index has marks of its own")
    setup = common(index[0] if index else None, quiet=quiet, verbose=verbose)
    homes = tuple(map(index_home, index)) if index else (setup.home,)
    return _Run(setup, homes, (device, encoder), asked, options, output).run(mark)


@dataclass(frozen=True, slots=True)
class _Mark:
    """The mark from which a search continues, if any, and whether the search moves it."""

    name: str | None
    peek: bool

    def __post_init__(self) -> None:
        if self.peek and self.name is None:
            raise UsageError("--peek goes with --since-last NAME")
        if self.name is not None and not self.name.strip():
            raise UsageError("--since-last takes a name, for example: --since-last dogs")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is searched for, in the user's words."""

    text: str | None
    images: tuple[str, ...]
    add: tuple[str, ...]
    minus: tuple[str, ...]
    file: str | None
    prompts: tuple[str, ...]

    def queries(self) -> Iterator[Query | QueryError]:
        """Return the queries; raise `UsageError` where there are none, or both kinds."""
        from image_index.search.prompts import check_prompts
        from image_index.search.query import Query, make_query, read_queries, with_prompts

        check_prompts(self.prompts)  # before a file of queries is opened
        given = self.text is not None or self.images or self.add or self.minus
        if self.file is not None:
            if given:
                raise UsageError(
                    "--queries takes the place of QUERY, --image, --add and --minus", "use one or the other"
                )
            asked = read_queries(self.file)
        else:
            asked = iter([make_query(self.text, self.images, self.add, self.minus)])
        return (with_prompts(query, self.prompts) if isinstance(query, Query) else query for query in asked)

    @property
    def title(self) -> str:
        """What a page of the hits is called."""
        return self.text or self.file or ", ".join((*self.images, *self.add))


@dataclass(frozen=True, slots=True)
class _Run:
    """A run of `imgidx search`: what is searched for, and how."""

    setup: Common
    homes: tuple[IndexHome, ...]
    runs_on: tuple[str, EncoderKind]
    """The device and the encoder, where a model is needed."""
    asked: _Asked
    options: SearchOptions
    output: Output

    def run(self, mark: _Mark) -> int:
        """Search, print, then move the mark; return the exit code.

        The newest id is read before the first search: pictures that a training adds meanwhile are left for next time.
        The mark moves last, and only if every hit has been delivered: better the same pictures twice than never.
        """
        from image_index.index import Index, Indexes

        device, encoder = self.runs_on
        queries = self.asked.queries()
        if len(self.homes) > 1:
            with Indexes.open([home.path for home in self.homes], device=device, encoder=encoder) as indexes:
                return _exit_code(self._answer(indexes, queries, self.options)[0])
        with Index.open(self.homes[0].path, device=device, encoder=encoder) as index:
            newest, options = index.last_id, self.options
            if mark.name is not None:
                filters = replace(options.filters, after_id=index.mark(mark.name), up_to_id=newest)
                options = replace(options, filters=filters)
            outcomes, delivered = self._answer(index, queries, options)
            if mark.name is not None and delivered and INCOMPLETE not in outcomes and not mark.peek:
                index.move_mark(mark.name, newest)
        return _exit_code(outcomes)

    def _answer(
        self, searched: Index | Indexes, queries: Iterator[Query | QueryError], options: SearchOptions
    ) -> tuple[set[int], bool]:
        """Search for every query and print the hits; return what came of each, and whether all were delivered."""
        _warn_of_unknown(searched, options.filters)
        outcomes, delivered = set(), True
        for query in queries:
            hits = self._search(searched, query, options)
            outcomes.add(INCOMPLETE if hits is None else FOUND if hits else NOTHING_FOUND)
            name = None if isinstance(query, QueryError) else query.name
            delivered = hits is None or self.output.show(hits, name)
            if self.output.is_incomplete:
                outcomes.add(INCOMPLETE)
            if not delivered:
                break
        self.output.finish(self.asked.title)
        return outcomes, delivered

    def _search(self, searched: Index | Indexes, query: Query | QueryError, options: SearchOptions) -> list[Hit] | None:
        """Return the hits of one query; None, and a line on stderr, for one of many that cannot be used."""
        from image_index.paths import message_line

        try:
            if isinstance(query, QueryError):
                raise query
            return searched.search(query, options)
        except (QueryError, DecodeError) as error:
            if self.asked.file is None:
                raise  # of one query this is the end; of many, the others are still worth an answer
            self.setup.console.print(f"imgidx: {message_line(str(error))}", soft_wrap=True)
            return None


def _listed(source: Path | None, queries: str | None) -> Mapping[bytes, int] | None:
    """Return the files that a file lists; raise `UsageError` where the queries would come from the same stdin."""
    if source is None:
        return None
    from image_index.files.lists import read_paths

    if str(source) == queries == "-":
        raise UsageError("--queries and --files-from cannot both come from stdin", "name a file for one of them")
    return make_filters(files=read_paths(source, null=None)).files


def _warn_of_unknown(searched: Index | Indexes, filters: Filters) -> None:
    """Say how many of the files that a list names are not in the index."""
    unknown = searched.count_unknown(filters)
    if unknown:
        logger.warning("%d of the %d files listed are not in the index", unknown, filters.count_files())


def _exit_code(outcomes: set[int]) -> int:
    """Return the exit code of a run whose queries came out like this."""
    return INCOMPLETE if INCOMPLETE in outcomes else FOUND if FOUND in outcomes else NOTHING_FOUND


def _limit(top: str) -> int | None:
    """Return how many hits are wanted, None for all."""
    if top.strip().lower() == "all":
        return None
    if not top.strip().isdecimal() or int(top) < 1:
        raise UsageError(f"--top takes a number from 1 on, or all; not {top!r}")
    return int(top)
