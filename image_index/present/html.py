"""A contact sheet: one HTML page with everything inside, pure."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from html import escape
from os.path import basename, dirname
from urllib.parse import quote_from_bytes

from image_index.paths import printable
from image_index.records import ImageFacts


@dataclass(frozen=True, slots=True)
class Item:
    """A picture on the sheet: a WebP thumbnail, or None and the `problem`; `badge` is its rank or the like."""

    image: ImageFacts
    badge: str
    caption: str
    thumbnail: bytes | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Pictures under a heading; without a heading, under none."""

    heading: str
    items: Iterable[Item]


def sheet(title: str, subtitle: str, sections: Iterable[Section]) -> Iterator[str]:
    """Yield the page in pieces, one a picture; it loads nothing, and its policy forbids the browser to."""
    policy = f"default-src 'none'; img-src data:; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; "
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}base-uri 'none'; form-action 'none'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{_text(title)}</title>\n<style>{_STYLE}</style></head>'
        f'<body><header><h1 dir="auto">{_text(title)}</h1><p>{_text(subtitle)}</p><output id="place"></output>'
        '<button type="button" id="keys">Keys <kbd>?</kbd></button></header>\n<main>'
    )
    for section in sections:
        heading = f'<h2 dir="auto">{_text(section.heading)}</h2>' if section.heading else ""
        yield f'<section>{heading}<ul role="list">\n'
        yield from map(_figure, section.items)
        yield "</ul></section>\n"
    yield f"</main>{_HELP}<script>{_SCRIPT}</script></body></html>\n"


def _figure(item: Item) -> str:
    image = item.image
    name = _text(basename(image.path))
    if item.thumbnail is None:
        picture = f'<span class="none" role="img" aria-label="{name}">{_text(item.problem)}</span>'
    else:
        picture = (
            f'<img alt="{name}" decoding="async" src="data:image/webp;base64,{b64encode(item.thumbnail).decode()}">'
        )
    date = f"{datetime.fromtimestamp(image.date_s):%Y-%m-%d}"
    return (
        f'<li><a href="file://{quote_from_bytes(image.path)}" title="{_text(image.path)}"><figure>'
        f'<div class="frame">{picture}</div><figcaption>'
        f'<span class="name"><b>{_text(item.badge)}</b> <bdi aria-hidden="true">{name}</bdi></span>'
        f"<bdi>{_text(basename(dirname(image.path)))}</bdi><span>{_text(item.caption)}</span>"
        f"<span>{date} \u00b7 {image.picture.width}\u00d7{image.picture.height}</span></figcaption></figure></a></li>\n"
    )


def _text(text: str | bytes) -> str:
    return escape(printable(text))


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


# `content-visibility` keeps a thousand pictures as quick to scroll as ten: what is out of sight is not laid out.
_STYLE = """
:root { --page: #f5f5f3; --card: #fff; --frame: #ececea; --ink: #1c1c1f; --soft: #5a5a60; --line: #dededa;
  --mark: #0b5cc9; --tile: 190px }
@media (prefers-color-scheme: dark) {
  :root { --page: #141416; --card: #1f1f22; --frame: #29292d; --ink: #f0f0f2; --soft: #adadb4; --line: #34343a;
    --mark: #7db5ff }
}
* { box-sizing: border-box }
body { margin: 0; padding: 0 clamp(.75rem, 3vw, 2.5rem) 2.5rem; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif }
header { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; align-items: baseline;
  gap: .25rem 1rem; margin: 0 calc(-1 * clamp(.75rem, 3vw, 2.5rem)) 1.25rem; background: var(--page);
  padding: .9rem clamp(.75rem, 3vw, 2.5rem); border-bottom: 1px solid var(--line) }
h1 { font-size: 1.35rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere;
  display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; overflow: hidden }
h2 { font-size: 1.05rem; margin: 1.9rem 0 .7rem; overflow-wrap: anywhere }
header p { margin: 0; color: var(--soft); flex: 1 0 auto }
output { color: var(--soft); font-variant-numeric: tabular-nums }
button { font: inherit; color: var(--ink); background: var(--card); border: 1px solid var(--line);
  border-radius: 7px; padding: .15rem .6rem; cursor: pointer }
kbd { display: inline-block; min-width: 1.5em; padding: 0 .35em; text-align: center; font: inherit; font-size: .8rem;
  border: 1px solid var(--line); border-radius: 4px; background: var(--frame) }
ul { list-style: none; margin: 0; padding: 0; display: grid; gap: 14px;
  grid-template-columns: repeat(auto-fill, minmax(min(var(--tile), 45%), 1fr)) }
li { content-visibility: auto; contain-intrinsic-size: auto 280px; min-width: 0 }
a { display: block; height: 100%; color: inherit; text-decoration: none; background: var(--card); overflow: hidden;
  border: 1px solid var(--line); border-radius: 9px; scroll-margin: 5rem 0 1rem }
a:hover { border-color: var(--mark) }
a:focus-visible { outline: 3px solid var(--mark); outline-offset: -3px }
button:focus-visible { outline: 3px solid var(--mark); outline-offset: 1px }
figure { margin: 0 }
.frame { aspect-ratio: 7 / 6; background: var(--frame); padding: 7px }
img { display: block; width: 100%; height: 100%; object-fit: scale-down }
.none { display: grid; place-items: center; height: 100%; padding: 1rem; text-align: center; color: var(--soft);
  overflow: hidden; overflow-wrap: anywhere }
figcaption { padding: .5rem .65rem .6rem; color: var(--soft); font-size: .8rem; font-variant-numeric: tabular-nums }
figcaption > * { display: block; white-space: nowrap; overflow: hidden; text-overflow: ellipsis }
.name { font-size: .9rem; color: var(--ink) }
b { margin-right: .2em; color: var(--mark) }
b:empty { display: none }
dialog { color: var(--ink); background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 1.2rem 1.6rem; max-width: min(30rem, 90vw) }
dialog::backdrop { background: rgb(0 0 0 / .45) }
dl { display: grid; grid-template-columns: auto 1fr; gap: .5rem 1rem; margin: 0; align-items: baseline }
dd { margin: 0 }
@media (max-width: 32rem) { header { position: static } a { scroll-margin-top: 1rem } }
@media print { header { position: static } li { content-visibility: visible; break-inside: avoid } }
"""

_HELP = """<dialog id="help" aria-label="Keys"><dl>
<dt><kbd>\u2190</kbd> <kbd>\u2192</kbd> <kbd>\u2191</kbd> <kbd>\u2193</kbd></dt><dd>from picture to picture</dd>
<dt><kbd>Home</kbd> <kbd>End</kbd></dt><dd>the first, the last</dd>
<dt><kbd>Enter</kbd></dt><dd>open the picture</dd>
<dt><kbd>+</kbd> <kbd>-</kbd></dt><dd>larger, smaller</dd>
<dt><kbd>?</kbd></dt><dd>these keys; <kbd>Esc</kbd> closes them</dd>
</dl></dialog>"""

_SCRIPT = """
"use strict";
const links = [...document.querySelectorAll("main a")], last = links.length - 1;
const help = document.getElementById("help"), place = document.getElementById("place");
const tiles = [110, 150, 190, 250], root = document.documentElement;
let at = -1, tile = 2;

document.getElementById("keys").onclick = () => help.showModal();
for (const link of links) link.tabIndex = -1;
if (links.length) links[0].tabIndex = 0;

addEventListener("focusin", event => {
  const to = links.indexOf(event.target);
  if (to < 0) return;
  links[Math.max(at, 0)].tabIndex = -1;
  links[to].tabIndex = 0;
  at = to;
  place.value = `${at + 1} of ${links.length}`;
});

// The picture of the next row, up or down, that is nearest to this one from left to right.
const box = i => links[i].parentElement.getBoundingClientRect();
const inRow = step => {
  const here = box(at);
  let best = at, gap = Infinity, top = null;
  for (let i = at + step; links[i]; i += step) {
    const there = box(i);
    if (Math.abs(there.top - here.top) < 2) continue;
    top ??= there.top;
    if (Math.abs(there.top - top) > 2) break;
    const distance = Math.abs(there.left - here.left);
    if (distance < gap) [best, gap] = [i, distance];
  }
  return best;
};
const targets = {
  ArrowRight: () => Math.min(at + 1, last), ArrowLeft: () => Math.max(at - 1, 0),
  ArrowDown: () => inRow(1), ArrowUp: () => inRow(-1), Home: () => 0, End: () => last,
};
const resize = step => {
  tile = Math.min(Math.max(tile + step, 0), tiles.length - 1);
  root.style.setProperty("--tile", `${tiles[tile]}px`);
  if (at >= 0) links[at].scrollIntoView({ block: "nearest" });
};
addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "?") return help.open ? help.close() : help.showModal();
  if (help.open || !links.length) return;
  if ("+=-".includes(event.key)) return resize(event.key === "-" ? -1 : 1);
  const target = targets[event.key];
  if (!target) return;
  event.preventDefault();
  const link = links[at < 0 && event.key.startsWith("Arrow") ? 0 : target()];
  link.focus({ preventScroll: true });
  link.scrollIntoView({ block: "nearest" });
});
"""
