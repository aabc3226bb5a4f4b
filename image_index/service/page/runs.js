/** How a run of `imgidx train` went: its counts, and where its seconds went. */
import { html } from "./html.js";
import { countText } from "./names.js";
import { durationText } from "./times.js";

const COUNTS = {
  embedded: "embedded",
  unchanged: "unchanged",
  moved: "moved",
  missing: "missing",
  failed: "failed",
  not_on_disk: "not on this disk",
};

const STAGES = {
  scan: "looking through directories",
  load: "loading the model",
  read: "reading files",
  decode: "decoding pictures",
  forward: "embedding",
  idle: "models waiting for pictures",
  store: "storing",
  index: "building the index",
};

/** The counts of a run that are not zero, in a line. */
export function Counts({ of }) {
  const parts = Object.entries(COUNTS).filter(([key]) => of[key]);
  const texts = parts.map(([key, word]) => `${countText(of[key])} ${word}`);
  return html`<span class="number">${texts.join(", ") || "nothing was new"}</span>`;
}

/** Seconds per stage as bars; those of several children are added up, so together they may exceed the time that passed. */
export function StageBars({ seconds }) {
  const found = Object.entries(seconds).filter(([, spent]) => spent >= 0.05);
  const most = Math.max(...found.map(([, spent]) => spent));
  if (!found.length) return null;
  return html`<dl class="stages">
    ${found.map(
      ([stage, spent]) => html`<dt>${STAGES[stage] ?? stage}</dt>
        <dd>
          <span class="stage" style=${{ width: `${(100 * spent) / most}%` }}></span>
          <span class="number">${durationText(spent)}</span>
        </dd>`,
    )}
  </dl>`;
}
