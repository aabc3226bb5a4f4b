/** Short sentences at the edge of the page: what has been done, and problems that nobody else shows. */
import { signal } from "@preact/signals";
import { Problem } from "./api.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";

const SHOWN_MS = 8000;
const MOST = 4;

const notices = signal([]);
let count = 0;

/** Show a sentence for some seconds; `isProblem` marks it as one, and a screen reader says it at once. */
export function notify(sentence, { isProblem = false } = {}) {
  const notice = { id: ++count, sentence, isProblem };
  const others = notices.value.filter((one) => one.sentence !== sentence);
  notices.value = [...others, notice].slice(-MOST);
  setTimeout(() => dismiss(notice.id), SHOWN_MS);
}

function dismiss(id) {
  notices.value = notices.value.filter((one) => one.id !== id);
}

addEventListener("unhandledrejection", (event) => {
  if (!(event.reason instanceof Problem)) return;
  event.preventDefault();
  notify(event.reason.message, { isProblem: true });
});

/** The notices themselves. */
export function Notices() {
  return html`<div class="notices" role="status" aria-live="polite">
    ${notices.value.map(
      ({ id, sentence, isProblem }) => html`<p key=${id} class=${isProblem ? "notice problem" : "notice"}>
        <span dir="auto">${sentence}</span>
        <button type="button" class="quiet" aria-label="Close" onClick=${() => dismiss(id)}><${Icon} name="close" /></button>
      </p>`,
    )}
  </div>`;
}
