/** How large the tiles are: the user's choice, kept by the browser. */
import { signal, computed } from "@preact/signals";
import { html } from "../html.js";
import { Icon } from "../icons.js";

const KEY = "imgidx.size";
const HEIGHTS = [90, 130, 180, 240, 320];

const size = signal(Math.min(Math.max(Number(localStorage.getItem(KEY) ?? 2), 0), HEIGHTS.length - 1));
const isNarrow = signal(false);
const narrow = matchMedia("(max-width: 720px)");
const look = () => (isNarrow.value = narrow.matches);
narrow.addEventListener("change", look);
look();

/** The height that no row exceeds, in pixels. */
export const tallest = computed(() => HEIGHTS[size.value] * (isNarrow.value ? 0.75 : 1.15));

function change(step) {
  size.value = Math.min(Math.max(size.value + step, 0), HEIGHTS.length - 1);
  localStorage.setItem(KEY, String(size.value));
}

/** Two buttons: smaller and larger. */
export function SizeButtons() {
  return html`<div class="sizes" role="group" aria-label="Size of the tiles">
    <button type="button" class="quiet" aria-label="Smaller" disabled=${size.value === 0} onClick=${() => change(-1)}><${Icon} name="smaller" /></button>
    <button type="button" class="quiet" aria-label="Larger" disabled=${size.value === HEIGHTS.length - 1} onClick=${() => change(1)}><${Icon} name="larger" /></button>
  </div>`;
}
