/** A picture in the grid. */
import { useSignal } from "@preact/signals";
import { useLayoutEffect } from "preact/hooks";
import { api } from "../api.js";
import { html } from "../html.js";
import { Icon } from "../icons.js";
import { countText, distanceText, nameOf } from "../names.js";
import { chosen } from "./selection.js";
import { addTerm } from "./query.js";
import { load } from "./thumbnails.js";

const SIDES = [128, 256, 512];

/** Return the smallest side of a thumbnail that fills so many pixels of the page. */
export function sideFor(pixels) {
  const wanted = pixels * devicePixelRatio * 0.85; // a little softness costs less than four times the bytes
  return SIDES.find((side) => side >= wanted) ?? SIDES.at(-1);
}

/** Return what a screen reader says of a hit. */
export function toldOf(hit) {
  const sigma = hit.sigma === null ? "" : `, ${hit.sigma.toFixed(1)} sigma`;
  const distance = hit.distance_km === undefined ? "" : `, ${distanceText(hit)} away`;
  return `${nameOf(hit)}, number ${countText(hit.rank)}${sigma}${distance}, ${hit.day}`;
}

/**
 * The tile of the hit `at`; its buttons are for the mouse alone: keys do the same, and the lightbox has them too.
 */
export function Tile({ hit, at, box, isCurrent, place, onPress, onChoose }) {
  const picture = useSignal("");
  const isGone = useSignal(false);
  const src = api(`images/${hit.id}/thumbnail`, { side: sideFor(Math.max(box.width, box.height)) });
  useLayoutEffect(() => load(src, (isThere) => (isThere ? (picture.value = src) : (isGone.value = true))), [src]);
  const isChosen = chosen.value.has(hit.id);
  const style = { left: `${box.left}px`, top: `${box.top}px`, width: `${box.width}px`, height: `${box.height}px` };
  const stop = (act) => (event) => {
    event.stopPropagation();
    act(event);
  };
  return html`<div
    class="hit" role="option" id=${`hit-${at}`} data-at=${at} style=${style} tabindex=${isCurrent ? 0 : -1}
    aria-selected=${isChosen} aria-label=${toldOf(hit)} aria-posinset=${place.number} aria-setsize=${place.of}
    onClick=${(event) => onPress(event, at)}
  >
    ${isGone.value && html`<span class="gone"><${Icon} name="failures" /><span dir="auto">${nameOf(hit)}</span></span>`}
    ${picture.value && !isGone.value && html`<img src=${picture} alt="" decoding="async" draggable=${false} />`}
    <span class="about" aria-hidden="true"><span class="word" dir="auto">${nameOf(hit)}</span>${hit.distance_km !== undefined && html`<span class="number">${distanceText(hit)}</span>`}${hit.sigma !== null && html`<span class="number">${hit.sigma.toFixed(1)} σ</span>`}</span>
    <span class="tools" aria-hidden="true">
      <button type="button" class="choose" tabindex="-1" title="Choose (x)" onClick=${stop((event) => onChoose(event, at))}><${Icon} name="check" /></button>
      <button type="button" tabindex="-1" title="More like this (+)" onClick=${stop(() => addTerm("image", hit.id))}><${Icon} name="plus" /></button>
      <button type="button" tabindex="-1" title="Less like this (-)" onClick=${stop(() => addTerm("image", hit.id, -0.5))}><${Icon} name="minus" /></button>
    </span>
  </div>`;
}
