/** The search: its terms and filters, the grid of hits, and what is said where there are none. */
import { useEffect } from "preact/hooks";
import { useAnswer } from "../api.js";
import { html } from "../html.js";
import { countText } from "../names.js";
import { DropPlace, searchFor } from "../search/box.js";
import { Filters, SigmaSlider, SortChoice } from "../search/filters.js";
import { Grid } from "../search/grid.js";
import { hits, loading, loadMore, next, problem, shown, tryAgain } from "../search/hits.js";
import { KeysButton } from "../search/keys.js";
import { followAddress } from "../search/lightbox.js";
import { asked, filters, isByDate, minSigma, setParam } from "../search/query.js";
import { SelectionBar } from "../search/selection.js";
import { SizeButtons } from "../search/size.js";
import { Terms } from "../search/terms.js";
import { go, place } from "../address.js";

const EXAMPLES = ["a dog on the beach", "sunset over water", "people at a table", "a red car"];

export function Search() {
  useEffect(followAddress, []);
  return html`<div class="search">
    <h1 class="unseen">Search</h1>
    ${asked.value ? html`<${Found} />` : html`<${Nothing} />`}
    <${SelectionBar} />
    <${DropPlace} />
  </div>`;
}

function Found() {
  const isWaiting = loading.value === "first" && asked.value !== shown.value;
  return html`
    <div class="tools-bar">
      <${Filters} />
      <${Terms} />
      <div class="tools-end">
        <${SortChoice} />
        <${SigmaSlider} />
        <output class="soft number" aria-live="polite">${countOf()}</output>
        <${SizeButtons} />
        <${KeysButton} />
      </div>
    </div>
    <div class=${isWaiting ? "found waiting" : "found"} aria-busy=${isWaiting}>
      ${hits.value.length > 0 && html`<${Grid} />`}
      ${hits.value.length > 0 && isByDate.value && next.value && html`<p class="more">
        <button type="button" onClick=${() => loadMore({ evenByDate: true })}>Also show what is less close</button>
      </p>`}
      ${problem.value ? html`<${Failed} />` : !hits.value.length && shown.value && html`<${None} />`}
    </div>
  `;
}

function countOf() {
  const many = hits.value.length;
  if (!many) return "";
  if (next.value) return `${countText(many)}+ pictures`;
  return many === 1 ? "1 picture" : `${countText(many)} pictures`;
}

function Failed() {
  return html`<section class="empty" role="alert">
    <h2>This did not work</h2>
    <p dir="auto">${problem.value.message}</p>
    <button type="button" onClick=${tryAgain}>Try again</button>
  </section>`;
}

function None() {
  const isFiltered = filters.value.length > 0;
  const withoutFilters = () => {
    const params = new URLSearchParams(place.value.params);
    for (const [name] of filters.value) params.delete(name);
    params.delete("min_sigma");
    go("", params);
  };
  return html`<section class="empty">
    <h2>No picture fits</h2>
    <p>${isFiltered ? "No picture that the filters let through is near enough." : minSigma.value !== null ? "No picture is as close as you ask." : "The index has no picture yet. imgidx train DIRECTORY fills it."}</p>
    ${isFiltered && html`<button type="button" onClick=${withoutFilters}>Search without the filters</button>`}
    ${!isFiltered && minSigma.value !== null && html`<button type="button" onClick=${() => setParam("min_sigma", [])}>Show what is nearest</button>`}
  </section>`;
}

/** What is there before anything is asked for. */
function Nothing() {
  const status = useAnswer(() => ["status"]);
  const { answer, problem: trouble } = status.value;
  if (trouble) return html`<section class="empty" role="alert"><h2>The index does not answer</h2><p dir="auto">${trouble.message}</p></section>`;
  if (!answer) return null;
  if (!answer.images) {
    return html`<section class="empty">
      <h2>The index is empty</h2>
      <p>Fill it with <code>imgidx train DIRECTORY</code>, or start a session under Sessions.</p>
    </section>`;
  }
  return html`<section class="empty welcome">
    <h2>${countText(answer.images)} pictures, found by what they show</h2>
    <p>Describe one in your own words, or drop, paste or choose a picture to find others like it.</p>
    <p class="examples">
      ${EXAMPLES.map((words) => html`<button type="button" onClick=${() => searchFor(words)}>${words}</button>`)}
    </p>
  </section>`;
}
