/** The view "Duplicates": files of the same picture side by side, the best first. Nothing is ever deleted. */
import { useSignal } from "@preact/signals";
import { go, place } from "../address.js";
import { api, send, usePages } from "../api.js";
import { ANOTHER, factsBeside, LISTS, saveList } from "../copies.js";
import { html } from "../html.js";
import { Menu } from "../menu.js";
import { nameOf } from "../names.js";
import { Empty, Head, Pages, Path } from "../parts.js";

const PAGE = 30;

/** The parameters of the address: they are those of the request. */
const CHOICES = { exact: "Same content only", all: "Also those kept" };

/** Return what the address chooses: `{exact: "true"}`. */
function chosen() {
  return Object.fromEntries([...place.value.params].filter(([name]) => name in CHOICES));
}

export function Duplicates() {
  const groups = usePages(() => ["duplicates", { ...chosen(), limit: PAGE }], "groups");
  return html`<section class="duplicates">
    <${Head} title="Duplicates">
      ${Object.keys(CHOICES).map((name) => html`<${Choice} key=${name} name=${name} />`)}
      ${groups.value.items.length > 0 && html`<${Lists} />`}
    <//>
    <p class="lead">Files of the same picture, the best copy first: most pixels, then most bytes, then the oldest. Nothing
      is ever deleted here.</p>
    <${Pages} of=${groups}
      draw=${(found) => found.map(({ pictures }) => html`<${Group} key=${pictures[0].id} pictures=${pictures} />`)}
      empty=${html`<${Empty} title="No duplicates">No two files that are asked for show the same picture.<//>`} />
  </section>`;
}

function Choice({ name }) {
  const now = chosen();
  const choose = ({ currentTarget: { checked } }) => {
    const { [name]: _, ...others } = now;
    go("duplicates", checked ? { ...others, [name]: "true" } : others);
  };
  return html`<label class="option">
    <input type="checkbox" checked=${now[name] === "true"} onChange=${choose} /> ${CHOICES[name]}
  </label>`;
}

function Lists() {
  const save = (list, close) => {
    close();
    return saveList(list, chosen());
  };
  const draw = (close) =>
    LISTS.map((list) => html`<button type="button" class="quiet" onClick=${() => save(list, close)}>${list[0]}</button>`);
  return html`<${Menu} label="Save a list" draw=${draw} />`;
}

function Group({ pictures: [best, ...others] }) {
  return html`<article class="group card" aria-label=${`${others.length + 1} files like ${nameOf(best)}`}>
    <${Copy} picture=${best} best=${best} />
    ${others.map((picture) => html`<${Copy} key=${picture.id} picture=${picture} best=${best} />`)}
  </article>`;
}

function Copy({ picture, best }) {
  const isBest = picture === best;
  return html`<figure>
    <a href=${api(`images/${picture.id}/file`)} target="_blank" title="Open the file"><${Thumbnail} of=${picture} /></a>
    <figcaption>
      <p class="verdict"><span class=${isBest ? "badge" : "soft"}>${verdict(picture, isBest)}</span>
        ${!isBest && html`<${Keep} picture=${picture} best=${best} />`}</p>
      <dl class="facts">
        ${factsBeside(picture, best).map(
          ({ name, text, differs }) => html`<dt>${name}</dt>
            <dd class=${differs || isBest ? "figures" : "figures soft"}><${Shown} name=${name} text=${text || "unknown"} />${" "}
              ${differs && html`<em class=${differs === ANOTHER ? "unseen" : null}>${differs}</em>`}</dd>`,
        )}
      </dl>
    </figcaption>
  </figure>`;
}

const Shown = ({ name, text }) => (name === "Directory" ? html`<${Path} of=${text} />` : html`<bdi>${text}</bdi>`);

function Thumbnail({ of: picture }) {
  const isGone = useSignal(false);
  if (isGone.value) return html`<span class="none">The file is gone, or has changed.</span>`;
  return html`<img src=${`${picture.thumbnail}?side=512`} alt=${nameOf(picture)} loading="lazy" width=${picture.width}
    height=${picture.height} onError=${() => (isGone.value = true)} />`;
}

function verdict(picture, isBest) {
  if (isBest) return "best copy";
  return picture.exact ? "same content" : `similarity ${picture.similarity.toFixed(3)}`;
}

/** The mark that a picture and the best copy are both wanted; it is taken back by the same button. */
function Keep({ picture, best }) {
  const isKept = useSignal(picture.kept);
  const mark = async () => {
    await send("duplicates/marks", { body: { ids: [best.id, picture.id], kept: !isKept.value } });
    isKept.value = !isKept.value;
  };
  return html`<button type="button" onClick=${mark}
    title="Both are wanted: show them as duplicates no more">${isKept.value ? "Kept · take back" : "Keep both"}</button>`;
}
