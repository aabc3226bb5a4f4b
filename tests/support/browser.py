"""A real browser without a window, driven by Playwright; the browser is the one that the system has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.programs import needed

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
OPTIONS = ("--no-sandbox", "--disable-dev-shm-usage")  # it refuses root without the first; the pages are our own
SIZE = {"width": 1200, "height": 900}
PATIENCE_MS = 60_000
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
LEAST_CONTRAST = """(() => {
  const parse = text => text.match(/[\\d.]+/g).map((n, i) => text.startsWith("color(srgb") && i < 3 ? n * 255 : +n);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = e => { const c = parse(getComputedStyle(e).backgroundColor);
    return c.length > 3 && c[3] === 0 ? ground(e.parentElement) : c };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let least = 21;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.matches("script, style")) continue;
    const [low, high] = [light(parse(getComputedStyle(element).color)), light(ground(element))].sort((a, b) => a - b);
    least = Math.min(least, (high + 0.05) / (low + 0.05));
  }
  return least;
})()"""
"""A script: the least contrast of a text on the page and what it stands on; WCAG 2 asks for 4.5."""


@dataclass(frozen=True)
class Watched:
    """A page of a browser, the addresses that it asked for, and what it complained of."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def outside(self) -> set[str]:
        """The hosts that were asked; those of this machine do not count."""
        return {urlsplit(address).hostname or "" for address in self.requests} - {"", "127.0.0.1"}


@contextmanager
def started() -> Iterator[Browser]:
    """Start a browser, and end it."""
    path = needed(NAMES, "chromium")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as driver, driver.chromium.launch(executable_path=path, args=OPTIONS) as browser:
        yield browser


@contextmanager
def watched(browser: Browser) -> Iterator[Watched]:
    """Open a page that knows nothing of the others: with cookies, storage and a cache of its own."""
    with browser.new_context(viewport=SIZE, reduced_motion="reduce") as context:  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE_MS)
        seen = Watched(context.new_page())
        seen.page.on("request", lambda request: seen.requests.append(request.url[:200]))
        seen.page.on("console", lambda message: seen.complaints.append(message.text))
        seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        yield seen
