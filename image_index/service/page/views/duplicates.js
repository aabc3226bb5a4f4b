/** The view "Duplicates". */
import { html } from "../html.js";

export function Duplicates() {
  return html`<section class="empty"><h1>Duplicates</h1></section>`;
}
