/** The view "Duplicates": files of the same picture side by side, the best first. Nothing is ever deleted. */
import { go, place } from "../address.js";
import { api, usePages } from "../api.js";
import { ANOTHER, factsBeside, LISTS, saveList } from "../copies.js";
import { html } from "../html.js";
import { nameOf } from "../names.js";
import { Empty, Head, Pages } from "../parts.js";

const PAGE = 30;

/** The parameters of the address: they are those of the request. */
const CHOICES = { exact: "Same content only" };

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
  return html`<label class="choice">
    <input type="checkbox" checked=${now[name] === "true"} onChange=${choose} /> ${CHOICES[name]}
  </label>`;
}

function Lists() {
  return html`<details class="menu">
    <summary class="button">Save a list</summary>
    <div class="card">
      ${LISTS.map((list) => {
        const save = (event) => {
          event.currentTarget.closest("details").open = false;
          return saveList(list, chosen());
        };
        return html`<button type="button" class="quiet" onClick=${save}>${list[0]}</button>`;
      })}
    </div>
  </details>`;
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
    <a href=${api(`images/${picture.id}/file`)} target="_blank" title="Open the file">
      <img src=${`${picture.thumbnail}?side=512`} alt=${nameOf(picture)} loading="lazy" width=${picture.width} height=${picture.height} />
    </a>
    <figcaption>
      <p class="verdict"><span class=${isBest ? "badge" : "soft"}>${verdict(picture, isBest)}</span></p>
      <dl class="facts">
        ${factsBeside(picture, best).map(
          ({ name, text, differs }) => html`<dt>${name}</dt>
            <dd class=${differs || isBest ? "number" : "number soft"}><bdi>${text || "unknown"}</bdi>${" "}
              ${differs && html`<em class=${differs === ANOTHER ? "unseen" : null}>${differs}</em>`}</dd>`,
        )}
      </dl>
    </figcaption>
  </figure>`;
}

function verdict(picture, isBest) {
  if (isBest) return "best copy";
  return picture.exact ? "same content" : `similarity ${picture.similarity.toFixed(3)}`;
}
