/** What the server answers: JSON, or a problem with a sentence for people. */
import { useComputed, useSignal, useSignalEffect } from "@preact/signals";
import { root } from "./address.js";

/** Why a request was not answered: `message` is the sentence of the problem+json. */
export class Problem extends Error {
  constructor(sentence, status = 0, exitCode = null) {
    super(sentence);
    Object.assign(this, { status, exitCode });
  }
}

/** Return the address of a path of the API: `api("images/7/thumbnail", {side: 256})`. */
export function api(path, params = {}) {
  const url = new URL(`api/v1/${path}`, root);
  url.search = new URLSearchParams(params);
  return url.href;
}

/**
 * Return what the server answers to a path of the API, as an object; raise `Problem`.
 *
 * A `body` is sent by POST: a FormData as a form, anything else as JSON. `params` and `signal` (to give up) may be
 * left out. A problem that nobody catches is shown to the user (see notices.js).
 */
export async function ask(path, options = {}) {
  return (await send(path, options)).json();
}

/** Return the response itself, for what is no JSON; raise `Problem`. */
export async function send(path, { params, body, signal } = {}) {
  const asked = { signal };
  if (body !== undefined) {
    asked.method = "POST";
    asked.body = body instanceof FormData ? body : JSON.stringify(body);
    if (!(body instanceof FormData)) asked.headers = { "Content-Type": "application/json" };
  }
  let response;
  try {
    response = await fetch(api(path, params), asked);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server does not answer. Is imgidx serve still running?");
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

async function problemOf(response) {
  if (response.status === 401) {
    return new Problem("The server has been started anew. Open the address that it printed then.", 401);
  }
  const told = await response.json().catch(() => ({}));
  return new Problem(told.detail ?? `The server answered ${response.status}.`, response.status, told.exit_code);
}

/**
 * Return a signal of what the server answers to a path: `{answer, problem, isLoading}`.
 *
 * `wanted` returns `[path, params]`, or null for nothing, and is called again whenever a signal that it reads changes.
 * The old answer stays until the new one is there. Calling `reload` on the signal asks again.
 */
export function useAnswer(wanted) {
  const state = useSignal({ answer: null, problem: null, isLoading: true });
  const count = useSignal(0);
  useSignalEffect(() => {
    count.value;
    const asked = wanted();
    if (!asked) return;
    const giveUp = new AbortController();
    state.value = { ...state.peek(), isLoading: true };
    ask(asked[0], { params: asked[1], signal: giveUp.signal }).then(
      (answer) => (state.value = { answer, problem: null, isLoading: false }),
      (problem) => giveUp.signal.aborted || (state.value = { answer: null, problem, isLoading: false }),
    );
    return () => giveUp.abort();
  });
  state.reload = () => count.value++;
  return state;
}

/**
 * Return a signal of the pages of an answer, joined: `{items, problem, isLoading, hasMore}`; `more()` asks for the next.
 *
 * `wanted` is as in `useAnswer`; `key` is what the list is called in the answer: "failures", "groups", "hits".
 */
export function usePages(wanted, key) {
  const pages = useSignal({ items: [], next: null, problem: null, isLoading: true });
  const giveUp = useSignal(null);
  const load = async (cursor) => {
    const [path, params] = wanted();
    giveUp.peek()?.abort();
    const control = (giveUp.value = new AbortController());
    const items = cursor ? pages.peek().items : [];
    pages.value = { ...pages.peek(), isLoading: true };
    try {
      const all = new URLSearchParams(params);
      if (cursor) all.set("cursor", cursor);
      const answer = await ask(path, { params: all, signal: control.signal });
      pages.value = { items: [...items, ...answer[key]], next: answer.next, problem: null, isLoading: false };
    } catch (problem) {
      if (!control.signal.aborted) pages.value = { items, next: cursor, problem, isLoading: false };
    }
  };
  useSignalEffect(() => {
    wanted();
    load(null);
    return () => giveUp.peek()?.abort();
  });
  const shown = useComputed(() => ({ ...pages.value, hasMore: pages.value.next !== null }));
  return Object.assign(shown, {
    more: () => !pages.peek().isLoading && pages.peek().next && load(pages.peek().next),
    reload: () => load(null),
  });
}
