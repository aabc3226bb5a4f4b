/**
 * The grid of hits: as long as all that were answered, of which only what is near the window is in the page.
 *
 * One tile can be reached with Tab; the arrow keys go from there, as in a list of a desktop program.
 */
import { useComputed, useSignal, useSignalEffect } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { html } from "../html.js";
import { countText } from "../names.js";
import { dayName } from "../times.js";
import { hits, loadMore, next, shown } from "./hits.js";
import { openLightbox } from "./lightbox.js";
import { addTerm, isByDate } from "./query.js";
import { inOtherRow, rowsBetween, rowsByDay, rowsOf, rowWith } from "./rows.js";
import { begin, chooseAll, chosen, clear, extend, toggle } from "./selection.js";
import { tallest } from "./size.js";
import { Tile } from "./tile.js";

/** How much is in the page above and below the window, in windows. */
const OVERSCAN = 1;

/** How far ahead hits are asked for, in windows: little at first, so that the first pictures need not wait for that. */
const AHEAD_AT_FIRST = 1;
const AHEAD = 20;

/** The page is drawn anew when it has been scrolled by so many pixels. */
const STEP = 100;

const GAP = 8;

/** How high the heading of a day is, with what is above it. */
const HEAD = 44;

/** The grid. */
export function Grid() {
  const grid = useRef(null);
  const width = useSignal(0);
  const top = useSignal(0);
  const current = useSignal(0);
  const moves = useSignal(0);
  const focused = useRef(0);
  const laid = useComputed(() => {
    const options = { width: width.value, tallest: tallest.value, gap: width.value < 600 ? 4 : GAP, more: next.value !== null };
    if (!width.value) return { rows: [], days: [] };
    return isByDate.value ? rowsByDay(hits.value, options, HEAD) : { rows: rowsOf(hits.value, options), days: [] };
  });
  const rows = useComputed(() => laid.value.rows);
  const height = useComputed(() => (rows.value.length ? rows.value.at(-1).top + rows.value.at(-1).height : 0));

  useLayoutEffect(() => {
    const measure = () => {
      const box = grid.current.getBoundingClientRect();
      width.value = box.width;
      top.value = Math.floor(-box.top / STEP) * STEP;
    };
    const resized = new ResizeObserver(measure);
    resized.observe(grid.current);
    addEventListener("scroll", measure, { passive: true });
    return () => {
      resized.disconnect();
      removeEventListener("scroll", measure);
    };
  }, []);

  useSignalEffect(() => {
    const ahead = top.value > 0 ? AHEAD : AHEAD_AT_FIRST;
    if (height.value && top.value + (1 + ahead) * innerHeight > height.value) loadMore();
  });
  const search = useRef(shown.peek());
  useSignalEffect(() => {
    if (search.current === shown.value) return;
    search.current = shown.value;
    current.value = 0;
    scrollTo(0, 0);
  });

  const move = (to) => {
    current.value = Math.min(Math.max(to, 0), hits.value.length - 1);
    moves.value++; // the tile may not be in the page yet: it gets the focus once it is drawn
  };
  useLayoutEffect(() => {
    if (focused.current === moves.value) return;
    focused.current = moves.value;
    const tile = grid.current.querySelector(`[data-at="${current.value}"]`);
    tile?.focus({ preventScroll: true });
    tile?.scrollIntoView({ block: "nearest" });
  });

  const choose = (event, at) => {
    current.value = at;
    if (event.shiftKey) extend(hits.value, at);
    else toggle(hits.value, at);
  };
  const open = (at) => openLightbox(hits.value[at].id, { onLeave: move });
  const press = (event, at) => {
    current.value = at;
    if (event.shiftKey || event.ctrlKey || event.metaKey) choose(event, at);
    else open(at);
  };
  const keys = (event) => {
    const at = current.value;
    const act = ACTS[event.key] ?? (event.ctrlKey || event.metaKey ? CONTROLLED[event.key] : KEYS[event.key]);
    if (!act || event.altKey || event.target.closest("button")) return;
    event.preventDefault();
    act({ at, event, rows: rows.value, days: laid.value.days, move, open, choose });
  };

  const from = top.value - OVERSCAN * innerHeight;
  const near = rowsBetween(rows.value, from, from + (1 + 2 * OVERSCAN) * innerHeight);
  const kept = rows.value[rowWith(rows.value, current.value)]; // so that the focus is not lost when it is scrolled away
  const drawn = !kept || near.includes(kept) ? near : [...near, kept];
  const tiles = ({ first, count }) =>
    drawn.filter((row) => row.first >= first && row.first < first + count).flatMap((row) =>
      row.tiles.map((tile, n) => {
        const at = row.first + n;
        const box = { ...tile, top: row.top, height: row.height };
        return html`<${Tile} key=${hits.value[at].id} hit=${hits.value[at]} at=${at} box=${box} isCurrent=${at === current.value}
          place=${{ number: at - first + 1, of: isByDate.value || next.value === null ? count : -1 }} onPress=${press} onChoose=${choose} />`;
      }),
    );
  return html`<div class="grid" ref=${grid} style=${{ height: `${height.value}px` }} onKeyDown=${keys}>
    ${isByDate.value
      ? laid.value.days.map((one) => html`<${Day} key=${one.day} day=${one} tiles=${tiles(one)} />`)
      : html`<div role="listbox" aria-multiselectable="true" aria-label="Hits">${tiles({ first: 0, count: hits.value.length })}</div>`}
  </div>`;
}

/** A day: its heading, which is always in the page, so that one can go from heading to heading, and its tiles. */
function Day({ day, tiles }) {
  const id = `day-${day.day}`;
  return html`
    <h2 class="day" id=${id} style=${{ top: `${day.top}px` }}>${dayName(day.day)} <span class="soft number">${countText(day.count)}</span></h2>
    ${tiles.length > 0 && html`<div role="listbox" aria-multiselectable="true" aria-labelledby=${id}>${tiles}</div>`}
  `;
}

/** Return what goes to another tile; with Shift all tiles on the way are chosen. */
const going = (where) => (about) => {
  const to = Math.min(Math.max(where(about), 0), hits.value.length - 1);
  if (about.event.shiftKey) {
    if (!chosen.value.has(hits.value[about.at].id)) begin(about.at);
    extend(hits.value, to);
  }
  about.move(to);
};

const rowsInWindow = (rows) => Math.max(1, Math.floor(innerHeight / (rows[0].height + GAP)) - 1);

const ACTS = {
  ArrowRight: going(({ at }) => at + 1),
  ArrowLeft: going(({ at }) => at - 1),
  ArrowDown: going(({ at, rows }) => inOtherRow(rows, at, 1)),
  ArrowUp: going(({ at, rows }) => inOtherRow(rows, at, -1)),
  PageDown: going(({ at, rows }) => inOtherRow(rows, at, rowsInWindow(rows))),
  PageUp: going(({ at, rows }) => inOtherRow(rows, at, -rowsInWindow(rows))),
  Home: going(() => 0),
  End: going(() => hits.value.length - 1),
  Escape: clear,
};

/** Return the first hit of the day that lies `step` days below that of the hit `at`. */
function inOtherDay(days, at, step) {
  const here = days.findLastIndex(({ first }) => first <= at);
  return days[Math.min(Math.max(here + step, 0), days.length - 1)]?.first ?? at;
}

const KEYS = {
  d: ({ at, days, move }) => move(inOtherDay(days, at, 1)),
  D: ({ at, days, move }) => move(inOtherDay(days, at, -1)),
  Enter: ({ at, open }) => open(at),
  " ": ({ at, open }) => open(at),
  x: ({ at, event, choose }) => choose(event, at),
  X: ({ at, event, choose }) => choose(event, at),
  "+": ({ at }) => addTerm("image", hits.value[at].id),
  "-": ({ at }) => addTerm("image", hits.value[at].id, -0.5),
};

const CONTROLLED = { a: () => chooseAll(hits.value) };
