/** The pictures that are chosen, and what can be done with them. */
import { computed, signal } from "@preact/signals";
import { api, send } from "../api.js";
import { countText } from "../names.js";
import { notify } from "../notices.js";
import { html } from "../html.js";
import { Icon } from "../icons.js";

/** The ids of the chosen pictures; they stay chosen when another search is made. */
export const chosen = signal(new Set());

/** How many are chosen. */
export const count = computed(() => chosen.value.size);

let anchor = 0;

/** Choose a picture, or leave it out again. */
export function toggle(hits, at) {
  const ids = new Set(chosen.value);
  const { id } = hits[at];
  if (!ids.delete(id)) ids.add(id);
  chosen.value = ids;
  anchor = at;
}

/** Choose all pictures from the one that was chosen last to this one. */
export function extend(hits, at) {
  const [from, to] = [Math.min(anchor, at), Math.max(anchor, at)];
  chosen.value = new Set([...chosen.value, ...hits.slice(from, to + 1).map(({ id }) => id)]);
}

/** Let a range that is chosen with keys begin at this picture. */
export function begin(at) {
  anchor = at;
}

/** Choose all these hits. */
export function chooseAll(hits) {
  chosen.value = new Set([...chosen.value, ...hits.map(({ id }) => id)]);
}

/** Choose none. */
export function clear() {
  chosen.value = new Set();
}

const body = () => ({ ids: [...chosen.value] });

async function copyPaths() {
  const text = await (await send("export/paths", { body: body() })).text();
  await copy(text.trimEnd(), `Copied ${count.value === 1 ? "a path" : `${countText(count.value)} paths`}`);
}

/** Put a text on the clipboard and say so; where the browser does not let us, show it to be copied by hand. */
export async function copy(text, done = "Copied") {
  try {
    await navigator.clipboard.writeText(text);
    notify(done);
  } catch {
    prompt("Your browser lets pages copy only over HTTPS or on this machine. Copy it from here:", text);
  }
}

/**
 * Let the browser save what is made of the chosen pictures: by a form, so that this page need not hold gigabytes.
 *
 * What is saved loads no document into the frame; if one is loaded it is a problem, for whose sentence we ask again.
 */
function download(path) {
  const frame = Object.assign(document.createElement("iframe"), { name: `download-${Date.now()}`, hidden: true });
  const form = document.createElement("form");
  Object.assign(form, { method: "post", enctype: "multipart/form-data", action: api(path), target: frame.name, hidden: true });
  form.append(Object.assign(document.createElement("input"), { name: "query", value: JSON.stringify(body()) }));
  document.body.append(frame, form);
  form.submit();
  form.remove();
  frame.onload = async () => {
    if (frame.contentDocument?.URL === "about:blank") return; // the frame's own first document, in Firefox
    frame.remove();
    await (await send(path, { body: body() })).body.cancel();
  };
}

/** The bar that is there as long as something is chosen. */
export function SelectionBar() {
  const many = count.value;
  return html`<div class=${many ? "selection" : "selection away"} role="region" aria-label="Chosen pictures" inert=${!many}>
    <output aria-live="polite">${many ? `${countText(many)} chosen` : ""}</output>
    <button type="button" onClick=${copyPaths}><${Icon} name="copy" />Copy paths</button>
    <button type="button" onClick=${() => download("export/zip")}><${Icon} name="download" />Zip</button>
    <button type="button" onClick=${() => download("export/sheet")}>
      <${Icon} name="sheet" />Contact sheet
    </button>
    <button type="button" class="quiet" onClick=${clear} aria-label="Choose none"><${Icon} name="close" /></button>
  </div>`;
}
