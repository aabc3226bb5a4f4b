/** What several views show: a heading, a view that is empty, a problem, the way to the next page. */
import { html } from "./html.js";

/** The heading of a view; to the right of it stand the children, what can be done here. */
export function Head({ title, children }) {
  return html`<header class="head"><h1>${title}</h1><div class="actions">${children}</div></header>`;
}

/** What a view shows in place of things that there are none of. */
export function Empty({ title, children }) {
  return html`<div class="empty"><h2>${title}</h2><p>${children}</p></div>`;
}

/** A problem in place of what it kept from being shown; `again` asks once more. */
export function Trouble({ problem, again }) {
  return html`<div class="empty" role="alert">
    <h2>This could not be shown</h2>
    <p dir="auto">${problem.message}</p>
    <button type="button" onClick=${again}>Try again</button>
  </div>`;
}

/** What `draw` makes of an answer (see `useAnswer`), or that there is none. */
export function Answer({ of, draw }) {
  const { answer, problem } = of.value;
  if (problem) return html`<${Trouble} problem=${problem} again=${of.reload} />`;
  return answer ? draw(answer) : html`<${Waiting} />`;
}

/** What `draw` makes of the items of all pages so far (see `usePages`); `empty` is shown where there are none. */
export function Pages({ of, draw, empty }) {
  const { items, problem, isLoading, hasMore } = of.value;
  return html`
    ${items.length > 0 && draw(items)}
    ${problem && html`<${Trouble} problem=${problem} again=${items.length ? of.more : of.reload} />`}
    ${isLoading && !items.length && html`<${Waiting} />`}
    ${hasMore && !problem && html`<p class="further"><button type="button" disabled=${isLoading} onClick=${of.more}>Show more</button></p>`}
    ${!isLoading && !problem && !items.length && empty}
  `;
}

function Waiting() {
  return html`<p class="moment soft" role="status">One moment …</p>`;
}

/** A path, which may go on in a new line behind each slash; what is copied of it has no line ends. */
export function Path({ of: text, isSoft = false }) {
  const parts = text.split(/(?<=\/)/).map((part) => html`<wbr />${part}`);
  return html`<bdi class=${isSoft ? "path soft" : "path"}>${parts}</bdi>`;
}
