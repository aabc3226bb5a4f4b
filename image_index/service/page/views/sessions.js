/** The view "Sessions". */
import { html } from "../html.js";

export function Sessions() {
  return html`<section class="empty"><h1>Sessions</h1></section>`;
}
