/** The view "Failures": the files that could not be indexed, by the stage at which they failed, and why. */
import { go } from "../address.js";
import { ask, usePages } from "../api.js";
import { html } from "../html.js";
import { countText, directoryOf, nameOf, printable } from "../names.js";
import { Empty, Head, Pages, Path } from "../parts.js";
import { timeText } from "../times.js";

const PAGE = 500;

/** What it means to fail at a stage, in the order in which a file goes through them. */
const STAGES = {
  read: "Could not be read",
  decode: "Broken, or no picture",
  embed: "Not taken by the model",
  crash: "Ended the process that opened them",
  timeout: "Took too long",
};

export function Failures() {
  const failures = usePages(() => ["failures", { limit: PAGE }], "failures");
  const { items } = failures.value;
  return html`<section class="failures">
    <${Head} title="Failures">
      ${items.length > 0 && html`<button type="button" onClick=${tryAgain}>Try all again</button>`}
    <//>
    ${items.length > 0 &&
    html`<p class="lead">These files are in no search. A training tries one again as soon as it has changed.</p>`}
    <${Pages} of=${failures} draw=${(found) => html`<${Stages} failures=${found} />`}
      empty=${html`<${Empty} title="No failures">Every picture that was found could be indexed.<//>`} />
  </section>`;
}

/** Begin a training session that tries again what failed, and go to it. */
async function tryAgain() {
  const session = await ask("training/sessions", { body: { retry_failed: true } });
  go("sessions", { id: session.id });
}

function Stages({ failures }) {
  const stages = Map.groupBy(failures, (failure) => failure.stage);
  const order = [...new Set([...Object.keys(STAGES), ...stages.keys()])].filter((stage) => stages.has(stage));
  return order.map((stage) => {
    const found = stages.get(stage);
    return html`<section key=${stage} aria-labelledby=${stage}>
      <h2 id=${stage}>${STAGES[stage] ?? stage} <span class="soft figures">${countText(found.length)}</span></h2>
      <ul class="rows">${found.map((failure) => html`<${Failure} key=${failure.path ?? failure.path_bytes} failure=${failure} />`)}</ul>
    </section>`;
  });
}

function Failure({ failure }) {
  const tries = failure.attempts === 1 ? "" : `, ${countText(failure.attempts)} tries`;
  return html`<li>
    <div><b><bdi>${nameOf(failure)}</bdi></b> <${Path} of=${directoryOf(failure)} isSoft=${true} /></div>
    <div dir="auto">${printable(failure.reason)}</div>
    <div class="soft figures">since ${timeText(failure.first_failed_at)}${tries}</div>
  </li>`;
}
