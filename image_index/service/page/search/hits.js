/** The hits of the search that the address says: the first page at once, the next ones before they are scrolled to. */
import { batch, computed, effect, signal } from "@preact/signals";
import { place } from "../address.js";
import { ask, Problem } from "../api.js";
import { pathOf } from "../names.js";
import { droppedFile } from "./dropped.js";
import { asked, isByDate, requestOf, terms } from "./query.js";

const FIRST = 60;
const MORE = 500;

/** The hits so far, best first or newest first: objects of the API. */
export const hits = signal([]);

/** Where the next page begins, null where there is none. */
export const next = signal(null);

/** Whether an answer is awaited: "first", "more" or "". */
export const loading = signal("");

/** Why the last request was not answered, null where it was. */
export const problem = signal(null);

/** The search that `hits` are those of, "" for none; it differs from `asked` until the answer is there. */
export const shown = signal("");

const SEEN = "imgidx.last_id";

/** The newest picture at the end of the last visit, 0 on the first: what came since is new. */
export const seenId = Number(localStorage.getItem(SEEN) ?? 0);

let giveUp = new AbortController();
let requested = "";

const isSearching = computed(() => place.value.view === "");

effect(() => {
  if (!isSearching.value || asked.value === requested) return;
  giveUp.abort();
  requested = asked.value;
  if (requested) load(requested, isByDate.value ? MORE : FIRST, null);
  else batch(() => ([hits.value, next.value, problem.value, loading.value, shown.value] = [[], null, null, "", ""]));
});

/** Ask for the next page, unless an answer is awaited already. By date nothing comes of its own: it would stand between. */
export function loadMore({ evenByDate = false } = {}) {
  if (isByDate.value && !evenByDate) return;
  if (!loading.value && next.value && !problem.value) load(asked.value, MORE, next.value);
}

/** Ask again for what was not answered. */
export function tryAgain() {
  load(asked.value, next.value || isByDate.value ? MORE : FIRST, next.value);
}

async function load(wanted, limit, cursor) {
  const control = (giveUp = new AbortController());
  loading.value = cursor ? "more" : "first";
  try {
    const answer = await ask("search", { body: bodyOf(limit, cursor), signal: control.signal });
    localStorage.setItem(SEEN, String(answer.last_id ?? seenId));
    batch(() => {
      hits.value = inOrder(cursor ? [...hits.value, ...answer.hits] : answer.hits);
      [next.value, problem.value, loading.value, shown.value] = [answer.next, null, "", wanted];
    });
  } catch (error) {
    if (control.signal.aborted) return;
    if (!(error instanceof Problem)) throw error;
    batch(() => {
      if (!cursor) [hits.value, next.value] = [[], null];
      [problem.value, loading.value, shown.value] = [error, "", wanted];
    });
  }
}

/** Return hits as they are to be shown: the scores have chosen them, dates may order them. */
function inOrder(found) {
  const newestFirst = (one, other) =>
    one.date === other.date ? (pathOf(one) < pathOf(other) ? -1 : 1) : one.date < other.date ? 1 : -1;
  return isByDate.peek() ? found.toSorted(newestFirst) : found;
}

/** Return the JSON of a search, or the form of one by a picture that was dropped here. */
function bodyOf(limit, cursor) {
  const query = requestOf(limit, cursor);
  const picture = terms.peek().find(({ kind }) => kind === "picture");
  if (!picture) return query;
  const file = droppedFile(picture.value);
  if (!file) throw new Problem("The picture that you searched by went when the page was loaded again. Choose it once more.");
  const form = new FormData();
  form.append("query", JSON.stringify({ ...query, picture_weight: picture.weight }));
  form.append("picture", file, file.name || "picture");
  return form;
}
