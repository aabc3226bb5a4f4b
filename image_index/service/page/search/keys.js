/** What the keys do, for those who ask with `?`. */
import { useSignalEffect } from "@preact/signals";
import { useRef } from "preact/hooks";
import { html } from "../html.js";
import { Icon } from "../icons.js";

const KEYS = [
  [["/"], "to the search box; from there ↓ to the hits"],
  [["←", "→", "↑", "↓"], "from hit to hit, with Shift choosing all on the way"],
  [["d", "D"], "by date: to the next day, to the one before"],
  [["Home", "End", "PgUp", "PgDn"], "further at once"],
  [["Enter"], "open the picture; Esc closes it"],
  [["+", "−"], "more like this, less like this"],
  [["x"], "choose, with Shift up to here"],
  [["Ctrl A", "Esc"], "choose all, choose none"],
  [["i", "c", "z"], "in an open picture: details, copy the path, zoom"],
  [["?"], "these keys"],
];

/** A button that shows the keys. */
export function KeysButton() {
  const dialog = useRef(null);
  useSignalEffect(() => {
    const show = (event) => {
      if (event.key !== "?" || event.target.closest("input, textarea, select, .pswp")) return;
      event.preventDefault();
      if (dialog.current.open) dialog.current.close();
      else dialog.current.showModal();
    };
    addEventListener("keydown", show);
    return () => removeEventListener("keydown", show);
  });
  return html`<button type="button" class="quiet" aria-label="Keys" title="Keys (?)" onClick=${() => dialog.current.showModal()}>
      <${Icon} name="keys" />
    </button>
    <dialog class="keys" ref=${dialog} aria-labelledby="keys-title" onClick=${(event) => event.target === dialog.current && dialog.current.close()}>
      <h2 id="keys-title">Keys</h2>
      <dl class="facts">
        ${KEYS.map(([keys, told]) => html`<dt>${keys.map((key) => html`<kbd>${key}</kbd> `)}</dt><dd>${told}</dd>`)}
      </dl>
    </dialog>`;
}
