/** The page: its bar, the view that the address names, and the notices. */
import { render } from "preact";
import { effect } from "@preact/signals";
import { address, followLink, place } from "./address.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { Notices } from "./notices.js";
import { SearchBox } from "./search/box.js";
import { Duplicates } from "./views/duplicates.js";
import { Failures } from "./views/failures.js";
import { Search } from "./views/search.js";
import { Sessions } from "./views/sessions.js";
import { Status } from "./views/status.js";

const VIEWS = {
  "": { title: "Search", icon: "search", View: Search },
  duplicates: { title: "Duplicates", icon: "duplicates", View: Duplicates },
  failures: { title: "Failures", icon: "failures", View: Failures },
  sessions: { title: "Sessions", icon: "sessions", View: Sessions },
  status: { title: "Status", icon: "status", View: Status },
};

function App() {
  const { View } = VIEWS[place.value.view] ?? { View: Nowhere };
  return html`<div class="page" onClick=${followLink}>
    <a class="skip" href="#view" target="_self">Skip to the pictures</a>
    <header class="bar">
      <a class="brand" href=${address("")} aria-label="imgidx, new search"><span class="mark"></span>imgidx</a>
      <${SearchBox} />
      <nav aria-label="Views">
        ${Object.entries(VIEWS).map(
          ([name, { title, icon }]) => html`<a
            href=${address(name)}
            aria-current=${place.value.view === name ? "page" : null}
          ><${Icon} name=${icon} /><span>${title}</span></a>`,
        )}
      </nav>
    </header>
    <main id="view" tabindex="-1"><${View} /></main>
    <${Notices} />
  </div>`;
}

function Nowhere() {
  return html`<section class="empty"><h1>There is no such view</h1><p><a href=${address("")}>Search for pictures</a></p></section>`;
}

effect(() => {
  const { title } = VIEWS[place.value.view] ?? { title: "Nowhere" };
  document.title = `${title} · imgidx`;
});

render(html`<${App} />`, document.body);
