/** What lies around the picture in the lightbox: buttons, facts, and the table of all that is known of it. */
import { signal } from "@preact/signals";
import { address, followLink, place } from "../address.js";
import { useAnswer } from "../api.js";
import { html } from "../html.js";
import { Icon } from "../icons.js";
import { countText, directoryOf, distanceText, nameOf, pathOf, printable, sizeText } from "../names.js";
import { timeText } from "../times.js";
import { addTerm } from "./query.js";
import { chosen, copy } from "./selection.js";

/** Whether the panel of details is open; it stays so from picture to picture. */
export const isDetailed = signal(false);

const like = (swipe, hit, weight) => {
  addTerm("image", hit.id, weight);
  swipe.close();
};
const choose = (hit) => {
  const ids = new Set(chosen.value);
  if (!ids.delete(hit.id)) ids.add(hit.id);
  chosen.value = ids;
};

const KEYS = {
  i: () => (isDetailed.value = !isDetailed.value),
  x: (_, hit) => choose(hit),
  c: (_, hit) => copy(pathOf(hit), "Copied the path"),
  "+": (swipe, hit) => like(swipe, hit, 1),
  "-": (swipe, hit) => like(swipe, hit, -0.5),
};

/** Do what a key asks for; PhotoSwipe itself knows the arrows, z and Escape. */
export function keysOf(event, swipe, hit) {
  const { key, ctrlKey, metaKey, altKey } = event.originalEvent;
  if (ctrlKey || metaKey || altKey || !KEYS[key]) return;
  event.preventDefault();
  event.originalEvent.preventDefault();
  KEYS[key](swipe, hit);
}

/** The buttons above, those to the left and right, and the panel. */
export function LightboxControls({ swipe, hit, total }) {
  const one = hit.value;
  if (!one) return null;
  const at = swipe.currIndex;
  const button = (name, label, key, act, more = {}) => html`<button
    type="button" class="quiet" title=${`${label} (${key})`} aria-label=${label} aria-keyshortcuts=${key} onClick=${act} ...${more}
  ><${Icon} name=${name} /></button>`;
  return html`
    <div class="lightbox-bar">
      <p class="word" aria-live="polite"><span dir="auto">${nameOf(one)}</span>${one.rank !== null && html` <span class="soft number">${countText(one.rank)}</span>`}</p>
      ${button("plus", "More like this", "+", () => like(swipe, one, 1))}
      ${button("minus", "Less like this", "-", () => like(swipe, one, -0.5))}
      ${button("check", "Choose", "x", () => choose(one), { "aria-pressed": chosen.value.has(one.id) })}
      ${button("copy", "Copy the path", "c", KEYS.c.bind(null, swipe, one))}
      ${button("info", "Details", "i", KEYS.i, { "aria-pressed": isDetailed.value })}
      ${button("zoom", "Zoom", "z", () => swipe.toggleZoom())}
      ${button("close", "Close", "Escape", () => swipe.close())}
    </div>
    ${at > 0 && html`<div class="lightbox-way left">${button("left", "Previous", "ArrowLeft", () => swipe.prev())}</div>`}
    ${at < total() - 1 && html`<div class=${isDetailed.value ? "lightbox-way right beside" : "lightbox-way right"}>${button("right", "Next", "ArrowRight", () => swipe.next())}</div>`}
    ${isDetailed.value && html`<${Details} hit=${hit} />`}
  `;
}

function Details({ hit }) {
  const known = useAnswer(() => hit.value && [`images/${hit.value.id}`]);
  const { answer, problem } = known.value;
  const one = hit.value;
  const facts = [
    ["Directory", html`<span class="path" dir="auto">${directoryOf(one)}</span>`],
    ["Date", html`${timeText(one.date)} <span class="soft">${SOURCES[one.date_source]}</span>`],
    ["Position", one.latitude === null ? null : html`<${Position} picture=${one} />`],
    ["Distance", one.distance_km === undefined ? null : distanceText(one)],
    ["Pixels", `${one.width} × ${one.height}`],
    ["Camera", one.camera && printable(one.camera)],
    ["Sigma", one.sigma?.toFixed(2)],
    ["Score", one.score?.toFixed(3)],
  ];
  return html`<aside class="details" aria-label="Details" onClick=${followLink}>
    <h2 dir="auto">${nameOf(one)}</h2>
    <${Facts} facts=${facts} />
    <h3>All that the index knows</h3>
    ${problem && html`<p class="soft">${problem.message}</p>`}
    ${answer && answer.id === one.id && html`<${Facts} facts=${tableOf(answer)} />`}
  </aside>`;
}

function Facts({ facts }) {
  return html`<dl class="facts">
    ${facts.map(([name, value]) => value !== null && value !== undefined && value !== "" && html`<dt>${name}</dt><dd>${value}</dd>`)}
  </dl>`;
}

/** What says when a picture was taken. */
const SOURCES = {
  exif: "by its EXIF",
  xmp: "by its XMP",
  iptc: "by its IPTC",
  text: "by text in it",
  raw: "by the RAW file",
  file: "when its file was modified",
};

/** Where a picture was taken: a link for the program that shows maps, and what was taken near there. */
function Position({ picture }) {
  const { latitude, longitude, altitude_m: altitude } = picture;
  const params = new URLSearchParams(place.value.params);
  params.set("near", `${latitude},${longitude},1`);
  params.delete("open");
  return html`<a href=${`geo:${latitude},${longitude}`}>${latitude}, ${longitude}</a>${altitude !== null && `, ${altitude} m`}
    <br /><a href=${address("", params)}>Near here</a>`;
}

const FILE_STATES = {
  unchanged: "there, unchanged since it was read",
  changed: "changed since it was read; imgidx train reads it again",
  gone: "gone",
  unreadable: "cannot be reached",
};

/** Return the lines of `imgidx show` for the record of a picture. */
function tableOf(known) {
  const path = (text) => text && html`<span class="path" dir="auto">${text}</span>`;
  return [
    ["path", path(pathOf(known))],
    ...known.names.map((name) => ["also at", path(pathOf(name))]),
    ["file", FILE_STATES[known.file] ?? known.file],
    ["bytes", `${countText(known.bytes)} (${sizeText(known.bytes)})`],
    ["modified", known.modified && timeText(known.modified)],
    ["taken", known.taken && timeText(known.taken)],
    ["date source", known.date_source],
    ["camera", known.camera && printable(known.camera)],
    ["position", known.latitude === null ? null : `${known.latitude}, ${known.longitude}`],
    ["altitude", known.altitude_m === null ? null : `${known.altitude_m} m`],
    ["format", known.format],
    ["pixels", known.width && `${known.width} × ${known.height}, ${known.megapixels} megapixels`],
    ["sha256", path(known.sha256)],
    ["phash", path(known.phash)],
    ["id", known.id],
    ["read at", known.read_at && timeText(known.read_at)],
    ["missing since", known.missing_since && timeText(known.missing_since)],
    ["pair", path(pathOf(known, "pair"))],
    ["root", path(pathOf(known, "root"))],
    ["model", known.model && `${known.model}, ${known.dim} dimensions`],
    ["vector", known.has_vector === false ? "none: the model sees nothing in it" : null],
    ["failure", known.failure && printable(`${known.failure.stage}: ${known.failure.reason}`)],
  ];
}

