/** Where each tile of the grid lies: rows of equal height that fill the width, as in a photo album. */

/** The widest and the narrowest tile, as width by height: a panorama gets no row of its own, a ladder no sliver. */
const WIDEST = 3;
const NARROWEST = 0.5;

/** Return the width by height that a hit has in the grid. */
export function shape({ width, height }) {
  return Math.min(Math.max(width && height ? width / height : 1, NARROWEST), WIDEST);
}

/**
 * Return rows `{top, height, first, tiles: [{left, width}]}` for hits, each at most `tallest` pixels high.
 *
 * Rows that are full never change when hits are added behind them. With `more` to come, a last row that is not full is
 * left out, so that none of its tiles moves later; otherwise it is as high as the one before.
 */
export function rowsOf(hits, { width, tallest, gap, more }) {
  const rows = [];
  let top = 0;
  let first = 0;
  let shapes = 0;
  hits.forEach((hit, at) => {
    shapes += shape(hit);
    const height = (width - (at - first) * gap) / shapes;
    if (height > tallest) return;
    rows.push(rowOf(hits, { first, end: at + 1, top, height, gap }));
    top += height + gap;
    first = at + 1;
    shapes = 0;
  });
  if (first < hits.length && (!more || !rows.length)) {
    const height = Math.min(rows.at(-1)?.height ?? tallest, tallest, (width - (hits.length - first - 1) * gap) / shapes);
    rows.push(rowOf(hits, { first, end: hits.length, top, height, gap }));
  }
  return rows;
}

/**
 * Return the rows of hits that stand under a heading for each day, and the days:
 * `{day, top, first, count}`, the `head` pixels of the heading beginning at `top`.
 */
export function rowsByDay(hits, options, head) {
  const days = [];
  for (const [at, { day }] of hits.entries()) {
    if (days.at(-1)?.day === day) days.at(-1).count++;
    else days.push({ day, first: at, count: 1 });
  }
  const rows = [];
  let top = 0;
  for (const day of days) {
    day.top = top;
    const inside = rowsOf(hits.slice(day.first, day.first + day.count), { ...options, more: false });
    rows.push(...inside.map((row) => ({ ...row, top: row.top + top + head, first: row.first + day.first })));
    top = rows.at(-1).top + rows.at(-1).height + options.gap;
  }
  return { rows, days };
}

function rowOf(hits, { first, end, top, height, gap }) {
  let left = 0;
  const tiles = hits.slice(first, end).map((hit) => {
    const tile = { left, width: shape(hit) * height };
    left += tile.width + gap;
    return tile;
  });
  return { top, height, first, tiles };
}

/** Return the part of `rows` that lies between two heights. */
export function rowsBetween(rows, from, to) {
  return rows.slice(firstBelow(rows, from), firstAt(rows, to));
}

/** Return the number of the row that the hit `at` stands in. */
export function rowWith(rows, at) {
  return firstWhere(rows, (row) => row.first + row.tiles.length > at);
}

const firstBelow = (rows, height) => firstWhere(rows, (row) => row.top + row.height > height);
const firstAt = (rows, height) => firstWhere(rows, (row) => row.top > height);

/** Return the first row for which `is` holds, by halving: it holds for all that follow. */
function firstWhere(rows, is) {
  let [low, high] = [0, rows.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (is(rows[middle])) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Return the hit that lies `step` rows above or below the hit `at`, next to it from left to right. */
export function inOtherRow(rows, at, step) {
  const here = rowWith(rows, at);
  const there = rows[Math.min(Math.max(here + step, 0), rows.length - 1)];
  const row = rows[here];
  if (!row || there === row) return at;
  const tile = row.tiles[at - row.first];
  const middle = tile.left + tile.width / 2;
  const distance = ({ left, width }) => Math.abs(left + width / 2 - middle);
  const nearest = there.tiles.reduce((best, one, n) => (distance(one) < distance(there.tiles[best]) ? n : best), 0);
  return there.first + nearest;
}
