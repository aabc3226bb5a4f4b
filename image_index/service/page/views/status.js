/** The view "Status". */
import { html } from "../html.js";

export function Status() {
  return html`<section class="empty"><h1>Status</h1></section>`;
}
