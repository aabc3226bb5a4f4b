"""The examples of docs/cron.md are what they claim to be, and this imgidx understands their commands."""

from __future__ import annotations

import configparser
import plistlib
import re
import shlex
from pathlib import Path

import pytest

from image_index.cli.app import WRONG_USE
from image_index.dates import duration_s
from tests.support.commands import parsed, simple_commands

PAGE = (Path(__file__).parents[1] / "docs/cron.md").read_text(encoding="utf-8")
RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def crontab_lines() -> list[tuple[list[str], str]]:
    """Return the five fields and the command of each job in the crontab."""
    (text,) = blocks("crontab")
    lines = [line for line in text.splitlines() if line and not line.startswith("#") and not re.match(r"\w+=", line)]
    return [(line.split(None, 5)[:5], line.split(None, 5)[5]) for line in lines]


def units() -> list[configparser.ConfigParser]:
    """Return the units of systemd."""
    parsed = []
    for text in blocks("ini"):
        unit = configparser.ConfigParser(interpolation=None)
        unit.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
        unit.read_string(text)
        parsed.append(unit)
    return parsed


def all_commands() -> list[list[str]]:
    """Return every imgidx command of the page."""
    scripts = [command for _, command in crontab_lines()]
    scripts += [line for block in blocks("sh") for line in block.splitlines()]
    scripts += [unit["Service"]["ExecStart"] for unit in units() if unit.has_section("Service")]
    scripts += [shlex.join(plistlib.loads(block.encode())["ProgramArguments"]) for block in blocks("xml")]
    scripts += [code for code in re.findall(r"(?<!`)`([^`\n]+)`", PAGE) if code.startswith("imgidx ")]
    return [command for script in scripts for command in simple_commands(script)]


def test_the_fields_of_the_crontab_are_times() -> None:
    """Five fields, each a star or a number in its range; a bare percent sign would end the command."""
    assert len(crontab_lines()) == 2
    for fields, command in crontab_lines():
        for value, (least, most) in zip(fields, RANGES, strict=True):
            assert value == "*" or least <= int(value) <= most, fields
        assert not re.search(r"(?<!\\)%", command)


def test_the_units_are_units() -> None:
    """A service has a command and a type, a timer a time and something to be wanted by."""
    sections = [set(unit.sections()) for unit in units()]
    assert sections == [{"Unit", "Service"}, {"Unit", "Timer", "Install"}, {"Service"}, {"Unit", "Service", "Install"}]
    service, timer, _, watching = units()
    assert service["Service"]["Type"] == "oneshot"
    assert set(service["Service"]["SuccessExitStatus"].split()) >= {"3", "143"}
    assert re.fullmatch(r"\*-\*-\* \d\d:\d\d", timer["Timer"]["OnCalendar"])
    assert watching["Service"]["SuccessExitStatus"] == "143"


def test_the_property_list_is_one() -> None:
    """The file that it is put into is named after its label, and every path in it is absolute."""
    (block,) = blocks("xml")
    job = plistlib.loads(block.encode())
    assert f"LaunchAgents/{job['Label']}.plist" in PAGE
    assert Path(job["ProgramArguments"][0]).is_absolute()
    assert not any("~" in argument for argument in job["ProgramArguments"])


def test_every_imgidx_command_of_the_page_was_found() -> None:
    """Those that matter are among what the next test looks at."""
    assert {command[0] for command in all_commands()} == {"train", "search", "status", "failures", "models", "doctor"}


@pytest.mark.parametrize("command", all_commands(), ids=shlex.join)
def test_our_parser_accepts_every_command(command: list[str]) -> None:
    """Its options exist, and its durations are durations."""
    values = parsed(command)
    for option in ("wait", "time_limit"):
        value = values.get(option)
        assert value is None or duration_s(str(value), option) > 0


def test_our_parser_refuses_what_there_is_not() -> None:
    """Else the test above could not fail."""
    with pytest.raises(WRONG_USE):
        parsed(["train", "--every-night"])
