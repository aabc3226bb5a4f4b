"use strict";
const links = [...document.querySelectorAll("main a")], last = links.length - 1;
const help = document.getElementById("help"), place = document.getElementById("place");
const tiles = [110, 150, 190, 250], root = document.documentElement;
let at = -1, tile = 2;

document.getElementById("keys").onclick = () => help.showModal();
for (const link of links) link.tabIndex = -1;
if (links.length) links[0].tabIndex = 0;

addEventListener("focusin", event => {
  const to = links.indexOf(event.target);
  if (to < 0) return;
  links[Math.max(at, 0)].tabIndex = -1;
  links[to].tabIndex = 0;
  at = to;
  place.value = `${at + 1} of ${links.length}`;
});

// The picture of the next row, up or down, that is nearest to this one from left to right.
const box = i => links[i].parentElement.getBoundingClientRect();
const inRow = step => {
  const here = box(at);
  let best = at, gap = Infinity, top = null;
  for (let i = at + step; links[i]; i += step) {
    const there = box(i);
    if (Math.abs(there.top - here.top) < 2) continue;
    top ??= there.top;
    if (Math.abs(there.top - top) > 2) break;
    const distance = Math.abs(there.left - here.left);
    if (distance < gap) [best, gap] = [i, distance];
  }
  return best;
};
const targets = {
  ArrowRight: () => Math.min(at + 1, last), ArrowLeft: () => Math.max(at - 1, 0),
  ArrowDown: () => inRow(1), ArrowUp: () => inRow(-1), Home: () => 0, End: () => last,
};
const resize = step => {
  tile = Math.min(Math.max(tile + step, 0), tiles.length - 1);
  root.style.setProperty("--tile", `${tiles[tile]}px`);
  if (at >= 0) links[at].scrollIntoView({ block: "nearest" });
};
addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "?") return help.open ? help.close() : help.showModal();
  if (help.open || !links.length) return;
  if ("+=-".includes(event.key)) return resize(event.key === "-" ? -1 : 1);
  const target = targets[event.key];
  if (!target) return;
  event.preventDefault();
  const link = links[at < 0 && event.key.startsWith("Arrow") ? 0 : target()];
  link.focus({ preventScroll: true });
  link.scrollIntoView({ block: "nearest" });
});
