// A memory on a circle, write by write: slots born, moving, decaying, replaced. It plays only when asked to.
import { element, follow, player, root, svg } from "memgan/controls.js";
import { canvasOf, countText, kindOf, pathOf, pointAt, radiusOf, slotSign, textAt, turnOf } from "./circle.js";

const PAUSE = 1200; // milliseconds for each write while it plays
const GLIDE = 350; // of which keys take this many to turn

const USED = 1e-3; // a slot with a smaller count is drawn grey
const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

function render({ model, el }) {
  const frames = () => model.get("frames");
  const last = () => frames().length - 1;
  const drawing = canvasOf(1.45, "");
  const layer = svg("g");
  drawing.append(layer);
  const words = element("p", { className: "words", "aria-live": "polite" });
  const table = makeTable();
  const controls = player(model, "write", "write", last, PAUSE);
  drawing.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    controls.step(by);
  });

  const legend = element("figcaption", {}, "Disc: real. Square: generated. Grey: h below 0.001, as good as never used. The larger, the more counts h; the paler, the older. Ring: just replaced. Arc: moved by EM. Marks outside: the queries of this write.");
  root(el, "memory film", controls.node, words, element("div", { className: "row" }, element("figure", {}, drawing, legend), table.node));

  let shown = null; // the write that is drawn
  let glide = null;
  const stop = follow(model, ["write", "frames"], () => {
    const write = model.get("write");
    const [now, before] = [frames()[write], frames()[write - 1]];
    cancelAnimationFrame(glide);
    const from = shown !== null && write === shown + 1 && !still() ? performance.now() : null;
    shown = write;
    const tick = (time) => {
      const part = from === null ? 1 : Math.max(0, Math.min(1, (time - from) / GLIDE));
      drawFrame(layer, now, before, part);
      if (part < 1) glide = requestAnimationFrame(tick);
    };
    tick(performance.now());
    words.textContent = tellOf(now, before, write);
    table.draw(now, before);
    const where = write ? `after write ${write} of ${last()}` : "before the first write";
    controls.show(where);
    drawing.setAttribute("aria-label", `circle with ${now.keys.length} slots, ${where}; arrow keys step`);
  });
  return () => (controls.stop(), cancelAnimationFrame(glide), stop());
}

// The memory after a write; keys that EM turns have come `part` of their way.
function drawFrame(layer, now, before, part) {
  const labels = []; // turn and number of each slot
  layer.replaceChildren(svg("circle", { r: 1, class: "rim" }));
  now.queries.forEach((query, b) => {
    const turn = turnOf(query);
    const kind = kindOf(now.labels[b]);
    const [x, y] = pointAt(turn, 1.36);
    const sign = slotSign(now.labels[b], 0.035, { transform: `translate(${x} ${-y})` });
    layer.append(svg("path", { d: pathOf([pointAt(turn, 1.2), pointAt(turn, 1.33)]), class: `tick ${kind}` }), sign);
  });
  now.keys.forEach((key, slot) => {
    const kind = kindOf(now.values[slot]);
    let turn = turnOf(key);
    if (now.moved.includes(slot)) {
      const start = turnOf(before.keys[slot]);
      const by = Math.atan2(Math.sin(turn - start), Math.cos(turn - start));
      const path = Array.from({ length: 21 }, (_, i) => pointAt(start + (by * part * i) / 20, 0.9));
      layer.append(svg("path", { d: pathOf(path), class: `arc ${kind}` }));
      turn = part < 1 ? start + by * part : turn;
    }
    const [x, y] = pointAt(turn);
    const sign = slotSign(now.values[slot], radiusOf(now.histogram[slot]), { transform: `translate(${x} ${-y})`, "data-slot": slot });
    if (now.histogram[slot] < USED) sign.classList.add("unused");
    sign.style.opacity = Math.max(0.25, 1 - now.ages[slot] / 12);
    layer.append(sign);
    labels.push([turn, slot]);
    if (now.replaced.includes(slot)) layer.append(svg("circle", { r: 0.17, transform: `translate(${x} ${-y})`, class: "ring" }));
  });
  for (const [turn, slots] of gathered(labels)) {
    const text = textAt(...pointAt(turn, 0.8), slots.sort((a, b) => a - b).join(" "), 0.11);
    const side = Math.cos(turn); // the text begins or ends beside its slots, towards the middle
    text.setAttribute("text-anchor", side > 0.5 ? "end" : side < -0.5 ? "start" : "middle");
    layer.append(text);
  }
}

// Slots so close together that they need one label: [turn, slots] each.
function gathered(labels) {
  const groups = [];
  for (const [turn, slot] of [...labels].sort((a, b) => a[0] - b[0])) {
    const group = groups.at(-1);
    if (group && turn - group[2] < 0.22) group.splice(0, 3, (group[0] * group[1].length + turn) / (group[1].length + 1), [...group[1], slot], turn);
    else groups.push([turn, [slot], turn]);
  }
  return groups;
}

function listed(slots) {
  const names = slots.map(String);
  const all = names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
  return `${slots.length === 1 ? "slot" : "slots"} ${all}`;
}

// What happened in this write, in words.
function tellOf(now, before, write) {
  if (!before) return `Before the first write: ${now.keys.length} slots, ${now.histogram.filter((h) => h >= USED).length} of them with a count.`;
  const real = now.labels.filter((label) => label === 1).length;
  const many = (number, what) => `${number} ${what} ${number === 1 ? "query" : "queries"}`;
  const told = [`${many(real, "real")} and ${many(now.labels.length - real, "generated")} were written`];
  for (const value of [1, 0]) {
    const slots = now.replaced.filter((slot) => now.values[slot] === value);
    if (!slots.length) continue;
    const by = slots.length === 1 ? `a ${kindOf(value)} query` : `${kindOf(value)} queries`;
    told.push(`${listed(slots)} ${slots.length === 1 ? "was" : "were"} replaced by ${by}`);
  }
  if (now.moved.length) told.push(`EM moved ${listed(now.moved)}`);
  if (now.decayed.length) told.push(`${listed(now.decayed)} lost count`);
  if (now.born.length) told.push(`${listed(now.born)} came into use`);
  return `Write ${write}: ${told.join("; ")}.`;
}

// Every slot's label, count, age, and what this write did to it.
function makeTable() {
  const body = element("tbody");
  const head = ["slot", "h", "age", "this write"].map((text) => element("th", { scope: "col" }, text));
  const table = element("table", { className: "bars" }, element("thead", {}, element("tr", {}, ...head)), body);
  const draw = (now) => {
    const most = Math.max(1, ...now.histogram);
    const rows = now.keys.map((_, slot) => {
      const kind = kindOf(now.values[slot]);
      const fill = element("div", { className: `fill ${now.histogram[slot] < USED ? "unused" : kind}` });
      fill.style.width = `${(100 * now.histogram[slot]) / most}%`;
      const bar = element("td", {}, element("div", { className: "trough" }, fill), element("span", {}, countText(now.histogram[slot])));
      const events = ["replaced", "moved", "decayed", "born"].filter((name) => now[name].includes(slot));
      const row = element("tr", {}, element("th", { scope: "row" }, `${slot} ${kind}`), bar, element("td", {}, String(now.ages[slot])), element("td", {}, events.join(", ")));
      return row;
    });
    body.replaceChildren(...rows);
  };
  const node = element("div", { className: "side scroll", tabIndex: 0, role: "group", "aria-label": "all slots after this write" }, table);
  return { node, draw };
}

export default { render };
