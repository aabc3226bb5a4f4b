/**
 * What is searched for, as the address bar says it: terms with weights, and filters.
 *
 * `?text=a+cat&text=-0.5:snow&image=2:17&newer=2024&min_sigma=2` is a cat, some less snow, much of picture 17.
 */
import { computed } from "@preact/signals";
import { go, place } from "../address.js";

/** The kinds of terms: words, a picture of the index by its id, and one that was dropped here, by its key. */
export const KINDS = ["text", "image", "picture"];

/** The filters, by their names in the API; those in `LISTS` may stand several times. */
export const FILTERS = [
  "under", "glob", "words", "type", "newer", "older", "on", "near", "has_gps", "camera", "min_size", "orientation", "after_id",
];
export const LISTS = ["under", "glob", "type"];

/** The filters that are no text in a request. */
const READ = { after_id: Number, has_gps: (value) => value === "true" };

/** The weights that a term may have; zero would say nothing. */
export const MOST_WEIGHT = 2;
export const STEP = 0.1;

const WEIGHT = /^(-?\d+(?:\.\d+)?):(.+)$/s;

/** The terms of the search that is shown, in the order of the address: `{kind, value, weight}`. */
export const terms = computed(() => termsOf(place.value.params));

/** The filters of the search that is shown: `[name, value]` of each. */
export const filters = computed(() => [...place.value.params].filter(([name]) => FILTERS.includes(name)));

/** How many standard deviations above the mean a hit must lie; null where any will do. */
export const minSigma = computed(() => {
  const word = place.value.params.get("min_sigma");
  return word === null ? null : Number(word);
});

/** Whether the hits come by day, the newest first, and not the best first. */
export const isByDate = computed(() => place.value.params.get("sort") === "date");

/** What is asked of the server, as one text, so that it changes only when the search does; "" where there is no term. */
export const asked = computed(() =>
  terms.value.some(({ weight }) => weight) ? JSON.stringify([terms.value, filters.value, minSigma.value, isByDate.value]) : "",
);

/** Return the terms that parameters say. */
export function termsOf(params) {
  return [...params]
    .filter(([name, word]) => KINDS.includes(name) && word.trim())
    .map(([kind, word]) => {
      const [, number, value] = WEIGHT.exec(word) ?? [null, "1", word];
      const weight = rounded(Number(number));
      return { kind, value, weight: isUnweighted(kind, value) ? Math.sign(weight) : weight };
    });
}

/** Whether a term can be added and subtracted, but have no weight: the API takes `2:16:9` for a text as it stands. */
function isUnweighted(kind, value) {
  return kind === "text" && /^\d/.test(value);
}

/** Return a weight that a term may have, next to the one that is wanted. */
export function rounded(weight) {
  const inside = Math.min(Math.max(Math.round(weight / STEP) * STEP, -MOST_WEIGHT), MOST_WEIGHT);
  return Number((Math.abs(inside) < STEP / 2 ? Math.sign(weight || 1) * STEP : inside).toFixed(1));
}

/** Return the parameters that say these terms, and all else that `others` say. */
export function paramsOf(newTerms, others) {
  const params = new URLSearchParams();
  for (const { kind, value, weight } of newTerms) {
    params.append(kind, weight === 1 && !WEIGHT.test(value) ? value : `${weight}:${value}`);
  }
  for (const [name, value] of others) if (!KINDS.includes(name) && name !== "open") params.append(name, value);
  return params;
}

/** Search for these terms, with the filters as they are. */
export function setTerms(newTerms, { replace = false } = {}) {
  go("", paramsOf(newTerms, place.value.view === "" ? place.value.params : []), { replace });
}

/** Search for one more term; one that is there already gets its new weight. */
export function addTerm(kind, value, weight = 1) {
  const others = terms.value.filter((term) => term.kind !== kind || term.value !== value);
  setTerms([...others, { kind, value: String(value), weight }]);
}

/** Let a parameter have these values, or none. */
export function setParam(name, values, { replace = false } = {}) {
  const params = new URLSearchParams(place.value.params);
  params.delete(name);
  params.delete("open");
  for (const value of values) if (value !== "" && value !== null) params.append(name, value);
  go("", params, { replace });
}

/** Return the body that asks the server for this search, without the picture that was dropped here. */
export function requestOf(limit, cursor) {
  const word = ({ value, weight }) => (Math.abs(weight) === 1 ? value : `${Math.abs(weight)}:${value}`);
  const chosen = (kind, sign) => terms.value.filter((term) => term.kind === kind && term.weight * sign > 0).map(word);
  const [text, ...add] = chosen("text", 1);
  const body = { add, minus: chosen("text", -1), image_id: chosen("image", 1).map(String), minus_id: chosen("image", -1), limit };
  if (text) body.text = text;
  for (const [name, value] of filters.value) {
    if (LISTS.includes(name)) (body[name] ??= []).push(value);
    else body[name] = READ[name]?.(value) ?? value;
  }
  if (minSigma.value !== null) body.min_sigma = minSigma.value;
  if (cursor) body.cursor = cursor;
  return body;
}
