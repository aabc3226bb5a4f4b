/**
 * The address bar is the state: `/duplicates?exact=true` is a view and its parameters.
 *
 * Every view lies one level below the root, so that a relative address means the same in each of them, also below the
 * path of a proxy.
 */
import { signal } from "@preact/signals";

/** Where the server begins: `http://127.0.0.1:8000/`, or `https://example.org/pictures/` behind a proxy. */
export const root = new URL(".", location.href);

/** The view that is shown, by the name in the path ("" is the search), and its parameters. */
export const place = signal(read());

function read() {
  const { pathname, searchParams } = new URL(location.href);
  return { view: decodeURI(pathname.slice(root.pathname.length)), params: searchParams };
}

/** Return the address of a view: `address("failures")`, `address("", new URLSearchParams({text: "a cat"}))`. */
export function address(view, params = new URLSearchParams()) {
  const url = new URL(view, root);
  url.search = new URLSearchParams(params);
  return url.href;
}

/** Go to a view; with `replace` the back button does not come back to where we are. */
export function go(view, params, { replace = false } = {}) {
  const href = address(view, params);
  if (href === location.href) return;
  history[replace ? "replaceState" : "pushState"](null, "", href);
  const isOtherView = view !== place.peek().view;
  place.value = read();
  if (isOtherView) scrollTo(0, 0);
}

addEventListener("popstate", () => {
  place.value = read();
});

/** Let a link inside the page change the view without loading the page again. */
export function followLink(event) {
  const link = event.target.closest?.("a[href]");
  const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
  if (!link || !plain || link.target || link.hasAttribute("download") || event.defaultPrevented) return;
  const url = new URL(link.href);
  const view = url.pathname.slice(root.pathname.length);
  if (url.origin !== root.origin || !url.pathname.startsWith(root.pathname) || view.includes("/")) return;
  event.preventDefault();
  go(view, url.searchParams);
}
