/** Icons: lines of 24 by 24, in the colour of the text beside them. */
import { html } from "./html.js";

const PATHS = {
  close: "M6 6l12 12M18 6 6 18",
  search: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM15.5 15.5 20 20",
  duplicates: "M8 8h12v12H8zM16 8V4H4v12h4",
  failures: "M12 4 2.8 20h18.4zM12 10v4.5M12 17.2v.3",
  sessions: "M4 12a8 8 0 0 1 14-5.3M20 4v4h-4M20 12a8 8 0 0 1-14 5.3M4 20v-4h4",
  status: "M4 20V10M10 20V4M16 20v-8M21 20H3",
};

/** An icon of that name; it says nothing to a screen reader, so the button around it needs a label. */
export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d=${PATHS[name]} /></svg>`;
}
