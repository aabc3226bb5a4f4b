/** The search box in the bar of every view: words, or a picture that is chosen, dropped or pasted. */
import { computed, useSignal, useSignalEffect } from "@preact/signals";
import { useRef } from "preact/hooks";
import { html } from "../html.js";
import { Icon } from "../icons.js";
import { pictureIn, searchBy } from "./dropped.js";
import { loading } from "./hits.js";
import { setTerms, terms } from "./query.js";

/** The words that the box holds: the first text that is added. */
const main = computed(() => terms.value.find(isMain));

const isMain = ({ kind, weight }) => kind === "text" && weight > 0;

/** Search for other words in place of those in the box; the terms beside them stay. */
export function searchFor(words) {
  const [text, before] = [words.trim(), main.peek()];
  const others = terms.peek().filter((term) => term !== before);
  setTerms(text ? [{ kind: "text", value: text, weight: before?.weight ?? 1 }, ...others] : others);
}

/** The box, its button for a picture, and the place to drop one: the whole page. */
export function SearchBox() {
  const words = useSignal("");
  const field = useRef(null);
  useSignalEffect(() => {
    words.value = main.value?.value ?? "";
  });
  const submit = (event) => {
    event.preventDefault();
    searchFor(words.value);
  };
  return html`<form class="box" role="search" onSubmit=${submit}>
    <${Icon} name="search" />
    <input
      type="search" name="text" ref=${field} value=${words} aria-label="What the pictures show" aria-keyshortcuts="/"
      placeholder="Describe a picture" autocomplete="off" autocapitalize="off" spellcheck=${false} enterkeyhint="search"
      onInput=${(event) => (words.value = event.currentTarget.value)} onKeyDown=${toHits}
    />
    ${loading.value && html`<span class="spinner" role="status"><span class="unseen">Searching</span></span>`}
    ${words.value && html`<button type="button" class="quiet" aria-label="Empty the box" onClick=${() => {
      words.value = "";
      field.current.focus();
    }}><${Icon} name="close" /></button>`}
    <${PictureButton} />
  </form>`;
}

/** Let the down arrow lead from the box to the hits. */
function toHits(event) {
  if (event.key !== "ArrowDown") return;
  event.preventDefault();
  document.querySelector(".hit[tabindex='0']")?.focus();
}

function PictureButton() {
  const choose = (event) => {
    const [file] = event.currentTarget.files;
    event.currentTarget.value = "";
    if (file) searchBy(file);
  };
  return html`<label class="picture-button" title="Search by a picture: choose, drop or paste one">
    <input type="file" class="unseen" accept="image/*,.heic,.heif,.avif,.dng,.nef,.cr2,.arw" aria-label="Search by a picture" onChange=${choose} />
    <${Icon} name="picture" />
  </label>`;
}

/** What lies over the page while a picture is dragged over it. */
export function DropPlace() {
  const isOver = useSignal(false);
  useSignalEffect(() => {
    const hasFile = (event) => event.dataTransfer?.types.includes("Files");
    const over = (event) => {
      if (!hasFile(event)) return;
      event.preventDefault();
      isOver.value = true;
    };
    const leave = (event) => event.relatedTarget === null && (isOver.value = false);
    const drop = (event) => {
      isOver.value = false;
      const file = pictureIn(event.dataTransfer);
      if (!file) return;
      event.preventDefault();
      searchBy(file);
    };
    const listeners = { dragover: over, dragleave: leave, drop };
    for (const [name, listener] of Object.entries(listeners)) addEventListener(name, listener);
    return () => {
      for (const [name, listener] of Object.entries(listeners)) removeEventListener(name, listener);
    };
  });
  return isOver.value && html`<div class="drop"><p><${Icon} name="picture" />Search by this picture</p></div>`;
}

addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.closest("input, textarea, select, [contenteditable], dialog, .pswp")) return;
  event.preventDefault();
  document.querySelector(".box input[type=search]").select();
});
