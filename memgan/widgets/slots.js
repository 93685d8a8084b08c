// A slot picked from a sheet, from a map of the keys or by a draw: its counts, real images near it, and its samples.
import { announce, button, element, follow, menu, paint, picture, root, set, svg } from "./controls.js";
import { live, percent, slotPicker } from "./gan.js";

const COLUMNS = 12; // of the sheet
const SAMPLE_COLUMNS = 8;
const MAP = [340, 300]; // the map's own units
const CLASS_COLOURS = ["#77aadd", "#ee8866", "#eedd88", "#ffaabb", "#99ddff", "#44bb99", "#bbcc33", "#aaaa00", "#dddddd", "#cc99dd"]; // Paul Tol's light scheme: black text on each
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function render({ model, el }) {
  const gan = live(model);
  const table = tabled(model);
  const picker = slotPicker(model, gan);
  const sheet = makeSheet(model, gan, table);
  const map = makeMap(model, gan, table);
  const facts = makeFacts(model, gan, table);
  const samples = makeSamples(model, gan);
  root(
    el,
    "slot explorer",
    picker.node,
    element("div", { className: "row halves" }, sheet.node, map.node),
    element("div", { className: "row" }, ...facts.nodes, samples.node),
  );
  const gone = announce(model);
  return () => [picker.stop, sheet.stop, map.stop, facts.stop, samples.stop, gone].forEach((end) => end());
}

// What Python computed for each slot that can be drawn, by the slot's number.
function tabled(model) {
  let [table, rows] = [null, null];
  return () => {
    if (model.get("table") !== table) {
      table = model.get("table");
      rows = new Map((table.slots ?? []).map((slot, row) => [slot, row]));
    }
    const called = (number) => table.class_names?.[number] ?? String(number);
    return { ...table, slots: table.slots ?? [], called, of: (name, slot) => table[name]?.[rows.get(slot)] };
  };
}

// One image for each slot that can be drawn, at z = 0. A class begins on a new row.
function makeSheet(model, gan, table) {
  const canvas = element("canvas", { className: "pixels" });
  const mark = element("div", { className: "chosen" });
  const grid = element("div", { className: "grid" }, canvas, mark);
  const box = element("div", { className: "sheet", tabIndex: 0, role: "application" }, grid);
  const order = menu("sorted by", [["use", "use, most first"]], (value) => set(model, { order: value }));
  const painted = new Map(); // images by slot
  let [cells, rows, owner, turn] = [[], 0, null, 0];

  function arrange() {
    const { slots, of, called, classes } = table();
    const texts = { use: "use, most first", class: "class", age: "age, youngest first" };
    const orders = Object.keys(texts).filter((name) => name !== "class" || classes);
    order.select.replaceChildren(...orders.map((value) => element("option", { value, textContent: texts[value] })));
    const wanted = orders.includes(model.get("order")) ? model.get("order") : "use";
    order.select.value = wanted;
    const rank = { use: () => 0, class: (slot) => of("classes", slot), age: (slot) => gan().ages[slot] }[wanted];
    const sorted = [...slots].sort((a, b) => rank(a) - rank(b)); // stable: by use among equals
    let [row, column] = [0, -1];
    cells = sorted.map((slot, i) => {
      const breaks = wanted === "class" && i > 0 && rank(slot) !== rank(sorted[i - 1]);
      [row, column] = breaks || column === COLUMNS - 1 ? [row + 1, 0] : [row, column + 1];
      return { slot, row, column };
    });
    rows = cells.length ? row + 1 : 1;
    const [, height, width] = gan().image_shape;
    Object.assign(canvas, { width: COLUMNS * (width + 1) - 1, height: rows * (height + 1) - 1 });
    grid.querySelectorAll("span").forEach((label) => label.remove());
    grid.classList.toggle("labelled", wanted === "class");
    cells.forEach(({ slot, row }, i) => {
      if (wanted !== "class" || (i > 0 && rank(slot) === rank(cells[i - 1].slot))) return;
      const label = element("span", { textContent: called(rank(slot)) });
      label.style.top = `${(100 * row) / rows}%`;
      grid.append(label);
    });
    if (owner !== gan()) painted.clear();
    owner = gan();
    fill();
    choose();
  }

  function fill() {
    const mine = ++turn; // an older filling stops when a newer one has begun
    const shape = gan().image_shape;
    const zero = Array(gan().noise_dim).fill(0);
    box.setAttribute("aria-busy", "true");
    const piece = (from) => {
      if (mine !== turn) return;
      const until = performance.now() + 8; // the page stays at hand between two pieces
      let i = from;
      for (; i < cells.length && (i === from || performance.now() < until); i++) {
        const { slot, row, column } = cells[i];
        if (!painted.has(slot)) painted.set(slot, gan().image(gan().key(slot), zero).slice());
        paint(canvas, painted.get(slot), shape, column * (shape[2] + 1), row * (shape[1] + 1));
      }
      if (i < cells.length) setTimeout(piece, 0, i);
      else box.setAttribute("aria-busy", "false");
    };
    setTimeout(piece, 0, 0);
  }

  function choose() {
    const slot = model.get("slot");
    const cell = cells.find((other) => other.slot === slot);
    mark.hidden = !cell;
    box.setAttribute("aria-label", `sheet of the ${cells.length} slots that are drawn; arrow keys choose; now slot ${slot}`);
    if (!cell) return;
    const [, height, width] = gan().image_shape;
    mark.style.left = `${(100 * cell.column * (width + 1)) / canvas.width}%`;
    mark.style.top = `${(100 * cell.row * (height + 1)) / canvas.height}%`;
    mark.style.width = `${(100 * width) / canvas.width}%`;
    mark.style.height = `${(100 * height) / canvas.height}%`;
    const [top, bottom] = [mark.offsetTop, mark.offsetTop + mark.offsetHeight]; // in the grid
    if (top < box.scrollTop) box.scrollTop = top - 4;
    if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight + 4;
  }

  grid.addEventListener("click", (event) => {
    const area = canvas.getBoundingClientRect();
    const column = Math.floor(((event.clientX - area.left) / area.width) * COLUMNS);
    const row = Math.floor(((event.clientY - area.top) / area.height) * rows);
    const cell = cells.find((other) => other.row === row && other.column === column);
    if (cell) set(model, { slot: cell.slot });
  });
  box.addEventListener("keydown", (event) => {
    const step = ARROWS[event.key];
    if (!step || !cells.length) return;
    event.preventDefault();
    const at = cells.findIndex(({ slot }) => slot === model.get("slot"));
    const { row, column } = cells[at] ?? { row: 0, column: 0 };
    const beside = cells[Math.max(0, Math.min(cells.length - 1, at + step[0]))];
    const inRow = cells.filter((cell) => cell.row === row + step[1]);
    const below = inRow[Math.min(column, inRow.length - 1)];
    const to = step[0] ? beside : below;
    if (to) set(model, { slot: to.slot });
  });
  const stops = [follow(model, ["order", "gan", "table"], arrange), follow(model, ["slot"], choose)];
  const says = element("figcaption", { className: "controls" }, "one image for each slot, z = 0", order.node);
  const stop = () => (turn++, stops.forEach((end) => end()));
  return { node: element("figure", {}, box, says), stop };
}

// Every slot that can be drawn as a dot where Python put its key; number and colour are its class.
function makeMap(model, gan, table) {
  const dots = svg("g");
  const rings = ["rim", "ring"].map((name) => svg("circle", { class: name }));
  const drawing = svg("svg", { viewBox: `0 0 ${MAP[0]} ${MAP[1]}`, "aria-hidden": "true" }, dots, ...rings);
  const box = element("div", { className: "map", tabIndex: 0, role: "application" }, drawing);
  const says = element("figcaption");
  let places = new Map(); // [x, y, radius] by slot

  function draw() {
    const { slots, of, classes } = table();
    const most = Math.max(...slots.map((slot) => gan().histogram[slot]), 1e-9);
    places = new Map(
      slots.map((slot) => {
        const [x, y] = of("places", slot);
        const radius = 5 + 6 * Math.sqrt(gan().histogram[slot] / most);
        return [slot, [14 + x * (MAP[0] - 28), MAP[1] - 14 - y * (MAP[1] - 28), radius]];
      }),
    );
    const dot = ([slot, [x, y, r]]) => {
      const name = of("classes", slot);
      const fill = name === undefined ? "var(--real)" : CLASS_COLOURS[name % CLASS_COLOURS.length];
      const circle = svg("circle", { cx: x, cy: y, r, style: `fill: ${fill}` });
      return name === undefined ? [circle] : [circle, svg("text", { x, y: y + 3.2 }, String(name))];
    };
    dots.replaceChildren(...[...places].flatMap(dot));
    says.textContent = `map of the keys (t-SNE: close keys lie close); the larger, the more used${classes ? "; number and colour: class" : ""}`;
    choose();
  }

  function choose() {
    const at = places.get(model.get("slot"));
    box.setAttribute("aria-label", `map of the keys; arrow keys move to the next slot that way; now slot ${model.get("slot")}`);
    for (const ring of rings) {
      ring.style.display = at ? "" : "none";
      ["cx", "cy", "r"].forEach((name, i) => ring.setAttribute(name, (at?.[i] ?? 0) + (name === "r" ? 2.5 : 0)));
    }
  }

  // The slot for which `cost(dx, dy)` from (x, y) is least; Infinity is none.
  const least = ([x, y], cost) => {
    let [best, lowest] = [null, Infinity];
    for (const [slot, [left, top]] of places) {
      const value = cost(left - x, top - y);
      if (value < lowest) [best, lowest] = [slot, value];
    }
    if (best !== null) set(model, { slot: best });
  };
  box.addEventListener("click", (event) => {
    const area = drawing.getBoundingClientRect();
    const at = [((event.clientX - area.left) / area.width) * MAP[0], ((event.clientY - area.top) / area.height) * MAP[1]];
    least(at, (dx, dy) => dx * dx + dy * dy);
  });
  box.addEventListener("keydown", (event) => {
    const step = ARROWS[event.key];
    if (!step) return;
    event.preventDefault();
    least(places.get(model.get("slot")) ?? [0, 0], (dx, dy) => {
      const along = dx * step[0] + dy * step[1];
      const across = Math.abs(dx * step[1]) + Math.abs(dy * step[0]);
      return along > 1e-6 ? along + 2 * across : Infinity;
    });
  });
  const stops = [follow(model, ["gan", "table"], draw), follow(model, ["slot"], choose)];
  return { node: element("figure", {}, box, says), stop: () => stops.forEach((end) => end()) };
}

// The slot in large, what the memory holds of it, and the real images whose queries are nearest to its key.
function makeFacts(model, gan, table) {
  const { image_shape: shape } = gan();
  const image = picture(shape, 112, "");
  const list = element("dl", { "aria-live": "polite" });
  const nearest = element("div", { className: "nearest" });
  const says = element("figcaption");
  const real = element("figure", { className: "near" }, nearest, says);

  function tell() {
    const slot = model.get("slot");
    const { values, ages, histogram } = gan();
    const { of, called, kept, images } = table();
    paint(image, gan().image(gan().key(slot), Array(gan().noise_dim).fill(0)), shape);
    image.setAttribute("aria-label", `image of slot ${slot} at z = 0`);
    const [name, agreed] = [of("classes", slot), of("agreed", slot)];
    const rows = [
      ["value v", values[slot] === 1 ? "1, real" : "0, generated"],
      ["age a", ages[slot] === 1 ? "1 write" : `${ages[slot]} writes`],
      ["histogram h", `${histogram[slot].toPrecision(3)}${values[slot] === 1 ? `, ${percent(gan().share(slot))} of the draws` : ""}`],
      ...(name === undefined ? [] : [["class", `${called(name)} (${agreed} of 8 images)`]]),
    ];
    list.replaceChildren(...rows.flatMap(([term, text]) => [element("dt", {}, term), element("dd", {}, text)]));
    const found = of("nearest", slot) ?? [];
    const pixels = images && new Uint8Array(images.buffer, images.byteOffset, images.byteLength);
    const area = shape[0] * shape[1] * shape[2];
    const each = found.map((number, i) => {
      const at = kept.indexOf(number) * area;
      const cosine = of("cosines", slot)[i].toFixed(2);
      const canvas = picture(shape, 48, `real image ${number}, cosine ${cosine}`);
      paint(canvas, Float32Array.from(pixels.subarray(at, at + area), (value) => value / 127.5 - 1), shape);
      return element("div", {}, canvas, element("span", {}, cosine));
    });
    nearest.replaceChildren(...each);
    real.hidden = !images;
    const none = gan().values[slot] === 1 ? "nearest real images: not stored for this slot" : "generated: neither on the sheet nor on the map, no real images are sought for it";
    says.textContent = each.length ? "nearest real images, cosine" : none;
  }

  const stop = follow(model, ["slot", "gan", "table"], tell);
  const seen = element("figure", {}, image, element("figcaption", {}, "G(K, 0)"));
  return { nodes: [seen, list, real], stop };
}

// The slot with each z of `noises`: the same for every slot, until new ones are asked for.
function makeSamples(model, gan) {
  const { image_shape: shape } = gan();
  const canvas = element("canvas", { className: "pixels", role: "img" });
  const again = button("draw new z for the samples", "new z", () => {
    const z = () => Math.round(200 * Math.random() - 100) / 100;
    set(model, { noises: model.get("noises").map((noise) => noise.map(z)) });
  });
  const stop = follow(model, ["slot", "noises", "gan"], () => {
    const [slot, noises] = [model.get("slot"), model.get("noises")];
    const size = { width: SAMPLE_COLUMNS * (shape[2] + 1) - 1, height: (noises.length / SAMPLE_COLUMNS) * (shape[1] + 1) - 1 };
    Object.assign(canvas, size);
    canvas.setAttribute("aria-label", `${noises.length} samples of slot ${slot}`);
    noises.forEach((noise, i) => {
      const place = [(i % SAMPLE_COLUMNS) * (shape[2] + 1), Math.floor(i / SAMPLE_COLUMNS) * (shape[1] + 1)];
      paint(canvas, gan().image(gan().key(slot), noise), shape, ...place);
    });
  });
  const says = element("figcaption", { className: "controls" }, "samples of this slot: z at random", again);
  return { node: element("figure", { className: "samples" }, canvas, says), stop };
}

export default { render };
