/** The one place where htm meets Preact: `html` makes elements, and writes every text as text, never as markup. */
import htm from "htm";
import { h } from "preact";

export const html = htm.bind(h);
