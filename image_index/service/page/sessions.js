/** Training sessions: how one stands, told by the server as it changes, and how that is put into words. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { api, ask } from "./api.js";
import { html } from "./html.js";
import { countText, printable } from "./names.js";
import { durationText } from "./times.js";

const RUNNING = new Set(["running", "stopping"]);

/** Tell whether a session is being run. */
export const isRunning = ({ state }) => RUNNING.has(state);

/** Tell whether a session waits or is being run; it can be stopped. */
export const isOpen = (session) => session.state === "queued" || isRunning(session);

/** Stop a session: what is embedded is stored. */
export const stop = ({ id }) => ask(`training/sessions/${id}/cancel`, { body: {} });

/**
 * Return a signal of a session as it stands; while it is `watched`, the server tells each change.
 *
 * A browser has six connections to a server at most, and each watched session takes one. `ended` is called at its end.
 */
export function useLive(session, watched, ended) {
  const live = useSignal(session);
  useEffect(() => {
    live.value = session;
  }, [session]);
  useEffect(() => {
    if (!watched) return;
    const events = new EventSource(api(`training/sessions/${session.id}/events`));
    events.onmessage = ({ data }) => {
      live.value = JSON.parse(data);
      if (isOpen(live.value)) return;
      events.close();
      ended();
    };
    return () => events.close();
  }, [session.id, watched]);
  return live;
}

/** Return what a session trains. */
export function aimText({ kind, training_directory: directory }) {
  if (kind === "foreign") return "started from a shell or by cron";
  return directory === null ? "all directories of the index" : printable(directory);
}

const STAGES = {
  wait: "Waiting for another run on this index",
  scan: "Looking through directories",
  load: "Loading the model",
  embed: "Embedding",
  index: "Building the index",
};

/** Return how far a session is that is being run, in a sentence. */
export function progressText({ stage, done, total, failures, pictures_per_second: speed, seconds_left: left }) {
  const isEmbedding = stage === "embed";
  return [
    STAGES[stage] ?? "Starting",
    isEmbedding && total !== null && `${countText(done)} of ${countText(total)} pictures`,
    stage === "scan" && done > 0 && `${countText(done)} files`,
    isEmbedding && speed !== null && `${speed.toFixed(1)} pictures/s`,
    isEmbedding && left !== null && `${durationText(left)} left`,
    failures > 0 && (failures === 1 ? "1 failure" : `${countText(failures)} failures`),
  ]
    .filter(Boolean)
    .join(" · ");
}

/** How a session stands: a word, coloured by what it means. */
export function State({ of: { state } }) {
  return html`<span class=${`badge ${state}`}>${state}</span>`;
}

/** How far a session is that is being run: a bar, and in words. */
export function Progress({ of: session }) {
  const { stage, done, total } = session;
  const isKnown = stage === "embed" && total > 0;
  const text = progressText(session);
  return html`<div class="progress">
    <progress aria-label="Progress" aria-valuetext=${text} ...${isKnown ? { value: done, max: total } : {}}></progress>
    <p class="soft figures">${text}</p>
  </div>`;
}
