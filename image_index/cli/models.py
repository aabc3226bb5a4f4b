"""`imgidx models`: which models there are, and how to fetch one ahead of time."""

from __future__ import annotations

from typing import Annotated

import typer

from image_index.cli.options import JsonOption, QuietOption, common, screen, write

models_app = typer.Typer()

AllOption = Annotated[bool, typer.Option("--all", "-a", help="List every model that is known by its name.")]


@models_app.callback(invoke_without_command=True)
def models(
    context: typer.Context,
    all: AllOption = False,  # noqa: A002  # the option's name
    json: JsonOption = False,
) -> int:
    """List the models that are recommended, bundled or cached.

    With what each costs and gives: download, speed and memory of a training, recall, languages, licence.

    Any other open_clip pair works too: NAME/PRETRAINED, hf-hub:ORG/NAME, local-dir:DIR.

    Example: imgidx models --json | jq -r 'select(.kind == "cached").name'

    Exit codes: 0 listed.
    """
    from image_index.models.listing import list_models
    from image_index.present.jsonl import json_line
    from image_index.present.models import model_record, models_table

    if context.invoked_subcommand is not None:
        return 0
    listings = list_models(everything=all)
    write("".join(json_line(model_record(one)) for one in listings) if json else models_table(listings, screen()))
    return 0


@models_app.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="As for train --model.")], quiet: QuietOption = False
) -> int:
    """Download a model, so that training needs no network.

    It goes into the Hugging Face cache ($HF_HOME).

    Example: imgidx models fetch ViT-B-32/laion2b_s34b_b79k

    Exit codes: 0 it is there, 2 no such model, 6 it cannot be had.
    """
    from image_index.models.names import ensure_model, parse_model, warn_of_licence

    setup = common(None, quiet=quiet)
    spec = parse_model(name)
    warn_of_licence(spec)
    path = ensure_model(spec, quiet=quiet)
    if not quiet:
        setup.console.print(f"{spec.name}: {path}", soft_wrap=True)
    return 0
