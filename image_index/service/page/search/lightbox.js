/**
 * One picture over the page, with the others to the left and right: PhotoSwipe moves and zooms, the rest is ours.
 *
 * It is part of the address (`open=17`), so that the back button closes it and a bookmark opens it.
 */
import { render } from "preact";
import { effect, signal, untracked } from "@preact/signals";
import PhotoSwipe from "photoswipe";
import { go, place } from "../address.js";
import { api, ask } from "../api.js";
import { html } from "../html.js";
import { nameOf } from "../names.js";
import { LightboxControls, isDetailed, keysOf } from "./details.js";
import { hits, loadMore, shown } from "./hits.js";
import { asked } from "./query.js";

/** What every browser shows; of any other file the server makes a picture that is smaller. */
const SHOWN = new Set(["jpeg", "mpo", "png", "webp", "gif", "avif", "bmp"]);
const LARGE = 1024;

/** How many hits before the last one the next ones are asked for. */
const AHEAD = 20;

/** How wide the panel of details is; on a narrow screen it takes the lower half (see style.css). */
const PANEL = 360;
const NARROW = 720;

const shownHit = signal(null);
let box = null;
let leave = null;
let hasPushed = false;

/** Open the picture of that id; `onLeave` is told which of the hits was shown last. */
export function openLightbox(id, { onLeave } = {}) {
  leave = onLeave;
  hasPushed = true;
  go("", withOpen(id));
}

/** Return the parameters with that picture open, or none. */
function withOpen(id) {
  const params = new URLSearchParams(place.value.params);
  params.delete("open");
  if (id !== null) params.set("open", id);
  return params;
}

/** Follow the address: it says which picture is open. Called once, when the search is shown; returns what ends it. */
export function followAddress() {
  const stop = effect(() => {
    const id = Number(place.value.params.get("open"));
    if (asked.value !== shown.value) return; // whether it is a hit is not known yet
    if (!id) box?.close();
    else if (!box) untracked(() => open(id));
    else if (shownHit.peek()?.id !== id) box.goTo(Math.max(indexOf(id), 0));
  });
  return () => {
    stop();
    box?.destroy();
  };
}

const indexOf = (id) => hits.peek().findIndex((hit) => hit.id === id);

/** Open a hit among the others, or alone what is no hit (yet): a bookmark may be older than the index. */
async function open(id) {
  const isHit = indexOf(id) >= 0;
  const items = isHit ? () => hits.peek() : await alone(id);
  if (box || !items) return;
  const swipe = (box = new PhotoSwipe(options(isHit ? indexOf(id) : 0)));
  swipe.on("uiRegister", () => (swipe.ui.uiElementsData = [])); // ours do it, and its own are made by innerHTML
  swipe.addFilter("numItems", () => items().length);
  swipe.addFilter("itemData", (_, at) => slideOf(items()[at]));
  swipe.addFilter("thumbEl", (_, __, at) => document.querySelector(`.hit[data-at="${at}"] img`));
  swipe.addFilter("contentErrorElement", (_, content) => errorOf(items()[content.index]));
  swipe.on("keydown", (event) => keysOf(event, swipe, shownHit.peek()));
  // PhotoSwipe closes nothing that is still opening; the address may have been left meanwhile
  swipe.on("openingAnimationEnd", () => place.peek().params.get("open") || swipe.close());
  swipe.on("change", () => {
    const hit = (shownHit.value = items()[swipe.currIndex]);
    if (place.peek().params.get("open")) go("", withOpen(hit.id), { replace: true });
    if (isHit && swipe.currIndex + AHEAD > items().length) loadMore();
  });
  const resize = isDetailed.subscribe(() => swipe.isOpen && swipe.updateSize(true));
  const controls = document.createElement("div");
  swipe.on("close", () => {
    if (!place.peek().params.get("open")) return;
    if (hasPushed) history.back();
    else go("", withOpen(null), { replace: true });
  });
  swipe.on("destroy", () => {
    resize();
    render(null, controls);
    [box, hasPushed] = [null, false];
    if (isHit) leave?.(swipe.currIndex);
  });
  swipe.init();
  swipe.element.append(controls);
  swipe.element.setAttribute("aria-label", "Picture");
  render(html`<${LightboxControls} swipe=${swipe} hit=${shownHit} total=${() => items().length} />`, controls);
}

/** Return a picture that is no hit as the only one; nothing, and the address without it, where there is none. */
async function alone(id) {
  try {
    const record = await ask(`images/${id}`);
    const date = record.taken ?? record.modified ?? "";
    return () => [{ ...record, id, date, rank: null, sigma: null, score: null }];
  } catch (problem) {
    go("", withOpen(null), { replace: true });
    throw problem;
  }
}

function options(index) {
  return {
    index,
    loop: false,
    bgOpacity: 1,
    returnFocus: false,
    wheelToZoom: true,
    secondaryZoomLevel: 1,
    maxZoomLevel: 4,
    bgClickAction: "close",
    tapAction: null,
    paddingFn: ({ x, y }) => {
      const [beside, below] = x > NARROW ? [PANEL, 0] : [0, 0.48 * y];
      const [right, bottom] = isDetailed.peek() ? [beside, below] : [0, 0];
      return { top: 56, bottom: 16 + bottom, left: 12, right: 12 + right };
    },
  };
}

/** Return what PhotoSwipe shows: a picture of 1024 pixels, and the file itself as soon as it is zoomed. */
function slideOf(hit) {
  const [width, height] = [hit.width || LARGE, hit.height || LARGE];
  const side = (pixels) => api(`images/${hit.id}/thumbnail`, { side: pixels });
  const scale = Math.min(1, LARGE / Math.max(width, height));
  const slide = { width, height, alt: nameOf(hit), msrc: side(256), src: side(LARGE) };
  if (!SHOWN.has(hit.format)) return { ...slide, width: Math.round(width * scale), height: Math.round(height * scale) };
  const file = api(`images/${hit.id}/file`);
  if (scale === 1) return { ...slide, src: file };
  return { ...slide, srcset: `${side(LARGE)} ${Math.round(width * scale)}w, ${file} ${width}w` };
}

/** Return the sentence that stands in place of a picture that cannot be shown: the server's own. */
function errorOf(hit) {
  const element = document.createElement("p");
  element.className = "pswp__error-msg";
  element.textContent = "This picture cannot be shown.";
  ask(`images/${hit.id}/thumbnail`).catch((problem) => (element.textContent = problem.message));
  return element;
}
