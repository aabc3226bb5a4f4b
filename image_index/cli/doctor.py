"""`imgidx doctor`: what a bug report needs to say."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from image_index.cli.options import ClusterOption, IndexOption, JsonOption, MapOption, common, path_map, screen, write

if TYPE_CHECKING:
    from image_index.present.doctor import Terminal


def doctor(
    cluster: ClusterOption = None,
    map: MapOption = None,  # noqa: A002  # the option's name
    index: IndexOption = None,
    json: JsonOption = False,
) -> int:
    """Show versions, devices and health, for a bug report.

    One screen to paste: versions, devices, models, the state of the index, and the terminal. Nothing is changed by
    looking, and no picture is named. With --cluster also its machines, and whether they see the directories of the
    index. A line that begins with ! is a problem, and says what to do.

    Example: imgidx doctor --json | jq .problems

    Exit codes: 0 looked, whatever was found.
    """
    from image_index.present.doctor import report_record, report_text
    from image_index.present.jsonl import json_line
    from image_index.upkeep.doctor import examine

    setup = common(index)
    report, terminal = examine(setup.home, cluster=cluster, path_map=path_map(cluster, map)), _terminal()
    write(json_line(report_record(report, terminal)) if json else report_text(report, terminal))
    return 0


def _terminal() -> Terminal:
    """Describe what stdout is connected to."""
    from image_index.present.doctor import Terminal

    return Terminal(screen(), os.environ.get("TERM"), os.environ.get("COLORTERM"), sys.stdout.encoding)
