/** The view "Search". */
import { html } from "../html.js";

export function Search() {
  return html`<section class="empty"><h1>Search</h1></section>`;
}
