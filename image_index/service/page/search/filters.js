/** Which pictures may be hits: the filters of the command line as chips, and a panel to set them. */
import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { place } from "../address.js";
import { useAnswer } from "../api.js";
import { html } from "../html.js";
import { Icon } from "../icons.js";
import { Menu } from "../menu.js";
import { pathOf, printable } from "../names.js";
import { seenId } from "./hits.js";
import { filters, isByDate, minSigma, setParam } from "./query.js";

const TYPES = ["jpeg", "png", "heic", "raw", "webp", "avif", "gif", "tiff", "bmp"];
const SHAPES = ["landscape", "portrait", "square"];

/** How a filter is told on its chip. */
const TOLD = {
  under: (value) => `in ${value}`,
  glob: (value) => `named ${value}`,
  words: (value) => `with ${value}`,
  type: (value) => value.toUpperCase(),
  newer: (value) => `from ${value}`,
  older: (value) => `before ${value}`,
  on: (value) => `on ${value}`,
  near: (value) => `near ${value.split(",", 2).join(", ")}, ${value.split(",")[2] ?? 1} km`,
  has_gps: () => "with a position",
  camera: (value) => `camera ${value}`,
  min_size: (value) => `at least ${value.replace("x", " × ")}`,
  orientation: (value) => value,
  after_id: () => "only new",
};

/** The chips of the filters that are set, and the button that opens the panel. */
export function Filters() {
  return html`<div class="filters">
    <${Menu} label=${html`<${Icon} name="filter" />Filters`} draw=${() => html`<${Fields} />`} />
    ${filters.value.map(([name, value]) => {
      const told = printable(TOLD[name](value));
      return html`<span class="chip filter" key=${`${name} ${value}`}>
        <span class="word" dir="auto" title=${told}>${told}</span>
        <button type="button" class="quiet" aria-label=${`Without: ${told}`} onClick=${() => without(name, value)}><${Icon} name="close" /></button>
      </span>`;
    })}
  </div>`;
}

const valuesOf = (name) => place.value.params.getAll(name);
const without = (name, value) => setParam(name, valuesOf(name).filter((one) => one !== value));

function Fields() {
  const status = useAnswer(() => ["status"]);
  const roots = (status.value.answer?.roots ?? []).map((root) => pathOf(root));
  const set = (name) => (event) => setParam(name, [event.currentTarget.value.trim()]);
  const field = (name, label, placeholder, more = {}) => html`<label>
    <span>${label}</span>
    <input name=${name} placeholder=${placeholder} value=${valuesOf(name)[0] ?? ""} onChange=${set(name)} autocomplete="off" ...${more} />
  </label>`;
  return html`
    ${field("under", "Directory", "/home/me/Pictures", { list: "roots" })}
    <datalist id="roots">${roots.map((root) => html`<option value=${root} />`)}</datalist>
    ${field("words", "Words", "nice beach")}
    ${field("glob", "Name", "*.jpg, 2024/**")}
    <div class="pair">
      ${field("newer", "From", "2024 or 30d")}
      ${field("older", "Before", "2025-01-01")}
    </div>
    <div class="pair">
      ${field("on", "On", "05-31 or 2024-05")}
      ${field("near", "Near", "48.8584,2.2945,5")}
    </div>
    ${field("camera", "Camera", "canon")}
    ${field("min_size", "At least", "1920x1080", { inputmode: "text" })}
    <${Choices} legend="Kind" name="type" choices=${TYPES} isMany=${true} />
    <${Choices} legend="Shape" name="orientation" choices=${SHAPES} />
    <label class="check">
      <input type="checkbox" checked=${valuesOf("has_gps").length > 0}
        onChange=${(event) => setParam("has_gps", event.currentTarget.checked ? ["true"] : [])} />
      <span>Only what says where it was taken</span>
    </label>
    <label class="check">
      <input type="checkbox" checked=${valuesOf("after_id").length > 0} disabled=${!seenId && !valuesOf("after_id").length}
        onChange=${(event) => setParam("after_id", event.currentTarget.checked ? [seenId] : [])} />
      <span>Only what was added since your last visit</span>
    </label>
  `;
}

function Choices({ legend, name, choices, isMany = false }) {
  const set = valuesOf(name);
  const press = (choice) => {
    const others = set.filter((one) => one !== choice);
    setParam(name, set.includes(choice) ? others : [...(isMany ? others : []), choice]);
  };
  return html`<fieldset>
    <legend>${legend}</legend>
    ${choices.map((choice) => html`<button type="button" class="choice" aria-pressed=${set.includes(choice)} onClick=${() => press(choice)}>${choice}</button>`)}
  </fieldset>`;
}

/** In which order the hits come. */
export function SortChoice() {
  return html`<select aria-label="Order" onChange=${(event) => setParam("sort", [event.currentTarget.value])}>
    <option value="" selected=${!isByDate.value}>Best first</option>
    <option value="date" selected=${isByDate.value}>Newest first</option>
  </select>`;
}

/** How close a hit must be: the cut-off in sigma, none at the left end. */
export function SigmaSlider() {
  const drag = useSignal(null);
  const timer = useRef(0);
  const value = drag.value ?? minSigma.value ?? 0;
  const change = (event) => {
    drag.value = Number(event.currentTarget.value);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      setParam("min_sigma", drag.peek() ? [drag.peek()] : [], { replace: true });
      drag.value = null;
    }, 120);
  };
  const told = value ? `${value.toFixed(1)} sigma or more` : "any";
  return html`<label class="sigma" title="How many standard deviations a hit's score must lie above the mean of the whole index">
    <span>Closeness</span>
    <input type="range" min="0" max="6" step="0.1" value=${value} aria-valuetext=${told} onInput=${change} />
    <output class="number">${value ? `${value.toFixed(1)} σ` : "any"}</output>
  </label>`;
}
