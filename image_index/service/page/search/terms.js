/** The terms of the search as chips: each with its sign, its weight to drag, and a way out. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { api } from "../api.js";
import { html } from "../html.js";
import { Icon } from "../icons.js";
import { printable } from "../names.js";
import { droppedFile } from "./dropped.js";
import { MOST_WEIGHT, rounded, setTerms, STEP, terms } from "./query.js";

/** How long a weight rests before it is searched with, while it is dragged. */
const REST_MS = 120;

/** The chips, and the field that adds one; nothing where the search is of a few words alone. */
export function Terms() {
  const all = terms.value;
  if (!all.length) return null;
  const isPlain = all.length === 1 && all[0].kind === "text" && all[0].weight > 0;
  return html`<ul class="terms" aria-label="Terms of the search">
    ${!isPlain && all.map((term, at) => html`<${Chip} key=${`${term.kind}:${term.value}`} term=${term} at=${at} />`)}
    <li><${AddField} /></li>
  </ul>`;
}

function Chip({ term, at }) {
  const drag = useSignal(null);
  const timer = useRef(0);
  const weight = drag.value ?? term.weight;
  const label = labelOf(term);
  const change = (to) => {
    drag.value = rounded(to);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      setTerms(terms.peek().map((one, n) => (n === at ? { ...one, weight: drag.peek() } : one)), { replace: true });
      drag.value = null;
    }, REST_MS);
  };
  useEffect(() => () => clearTimeout(timer.current), []);
  return html`<li class=${weight < 0 ? "chip term minus" : "chip term"}>
    <button type="button" class="sign" aria-label=${weight < 0 ? `Add ${label}` : `Subtract ${label}`} onClick=${() => change(-weight)}>
      <${Icon} name=${weight < 0 ? "minus" : "plus"} />
    </button>
    <${TermPicture} term=${term} />
    <span class="word" dir="auto" title=${label}>${label}</span>
    <input
      type="range" min=${-MOST_WEIGHT} max=${MOST_WEIGHT} step=${STEP} value=${weight}
      aria-label=${`Weight of ${label}`} aria-valuetext=${`${weight < 0 ? "minus" : "plus"} ${Math.abs(weight).toFixed(1)}`}
      onInput=${(event) => change(Number(event.currentTarget.value))}
    />
    <span class="number" aria-hidden="true">${Math.abs(weight).toFixed(1)}</span>
    <button type="button" class="quiet" aria-label=${`Remove ${label}`} onClick=${() => setTerms(terms.peek().filter((_, n) => n !== at))}>
      <${Icon} name="close" />
    </button>
  </li>`;
}

/** Return what a term is called. */
function labelOf({ kind, value, weight }) {
  if (kind === "text") return printable(value);
  if (kind === "image") return `${weight < 0 ? "less" : "more"} like this`;
  return printable(droppedFile(value)?.name ?? "a picture that is gone");
}

function TermPicture({ term: { kind, value } }) {
  if (kind === "image") return html`<img src=${api(`images/${encodeURIComponent(value)}/thumbnail`, { side: 64 })} alt=${`Picture ${value}`} />`;
  return kind === "picture" && html`<${DroppedPicture} file=${droppedFile(value)} />`;
}

/** A file of the user's own, drawn: the page's policy lets no picture in that is not from the server. */
function DroppedPicture({ file }) {
  const canvas = useRef(null);
  useEffect(() => {
    if (!file) return;
    createImageBitmap(file, { resizeHeight: 64, resizeQuality: "medium" }).then(
      (bitmap) => {
        if (!canvas.current) return;
        [canvas.current.width, canvas.current.height] = [bitmap.width, bitmap.height];
        canvas.current.getContext("2d").drawImage(bitmap, 0, 0);
      },
      () => {}, // HEIC and raw pictures: the server can read them, this browser cannot
    );
  }, [file]);
  return html`<canvas ref=${canvas} width="1" height="1" aria-hidden="true"></canvas>`;
}

function AddField() {
  const add = (event) => {
    event.preventDefault();
    const field = event.currentTarget.elements.term;
    const [, sign, word] = /^\s*([-+−]?)\s*(.*?)\s*$/s.exec(field.value);
    if (!word) return;
    setTerms([...terms.peek(), { kind: "text", value: word, weight: sign === "-" || sign === "−" ? -1 : 1 }]);
    field.value = "";
  };
  return html`<form class="add" onSubmit=${add}>
    <input name="term" aria-label="Add words to the search; with a minus in front, subtract them" placeholder="+ beach  − people" autocomplete="off" />
  </form>`;
}
