/** Copies of a picture: how they differ from the best one, and lists of them. */
import { ask } from "./api.js";
import { directoryOf, nameOf, pathBytes, sizeText } from "./names.js";
import { dayText } from "./times.js";

/** How many groups are asked for at once for a list. */
const PAGE = 1000;

/** How a fact is called that differs, but is neither more nor less. */
export const ANOTHER = "another";

const order = (value, than, less, more) => (value < than ? less : more);
const pixels = (one) => one.width * one.height;

/** What is compared: its name, what is shown of a picture, and how that of a copy is called beside another of the best. */
const FACTS = [
  ["Pixels", (one) => `${one.width}×${one.height}`, (one, best) => order(pixels(one), pixels(best), "fewer", "more")],
  ["File size", (one) => sizeText(one.bytes), (one, best) => order(one.bytes, best.bytes, "smaller", "larger")],
  ["Format", (one) => one.format.toUpperCase(), () => ANOTHER],
  ["Date", (one) => dayText(one.date), (one, best) => order(one.date, best.date, "earlier", "later")],
  ["Camera", (one) => one.camera ?? "", () => ANOTHER],
  ["Name", nameOf, () => ANOTHER],
  ["Directory", directoryOf, () => ANOTHER],
];

/** Return the facts of a picture: `{name, text, differs}`; `differs` is a word, or "" where it is as that of the best. */
export function factsBeside(picture, best) {
  const facts = FACTS.map(([name, shown, word]) => {
    const text = shown(picture);
    return { name, text, differs: text === shown(best) ? "" : word(picture, best) };
  });
  return facts.filter(({ text, differs }) => text || differs);
}

/** Yield all groups of duplicates that the server finds for `params`, page by page. */
async function* allGroups(params) {
  for (let cursor = ""; cursor !== null; ) {
    const answer = await ask("duplicates", { params: { ...params, limit: PAGE, ...(cursor && { cursor }) } });
    yield* answer.groups;
    cursor = answer.next;
  }
}

/** Lists of duplicates: what each is called, its file, and the parts that a group adds to it; `imgidx dupes` prints these. */
export const LISTS = [
  ["All paths, a blank line after each group", "duplicates.txt", (pictures) => [...lines(pictures), "\n"]],
  ["All paths but the best of each group", "copies.txt", (pictures) => lines(pictures.slice(1))],
  ["Everything, a JSON object for each group", "duplicates.jsonl", (pictures) => [JSON.stringify({ pictures }), "\n"]],
];

const lines = (pictures) => pictures.flatMap((picture) => [pathBytes(picture), "\n"]);

/** Let the browser save a list of all groups that the server finds for `params`. */
export async function saveList([, file, add], params) {
  const parts = [];
  for await (const { pictures } of allGroups(params)) parts.push(...add(pictures));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(parts));
  link.download = file;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
