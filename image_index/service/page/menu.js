/** A button that opens a panel beside it. */
import { useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { html } from "./html.js";

const CLOSING = ["pointerdown", "keydown"];

/** A button with a `label`, and the panel that it opens: what `draw` makes, given a function that closes it. */
export function Menu({ label, draw }) {
  const details = useRef(null);
  const isOpen = useSignal(false);
  const close = () => {
    details.current.open = false;
    details.current.firstChild.focus();
  };
  // not useSignalEffect: that one waits for the next frame, and a key may come before it
  useLayoutEffect(() => {
    if (!isOpen.value) return;
    const look = (event) => {
      if (event.key === "Escape") close();
      else if (!event.key && !details.current.contains(event.target)) details.current.open = false;
    };
    for (const name of CLOSING) addEventListener(name, look);
    return () => {
      for (const name of CLOSING) removeEventListener(name, look);
    };
  }, [isOpen.value]);
  return html`<details class="menu" ref=${details} onToggle=${(event) => (isOpen.value = event.currentTarget.open)}>
    <summary class="button">${label}</summary>
    <div class="panel card">${isOpen.value && draw(close)}</div>
  </details>`;
}
