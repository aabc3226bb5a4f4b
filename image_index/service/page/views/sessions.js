/** The view "Sessions": what is being trained, what waits, what was; each one by itself; and the start of one. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { address, go, place } from "../address.js";
import { ask, useAnswer, usePages } from "../api.js";
import { html } from "../html.js";
import { countText, printable } from "../names.js";
import { Answer, Empty, Head, Pages, Path } from "../parts.js";
import { Counts, MachineBars, StageBars } from "../runs.js";
import { aimText, isOpen, isRunning, Progress, State, stop, useLive } from "../sessions.js";
import { durationText, timeText, useEvery } from "../times.js";

const PAGE = 50;

/** How old the list may get: of sessions that wait, and of those that others begin, nothing else tells. */
const RENEWED_MS = 10_000;

export function Sessions() {
  const { params } = place.value;
  const id = params.get("id");
  return html`<section class="sessions">
    ${id === null ? html`<${All} isStarting=${params.has("start")} />` : html`<${One} key=${id} id=${id} />`}
  </section>`;
}

// All of them

function All({ isStarting }) {
  const sessions = usePages(() => ["training/sessions", { limit: PAGE }], "sessions");
  useEvery(RENEWED_MS, () => sessions.value.items.length <= PAGE && sessions.reload());
  const row = (session) => html`<${Row} key=${session.id} session=${session} changed=${sessions.reload} />`;
  return html`
    <${Head} title="Training sessions">
      ${!isStarting && html`<a class="button main" href=${address("sessions", { start: "" })}>Start a session</a>`}
    <//>
    ${isStarting && html`<${Start} />`}
    <${Pages} of=${sessions} draw=${(found) => html`<ul class="rows">${found.map(row)}</ul>`}
      empty=${!isStarting && html`<${Empty} title="No sessions yet">A session brings the index up to date with its directories.<//>`} />
  `;
}

function Row({ session, changed }) {
  const live = useLive(session, isRunning(session), changed).value;
  return html`<li class="session">
    <div class="line">
      <a href=${address("sessions", { id: live.id })}><b>Session ${live.id}</b></a>
      <${State} of=${live} />
      <${Aim} of=${live} />
      ${isOpen(live) && html`<${Stop} session=${live} changed=${changed} />`}
    </div>
    ${isRunning(live) ? html`<${Progress} of=${live} />` : html`<p class="soft figures"><${Outcome} of=${live} /></p>`}
  </li>`;
}

function Aim({ of: session }) {
  const text = aimText(session);
  return session.training_directory === null ? html`<bdi class="soft">${text}</bdi>` : html`<${Path} of=${text} isSoft=${true} />`;
}

function Outcome({ of: session }) {
  if (session.state === "queued") return `asked for at ${timeText(session.asked_at)}, priority ${session.priority}`;
  const { summary } = session;
  return html`${timeText(session.started_at ?? session.asked_at)}
    ${summary && html` · <${Counts} of=${summary} /> · ${durationText(summary.seconds)}`}
    ${session.error && html` · <span class="bad" dir="auto">${printable(session.error)}</span>`}`;
}

function Stop({ session, changed }) {
  const isStopping = session.state === "stopping";
  return html`<button type="button" disabled=${isStopping} title="What is embedded is stored; a later session goes on from there"
    onClick=${() => stop(session).finally(changed)}>${isStopping ? "Stopping …" : "Stop"}</button>`;
}

// One of them

function One({ id }) {
  const found = useAnswer(() => [`training/sessions/${encodeURIComponent(id)}`]);
  return html`
    <p class="back"><a href=${address("sessions")}>All sessions</a></p>
    ${!found.value.answer && html`<${Head} title=${`Session ${printable(id)}`} />`}
    <${Answer} of=${found} draw=${(session) => html`<${Detail} session=${session} changed=${found.reload} />`} />
  `;
}

function Detail({ session, changed }) {
  const live = useLive(session, isOpen(session), changed).value;
  return html`
    <${Head} title=${`Session ${live.id}`}>
      ${isOpen(live) && html`<${Stop} session=${live} changed=${changed} />`}
      ${!isOpen(live) && live.kind !== "foreign" && html`<a class="button" href=${againAddress(live)}>Start again</a>`}
    <//>
    <div class="card">
      <p role="status"><${State} of=${live} /> ${live.error && html`<span class="bad" dir="auto">${printable(live.error)}</span>`}</p>
      ${isRunning(live) && html`<${Progress} of=${live} />`}
      <dl class="facts">${factsOf(live).map(([name, text]) => html`<dt>${name}</dt><dd class="figures"><bdi>${text}</bdi></dd>`)}</dl>
      <${MachineBars} machines=${live.machines} />
      ${live.stage_seconds && html`<${StageBars} seconds=${live.stage_seconds} />`}
    </div>
    ${live.failures > 0 && html`<p class="below"><a href=${address("failures")}>All failures</a></p>`}
  `;
}

function factsOf(session) {
  const { summary } = session;
  const facts = [
    ["Trains", aimText(session)],
    ["Priority", session.kind !== "foreign" && session.priority],
    ["Leaves out", session.exclude.map(printable).join(", ")],
    ["Tries failures again", session.retry_failed && "yes"],
    ["Time limit", session.time_limit && printable(session.time_limit)],
    ["Asked for", session.asked_at && timeText(session.asked_at)],
    ["Began", session.started_at && timeText(session.started_at)],
    ["Ended", session.ended_at && timeText(session.ended_at)],
    ["Pictures", summary && html`<${Counts} of=${summary} />`],
    ["Time", summary && durationText(summary.seconds)],
    ["Speed", summary?.embedded > 0 && `${summary.pictures_per_second.toFixed(1)} pictures/s`],
    ["Exit code", session.exit_code !== null && countText(session.exit_code)],
  ];
  return facts.filter(([, text]) => text);
}

/** Return the address of the form, filled in as for a session that there was. */
function againAddress({ training_directory: directory, priority, exclude, retry_failed: isRetry, time_limit: limit }) {
  const params = [["start", ""], ["priority", priority], ...exclude.map((glob) => ["exclude", glob])];
  if (directory !== null) params.push(["training_directory", directory]);
  if (isRetry) params.push(["retry_failed", "true"]);
  if (limit !== null) params.push(["time_limit", limit]);
  return address("sessions", new URLSearchParams(params));
}

// The start of one

const PRIORITIES = ["high", "normal", "low"];

/** The form; its fields begin with what the address says, and are the user's from then on. */
function Start() {
  const problem = useSignal(null);
  const form = useRef(null);
  const { params } = place.value;
  useEffect(() => form.current.elements.training_directory.focus(), []);
  const begin = async (event) => {
    event.preventDefault();
    try {
      const session = await ask("training/sessions", { body: requestOf(new FormData(event.currentTarget)) });
      go("sessions", { id: session.id });
    } catch (found) {
      problem.value = found;
    }
  };
  const value = (name) => params.get(name) ?? "";
  return html`<form class="card start" ref=${form} onSubmit=${begin} aria-label="Start a session">
    <${Roots} />
    <label>Directory <input name="training_directory" list="roots" defaultValue=${value("training_directory")} dir="auto"
      placeholder="all directories of the index" spellcheck=${false} autocomplete="off" /></label>
    <label>Priority <select name="priority">
      ${PRIORITIES.map((name) => html`<option selected=${name === (params.get("priority") ?? "normal")}>${name}</option>`)}
    </select></label>
    <label>Time limit <input name="time_limit" defaultValue=${value("time_limit")} placeholder="none; 2h, say" /></label>
    <label class="wide">Leave out <textarea name="exclude" rows="2" spellcheck=${false}
      placeholder="patterns as in .gitignore, a line each: *.tmp" defaultValue=${params.getAll("exclude").join("\n")} /></label>
    <label class="option wide"><input type="checkbox" name="retry_failed" defaultChecked=${params.has("retry_failed")} />
      Try what failed before once more</label>
    ${problem.value && html`<p class="bad wide" role="alert" dir="auto">${problem.value.message}</p>`}
    <div class="actions wide">
      <button class="main">Start</button>
      <a class="button" href=${address("sessions")}>Cancel</a>
    </div>
  </form>`;
}

/** Return what a form asks for, as the server takes it. */
function requestOf(form) {
  const asked = {
    priority: form.get("priority"),
    exclude: form.get("exclude").split(/\r?\n/).filter(Boolean),
    retry_failed: form.has("retry_failed"),
  };
  for (const name of ["training_directory", "time_limit"]) if (form.get(name)) asked[name] = form.get(name);
  return asked;
}

/** The roots of the index, for the field of the directory to propose. */
function Roots() {
  const { answer } = useAnswer(() => ["status"]).value;
  const paths = (answer?.roots ?? []).map((root) => root.path).filter(Boolean);
  return html`<datalist id="roots">${paths.map((path) => html`<option value=${path} />`)}</datalist>`;
}
