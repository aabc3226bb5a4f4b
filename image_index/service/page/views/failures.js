/** The view "Failures". */
import { html } from "../html.js";

export function Failures() {
  return html`<section class="empty"><h1>Failures</h1></section>`;
}
