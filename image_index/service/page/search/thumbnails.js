/**
 * Thumbnails are loaded a few at a time, and only for tiles that are in the page.
 *
 * A browser has six connections to a server. A hand that scrolls fast would fill them, and the server's queue, with
 * thumbnails that nobody looks at any more: the next hits would wait behind them for seconds.
 */

const MOST_AT_ONCE = 4;

const waiting = new Set();
let loading = 0;

/**
 * Load a picture and call `done`, with whether that worked; the page then shows it at once.
 *
 * Returns a function that gives it up as long as it waits.
 */
export function load(src, done) {
  const one = { src, done };
  waiting.add(one);
  begin();
  return () => waiting.delete(one);
}

function begin() {
  for (const one of waiting) {
    if (loading === MOST_AT_ONCE) return;
    waiting.delete(one);
    loading++;
    const picture = new Image();
    const end = (isThere) => () => {
      loading--;
      one.done(isThere);
      begin();
    };
    [picture.onload, picture.onerror, picture.src] = [end(true), end(false), one.src];
  }
}
