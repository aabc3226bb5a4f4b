/** The view "Status": what the index holds, of which directories, with which model. */
import { address } from "../address.js";
import { useAnswer } from "../api.js";
import { html } from "../html.js";
import { countText, pathOf, printable, sizeText } from "../names.js";
import { Answer, Head, Path } from "../parts.js";
import { Counts, MachineBars, StageBars } from "../runs.js";
import { durationText, timeText, useEvery } from "../times.js";

/** How old the numbers may get while the view is looked at. */
const RENEWED_MS = 15_000;

export function Status() {
  const status = useAnswer(() => ["status"]);
  const models = useAnswer(() => ["models"]);
  useEvery(RENEWED_MS, status.reload);
  return html`<section class="status">
    <${Head} title="Status" />
    <${Answer} of=${status} draw=${(found) => html`<${Index} status=${found} />`} />
    <${Answer} of=${models} draw=${({ models }) => html`<${Models} models=${models} used=${status.value.answer?.model} />`} />
  </section>`;
}

function Index({ status }) {
  return html`
    <dl class="tiles">
      <${Tile} name="Pictures" value=${countText(status.images)} />
      <${Tile} name="Files that are gone" value=${countText(status.missing)} note=${status.missing > 0 && "what is known of them stays"} />
      <${Tile} name="Failures" value=${countText(status.failures)} link=${status.failures ? address("failures") : null} />
      ${status.without_vector > 0 &&
      html`<${Tile} name="Without a vector" value=${countText(status.without_vector)}
        note="flat colour, say: no search by meaning finds them" />`}
      <${Tile} name="Size of the index" value=${sizeText(status.bytes)} />
      <${Tile} name="Model" value=${status.model ? printable(status.model) : "none yet"}
        note=${status.dim && `${status.dim} dimensions`} />
    </dl>
    <h2>Directories</h2>
    ${status.roots.length ? html`<${Roots} roots=${status.roots} />` : html`<p class="soft">None yet.</p>`}
    <h2>Last run</h2>
    ${status.last_run ? html`<${LastRun} run=${status.last_run} />` : html`<p class="soft">There was none yet.</p>`}
    <p class="below"><a href=${address("sessions")}>All training sessions</a></p>
  `;
}

function Tile({ name, value, note, link }) {
  const shown = html`<b class="figures">${value}</b>`;
  return html`<div class="tile card">
    <dt>${name}</dt>
    <dd>${link ? html`<a href=${link}>${shown}</a>` : shown}${note && html`<small>${note}</small>`}</dd>
  </div>`;
}

function Roots({ roots }) {
  return html`<div class="scrolled"><table>
    <thead><tr><th scope="col">Directory</th><th scope="col">Looked through</th></tr></thead>
    <tbody>
      ${roots.map(
        (root) => html`<tr>
          <td><${Path} of=${pathOf(root)} />${root.problem && html`<p class="bad" dir="auto">${printable(root.problem)}</p>`}</td>
          <td class="figures">${timeText(root.scanned_at)}</td>
        </tr>`,
      )}
    </tbody>
  </table></div>`;
}

const OUTCOMES = { done: "done", stopped: "stopped before its end", failed: "failed", running: "running" };

function LastRun({ run }) {
  return html`<div class="card run">
    <dl class="facts">
      <dt>Began</dt><dd class="figures">${timeText(run.started_at)}</dd>
      <dt>Outcome</dt><dd dir="auto">${OUTCOMES[run.outcome] ?? run.outcome}${run.error && `: ${printable(run.error)}`}</dd>
      ${run.seconds != null &&
      html`<dt>Pictures</dt><dd><${Counts} of=${run} /></dd>
        <dt>Time</dt><dd class="figures">${durationText(run.seconds)}${run.embedded > 0 &&
        `, ${run.pictures_per_second.toFixed(1)} pictures/s`}</dd>`}
    </dl>
    <${MachineBars} machines=${run.machines ?? []} />
    ${run.stage_seconds && html`<${StageBars} seconds=${run.stage_seconds} />`}
  </div>`;
}

const PLACES = { bundled: "comes along", cached: "on this machine", known: "to be downloaded" };

function Models({ models, used }) {
  return html`<h2>Models that can be used</h2>
    <p class="soft">The first training of an index chooses one: imgidx train --model NAME.</p>
    <ul class="models">
      ${models.map(
        (model) => html`<li aria-current=${model.name === used ? "true" : null}>
          <bdi>${printable(model.name)}</bdi>${model.name === used && html` <span class="badge">in use</span>`}
          <p class="soft figures">${modelText(model)}</p>
        </li>`,
      )}
    </ul>`;
}

function modelText({ note, dim, size_mb: size, licence, kind }) {
  const parts = [note, `${dim} dimensions`, size != null && `${countText(size)} MB`, licence, PLACES[kind] ?? kind];
  return parts.filter(Boolean).join(" · ");
}
