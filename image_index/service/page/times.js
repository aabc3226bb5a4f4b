/** Times and durations for people, and what is done again and again. */
import { useEffect } from "preact/hooks";

/** Return a time, ISO 8601 as the server has it, in the time zone of the browser: `2026-11-26 20:19`; "never" for null. */
export function timeText(time) {
  return time ? new Date(time).toLocaleString("sv", { dateStyle: "short", timeStyle: "short" }) : "never";
}

/** Return the day of a time: `2026-11-26`. */
export function dayText(time) {
  return timeText(time).slice(0, 10);
}

/** Return a day for people: `Friday 31 May 2024`. */
export function dayName(day) {
  return new Date(`${day}T00:00Z`).toLocaleDateString("en-GB", { dateStyle: "full", timeZone: "UTC" });
}

const UNITS = [
  [86_400, "d", 3600, "h"],
  [3600, "h", 60, "min"],
  [60, "min", 1, "s"],
];

/** Return a duration in its two largest units: `2 h 5 min`, `40 s`; below ten seconds with one decimal. */
export function durationText(seconds) {
  const whole = Math.round(seconds);
  const found = UNITS.find(([size]) => whole >= size);
  if (!found) return `${seconds < 9.95 && seconds > 0 ? seconds.toFixed(1) : whole}\u00a0s`;
  const [size, unit, part, partUnit] = found;
  const rest = Math.floor((whole % size) / part);
  return `${Math.floor(whole / size)}\u00a0${unit}${rest ? ` ${rest}\u00a0${partUnit}` : ""}`;
}

/** Do a `job` every so many milliseconds while the component is shown. */
export function useEvery(milliseconds, job) {
  useEffect(() => {
    const timer = setInterval(job, milliseconds);
    return () => clearInterval(timer);
  }, [milliseconds]);
}
