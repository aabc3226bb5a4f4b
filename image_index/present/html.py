"""A contact sheet: one HTML page with everything inside, pure."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from html import escape
from os.path import basename
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
        f'<body><header><h1 dir="auto">{_text(title)}</h1><p>{_text(subtitle)}</p>'
        '<button type="button" id="keys">Keys (?)</button></header>\n<main>'
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
        f'<div class="frame">{picture}<b>{_text(item.badge)}</b></div><figcaption>'
        f'<bdi class="name" aria-hidden="true">{name}</bdi><span>{_text(item.caption)}</span>'
        f"<span>{date} \u00b7 {image.width}\u00d7{image.height}</span></figcaption></figure></a></li>\n"
    )


def _text(text: str | bytes) -> str:
    return escape(printable(text))


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


_STYLE = """
:root{--page:#f6f6f4;--card:#fff;--frame:#ebebe8;--ink:#1d1d1f;--soft:#5c5c61;--line:#dcdcd8;--mark:#0a5fd0}
@media(prefers-color-scheme:dark){:root{--page:#161618;--card:#212124;--frame:#2b2b2f;--ink:#f0f0f2;--soft:#ababb2;
--line:#36363b;--mark:#7ab4ff}}
*{box-sizing:border-box}
body{margin:0;padding:1.5rem clamp(.75rem,3vw,2.5rem);background:var(--page);color:var(--ink);
font:15px/1.45 system-ui,sans-serif}
header{display:flex;flex-wrap:wrap;align-items:baseline;gap:.25rem 1rem;margin-bottom:1.25rem}
h1{font-size:1.5rem;margin:0;overflow-wrap:anywhere}h2{font-size:1.1rem;margin:1.75rem 0 .75rem;overflow-wrap:anywhere}
header p{margin:0;color:var(--soft);flex:1}
button{font:inherit;color:var(--ink);background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.2rem .7rem}
ul{list-style:none;margin:0;padding:0;display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,190px),1fr));gap:14px}
li{content-visibility:auto;contain-intrinsic-size:auto 270px}
a{display:block;color:inherit;text-decoration:none;background:var(--card);border:1px solid var(--line);border-radius:8px;
overflow:hidden;transition:border-color .15s}
a:hover{border-color:var(--mark)}a:focus-visible,button:focus-visible{outline:3px solid var(--mark);outline-offset:-3px}
figure{margin:0}.frame{position:relative;height:180px;background:var(--frame);padding:6px}
img{display:block;width:100%;height:100%;object-fit:contain}
.none{display:grid;place-items:center;height:100%;padding:1rem;text-align:center;color:var(--soft);overflow:hidden}
.frame b{position:absolute;left:6px;top:6px;padding:0 .5em;border-radius:5px;background:var(--card);font-size:.8rem}
.frame b:empty{display:none}figcaption{padding:.5rem .65rem .6rem}figcaption>*{display:block;font-size:.8rem;color:var(--soft);
font-variant-numeric:tabular-nums}
figcaption .name{font-size:.9rem;color:var(--ink);white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
dialog{color:var(--ink);background:var(--card);border:1px solid var(--line);border-radius:10px}
@media(prefers-reduced-motion:reduce){a{transition:none}}
"""

_HELP = """<dialog id="help" aria-label="Keys"><p>Arrow keys: from picture to picture</p><p>Home, End: first, last</p>
<p>Enter: open the picture</p><p>?: these keys; Escape closes them</p></dialog>"""

_SCRIPT = """
const links=[...document.querySelectorAll("main a")],help=document.getElementById("help");
document.getElementById("keys").onclick=()=>help.showModal();
const choose=a=>{for(const l of links)l.tabIndex=l===a?0:-1};
if(links.length)choose(links[0]);
addEventListener("focusin",e=>{const a=e.target.closest("main a");if(a)choose(a)});
const row=(at,step)=>{const box=links[at].getBoundingClientRect();let i=at+step,top=null,best=at,gap=Infinity;
for(;links[i];i+=step){const b=links[i].getBoundingClientRect();if(Math.abs(b.top-box.top)<2)continue;
if(top===null)top=b.top;if(Math.abs(b.top-top)>2)break;
const d=Math.abs(b.left-box.left);if(d<gap){gap=d;best=i}}return best};
addEventListener("keydown",e=>{if(e.ctrlKey||e.metaKey||e.altKey)return;
if(e.key==="?"){help.open?help.close():help.showModal();return}
if(help.open||!links.length)return;
const at=links.indexOf(document.activeElement),last=links.length-1;
const go={ArrowRight:()=>Math.min(at+1,last),ArrowLeft:()=>Math.max(at-1,0),ArrowDown:()=>at<0?0:row(at,1),
ArrowUp:()=>at<0?0:row(at,-1),Home:()=>0,End:()=>last}[e.key];
if(!go)return;e.preventDefault();const a=links[go()];a.focus();a.scrollIntoView({block:"nearest"})});
"""
