/** Pictures of the user's own: dropped, pasted or chosen; they stay in this page, and go to the server to be searched by. */
import { notify } from "../notices.js";
import { addTerm, setTerms, terms } from "./query.js";

/** The most that the server takes: 50 MiB. */
const MOST_BYTES = 50 << 20;

const files = new Map();

/** Return the file of a term, undefined where the page has been loaded again since. */
export function droppedFile(key) {
  return files.get(key);
}

/** Search by a file, in place of the one before; the terms beside it stay. */
export function searchBy(file) {
  if (file.type && !file.type.startsWith("image/")) {
    notify(`${file.name} is no picture`, { isProblem: true });
    return;
  }
  if (file.size > MOST_BYTES) {
    notify(`${file.name} is larger than 50 MiB, the most that the server takes`, { isProblem: true });
    return;
  }
  const key = `${file.name || "picture"}-${file.size}-${file.lastModified}`;
  files.set(key, file);
  if (terms.value.some(({ kind }) => kind === "picture")) {
    setTerms([...terms.value.filter(({ kind }) => kind !== "picture"), { kind: "picture", value: key, weight: 1 }]);
  } else addTerm("picture", key);
}

/** Return the picture in what was dropped or pasted, undefined where there is none. */
export function pictureIn(transfer) {
  return [...(transfer?.files ?? [])][0];
}

addEventListener("paste", (event) => {
  const file = pictureIn(event.clipboardData);
  if (!file) return;
  event.preventDefault();
  searchBy(file);
});
