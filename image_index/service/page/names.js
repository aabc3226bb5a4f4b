/** Names of files as people may see them: what a name can do to the text around it, it does not do here. */

const UNPRINTABLE = /[\p{C}\p{Z}]/gu;
const SHORT = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };
const UTF8 =
  /[\x00-\x7f]+|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xef][\x80-\xbf]{2}|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf4][\x80-\xbf]{3}|([^])/g;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

const escaped = (byte) => `\\x${byte.toString(16).padStart(2, "0")}`;

/**
 * Return a text with what is not printable escaped, as the command line prints it.
 *
 * A control character for direction (U+202E) would turn `gpj.exe` into `exe.jpg` on the screen; it becomes `\xe2\x80\xae`.
 */
export function printable(text) {
  return text.replace(UNPRINTABLE, (one) =>
    one === " " ? one : (SHORT[one] ?? [...encoder.encode(one)].map(escaped).join("")),
  );
}

/** Return the path in a record for people: `path`, or `path_bytes`, base64 of what is no UTF-8; "" where there is none. */
export function pathOf(record, key = "path") {
  if (record[key] != null) return printable(record[key]);
  const bytes = record[`${key}_bytes`];
  if (bytes == null) return "";
  return atob(bytes).replace(UTF8, (run, invalid) =>
    invalid ? escaped(invalid.charCodeAt(0)) : printable(decoder.decode(Uint8Array.from(run, (one) => one.charCodeAt(0)))),
  );
}

/** Return the path in a record as the bytes that it is on the disk. */
export function pathBytes(record) {
  if (record.path != null) return encoder.encode(record.path);
  return Uint8Array.from(atob(record.path_bytes), (one) => one.charCodeAt(0));
}

/** Return the last part of a path: the name of the file. */
export function nameOf(record) {
  const path = pathOf(record);
  return path.slice(path.lastIndexOf("/") + 1);
}

/** Return what a path has before its last part: the directory. */
export function directoryOf(record) {
  const path = pathOf(record);
  return path.slice(0, Math.max(path.lastIndexOf("/"), 1));
}

/** Return a size in bytes for people: `1.2 MB`. */
export function sizeText(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const step = Math.min(bytes ? Math.floor(Math.log10(bytes) / 3) : 0, units.length - 1);
  const digits = step && bytes / 1000 ** step < 10 ? 1 : 0;
  return `${(bytes / 1000 ** step).toFixed(digits)} ${units[step]}`;
}

/** Return how far from the place that was named a hit was taken: `1.2 km`. */
export function distanceText({ distance_km: km }) {
  return km < 1 ? `${Math.round(km * 1000)}\u00a0m` : `${km < 100 ? km.toFixed(1) : countText(Math.round(km))}\u00a0km`;
}

/** Return a number for people: `12,345`. */
export function countText(count) {
  return count.toLocaleString("en");
}
