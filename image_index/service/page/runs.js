/** How a run of `imgidx train` went: its counts, and where its seconds went. */
import { html } from "./html.js";
import { countText, printable } from "./names.js";
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
  return html`<span class="figures">${texts.join(", ") || "nothing embedded"}</span>`;
}

/** Seconds per stage as bars; those of several children are added up, so together they may exceed the time that passed. */
export function StageBars({ seconds }) {
  const found = Object.entries(seconds).filter(([, spent]) => spent >= 0.05);
  const bars = found.map(([stage, spent]) => [STAGES[stage] ?? stage, spent, durationText(spent)]);
  return html`<${Bars} label="Time in each stage" of=${bars} />`;
}

/** What each machine of a cluster has embedded, as bars. */
export function MachineBars({ machines }) {
  const bars = machines.map(({ name, pictures, pictures_per_second: speed }) => {
    const text = `${countText(pictures)} pictures${speed ? `, ${speed.toFixed(1)} pictures/s` : ""}`;
    return [printable(name), pictures, text];
  });
  return html`<${Bars} label="What each machine has embedded" of=${bars} />`;
}

/** Bars of `[name, value, text]`; the largest value takes the whole width. */
function Bars({ label, of: bars }) {
  const most = Math.max(...bars.map(([, value]) => value), Number.MIN_VALUE);
  if (!bars.length) return null;
  return html`<dl class="bars" aria-label=${label}>
    ${bars.map(
      ([name, value, text]) => html`<dt>${name}</dt>
        <dd><span class="length" style=${{ width: `${(100 * value) / most}%` }}></span><span class="number">${text}</span></dd>`,
    )}
  </dl>`;
}
