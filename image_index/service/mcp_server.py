"""`imgidx mcp`: the tools of `mcp_tools` on stdin and stdout, for as long as the client keeps them open."""

from __future__ import annotations

import signal
from importlib.metadata import version
from typing import Any

import anyio
from mcp.server import Server, ServerRequestContext
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
)

from image_index.catalog.reader import CatalogReader
from image_index.service.mcp_tools import TOOLS
from image_index.service.readers import Service
from image_index.settings import IndexHome
from image_index.workers.engine import Engine

INSTRUCTIONS = (
    "imgidx finds pictures of this user's library by what they show. Search first, with a plain description; show a hit"
    " to look at it; name pictures to the user by their paths. Nothing can be changed or deleted here."
)

Context = ServerRequestContext[Any]


def make_server(service: Service) -> Server[Any]:
    """Return the server of the tools, which reads by the threads of `service`."""
    tools = {tool.name: tool for tool in TOOLS}

    async def list_tools(_: Context, __: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[tool.described() for tool in TOOLS])

    async def call_tool(_: Context, asked: CallToolRequestParams) -> CallToolResult:
        tool = tools.get(asked.name)
        if tool is None:
            raise MCPError(INVALID_PARAMS, f"no tool is called {asked.name[:100]!r}")
        return await tool.call(service, asked.arguments or {})

    return Server(
        "imgidx",
        version=version("imgidx"),
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def serve_stdio(home: IndexHome, engine: Engine | None = None) -> None:
    """Answer on stdin and stdout until the client closes them; raise `IndexNotFound` where there is no index.

    Meanwhile whatever else is printed goes to stderr: stdout belongs to the protocol.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        # as SIGTERM: nothing has to be finished, and no exception would reach the thread that waits for stdin
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    with CatalogReader(home.catalog):  # so that the journal files stay while the server reads
        service = Service.start(home, engine, read_only=True)
        try:
            anyio.run(_serve, make_server(service))
        finally:
            service.close()


async def _serve(server: Server[Any]) -> None:
    """Answer until stdin ends."""
    try:
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())
    except* BrokenPipeError:
        pass  # the client is gone, and an answer was on its way
