"""`imgidx mcp`: the index as tools for assistants."""

from __future__ import annotations

from image_index.cli.options import IndexOption, QuietOption, VerboseOption, common, extra_packages

PACKAGES = {"anyio", "mcp", "mcp_types", "pydantic"}
"""What the extra `mcp` brings."""


def mcp(index: IndexOption = None, quiet: QuietOption = False, verbose: VerboseOption = False) -> int:
    """Let an assistant search the index, over MCP.

    The program that asks starts it, and speaks the Model Context Protocol with it over stdin and stdout. It gives paths
    and small previews of what the index holds, and changes nothing. Needs the extra mcp.

    Example: imgidx mcp --index ~/photos.index

    Exit codes: 0 closed by the program that asked, 2 wrong use, 4 no index, 5 a newer index, 9 disk or catalog.
    """
    with extra_packages("imgidx mcp", "mcp", PACKAGES):
        from image_index.service.mcp_server import serve_stdio

    serve_stdio(common(index, quiet=quiet, verbose=verbose).home)
    return 0
