// Bayes' rule over slots on a circle or a sphere: all slots beside the k most probable ones.
import { button, element, follow, menu, root, set, slider, svg } from "memgan/controls.js";
import { canvasOf, countText, degrees, kindOf, pathOf, pointAt, radiusOf, slotSign, textAt, turnOf } from "./circle.js";

const SIZE = 1.7; // half the side of the drawing; the radius of circle and sphere is 1
const WALL = 0.62; // height of the highest wall around the circle
const GROUND = 160; // pixels along the sphere's picture

const dot = (a, b) => a.reduce((sum, number, i) => sum + number * b[i], 0);
const unit = (a) => a.map((number) => number / Math.hypot(...a));
const clamped = (value, low, high) => Math.max(low, Math.min(high, value));

// Equations (4) to (6) for one query: what all slots say, what the k most probable ones say, and how far apart that is.
export function bayes({ keys, values, histogram, kappa, top_k, beta, epsilon }, query) {
  const scores = keys.map((key, i) => kappa * dot(key, query) + Math.log(histogram[i] + beta));
  const best = scores.map((_, i) => i).sort((a, b) => scores[b] - scores[a]).slice(0, top_k);
  const joint = scores.map((score) => Math.exp(score - scores[best[0]]));
  const sum = (slots) => slots.reduce((total, slot) => total + joint[slot], 0);
  const everyone = values.map((_, i) => i);
  const inside = new Set(best);
  const real = (slots) => slots.filter((slot) => values[slot] === 1);
  const exact = sum(real(everyone)) / sum(everyone);
  const approximate = sum(real(best)) / sum(best);
  return {
    posterior: joint.map((one) => one / sum(everyone)),
    renormalised: joint.map((one, slot) => (inside.has(slot) ? one / sum(best) : 0)),
    inside,
    exact,
    approximate,
    outside: sum(everyone.filter((slot) => !inside.has(slot))) / sum(everyone),
    read: clamped(approximate, epsilon, 1 - epsilon),
  };
}

function render({ model, el }) {
  const names = ["slot_keys", "values", "histogram", "kappa", "top_k", "beta", "epsilon"];
  const state = () => Object.fromEntries(names.map((name) => [name === "slot_keys" ? "keys" : name, model.get(name)]));
  const onSphere = model.get("slot_keys")[0].length === 3;
  const move = (query) => set(model, { query: unit(query) });
  const scene = (onSphere ? makeSphere : makeCircle)(model, state, move);
  const bars = makeBars(model);
  const answers = makeAnswers();

  const kappa = slider({
    label: "κ", min: -1, max: 2.3, step: 0.01, says: () => model.get("kappa").toPrecision(3),
    changed: (power) => set(model, { kappa: Number((10 ** power).toPrecision(3)) }),
  });
  const topK = slider({
    label: "k", min: 1, max: model.get("values").length, step: 1,
    says: () => `${model.get("top_k")} of ${model.get("values").length}`,
    changed: (k) => set(model, { top_k: k }),
  });
  const count = slider({
    label: "h", min: 0, max: 10, step: 0.05, says: () => countText(model.get("histogram")[model.get("slot")]),
    changed: (h) => set(model, { histogram: model.get("histogram").map((old, i) => (i === model.get("slot") ? h : old)) }),
  });
  kappa.input.setAttribute("aria-label", "kappa, the concentration");
  topK.input.setAttribute("aria-label", "k, slots that are asked");
  // A given query is taken as it is: put back to length 1, one in float32 would no longer be the one that was chosen.
  const picker = menu("query", [], (at) => at !== "" && set(model, { query: model.get("queries")[Number(at)] }));
  picker.select.setAttribute("aria-label", "query: one of those given");

  const tools = element("div", { className: "tools" }, kappa.node, topK.node, count.node, picker.node);
  const side = element("div", { className: "side" }, tools, element("div", { className: "scroll" }, bars.node), answers.node);
  root(el, "posterior explorer", element("div", { className: "row" }, scene.node, side));

  // The slider of h ends at the largest count since its slot was chosen: its end must not come down under the hand that
  // moves it.
  let counted = null;
  let most = 10;
  const stop = follow(model, [...names, "query", "queries", "slot", "view"], () => {
    const [query, slot, queries] = [model.get("query"), model.get("slot"), model.get("queries")];
    const result = bayes(state(), query);
    scene.draw();
    bars.draw(result);
    answers.draw(result, model.get("epsilon"));
    kappa.show(Math.log10(model.get("kappa")));
    topK.show(model.get("top_k"));
    if (slot !== counted) most = 10;
    counted = slot;
    most = Math.max(most, ...model.get("histogram"));
    count.input.max = most;
    count.node.firstChild.textContent = `h of slot ${slot}`;
    count.input.setAttribute("aria-label", `h, the histogram of slot ${slot}`);
    count.show(model.get("histogram")[slot]);
    const isShown = (one) => one !== undefined && one.every((number, i) => Math.abs(number - query[i]) < 1e-9);
    const chosen = picker.select.value === "" ? -1 : Number(picker.select.value);
    const at = isShown(queries[chosen]) ? chosen : queries.findIndex(isShown); // of equal queries, the one that was chosen
    const options = queries.map((_, i) => element("option", { value: i }, `number ${i}`));
    picker.select.replaceChildren(element("option", { value: "" }, "where you put it"), ...options);
    picker.select.value = at < 0 ? "" : at;
    picker.node.hidden = queries.length < 2;
  });
  return () => (scene.stop(), stop());
}

// A row for each slot: its posterior, and the same over S alone. Choosing a row chooses the slot for h.
function makeBars(model) {
  const body = element("tbody");
  const head = ["slot", "h", "posterior, all slots", "over S only"].map((text) => element("th", { scope: "col" }, text));
  const node = element("table", { className: "bars" }, element("thead", {}, element("tr", {}, ...head)), body);
  const rows = model.get("values").map((_, slot) => {
    const choose = button("", "", () => set(model, { slot }));
    const [count, exact, over] = [element("td"), element("td"), element("td")];
    const row = element("tr", {}, element("th", { scope: "row" }, choose), count, exact, over);
    body.append(row);
    return { row, choose, count, exact, over };
  });
  const bar = (cell, share, kind) => {
    const fill = element("div", { className: `fill ${kind}` });
    fill.style.width = `${100 * share}%`;
    cell.dataset.share = share;
    cell.replaceChildren(element("div", { className: "trough" }, fill), element("span", {}, share.toFixed(3)));
  };
  const draw = ({ posterior, renormalised, inside }) =>
    rows.forEach(({ row, choose, count, exact, over }, slot) => {
      const kind = kindOf(model.get("values")[slot]);
      const chosen = slot === model.get("slot");
      choose.textContent = `${slot} ${kind}`;
      choose.setAttribute("aria-label", `slot ${slot}, ${kind}: choose it for h`);
      choose.setAttribute("aria-pressed", chosen);
      row.className = chosen ? "picked" : "";
      count.textContent = countText(model.get("histogram")[slot]);
      bar(exact, posterior[slot], kind);
      bar(over, renormalised[slot], kind);
      if (!inside.has(slot)) over.replaceChildren("not in S");
    });
  return { node, draw };
}

function makeAnswers() {
  const lines = {
    exact: "P(real), all slots",
    approximate: "P(real), over S",
    error: "error: their difference",
    outside: "bound: posterior outside S",
    read: "D(x): that, clipped",
    clip: "the clip",
  };
  const cells = Object.fromEntries(Object.keys(lines).map((name) => [name, element("dd", { "data-name": name })]));
  const node = element("dl", { className: "answers" }, ...Object.keys(lines).flatMap((name) => [element("dt", {}, lines[name]), cells[name]]));
  const draw = (result, epsilon) => {
    const numbers = { ...result, error: Math.abs(result.exact - result.approximate) };
    for (const [name, number] of Object.entries(numbers)) {
      if (!(name in cells)) continue;
      cells[name].dataset.number = number;
      cells[name].textContent = number.toFixed(4);
    }
    const acts = result.approximate < epsilon || result.approximate > 1 - epsilon;
    cells.clip.textContent = acts ? `acts at ${result.read}: no gradient` : "does not act";
  };
  return { node, draw };
}

// The drawing takes the pointer and arrow keys; `at` gets the place in its own units, y upward.
function listen(drawing, grab, drag, step) {
  const at = (event) => {
    const box = drawing.getBoundingClientRect();
    return [SIZE * (2 * ((event.clientX - box.left) / box.width) - 1), SIZE * (1 - 2 * ((event.clientY - box.top) / box.height))];
  };
  drawing.addEventListener("pointerdown", (event) => {
    drawing.setPointerCapture(event.pointerId);
    grab(at(event));
  });
  drawing.addEventListener("pointermove", (event) => drawing.hasPointerCapture(event.pointerId) && drag(at(event)));
  drawing.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] }[event.key];
    if (!way) return;
    event.preventDefault();
    step(way, event);
  });
}

// Stripes in the colour of what is generated; a page may hold several, so each has a name of its own.
function stripes() {
  const id = `stripes-${Math.random().toString(36).slice(2)}`;
  const line = svg("rect", { width: 0.035, height: 0.07, class: "generated" });
  const pattern = svg("pattern", { id, width: 0.07, height: 0.07, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, line);
  return { defs: svg("defs", {}, pattern), fill: `url(#${id})` };
}

// ------------------------------------------------------------------ M = 2

function makeCircle(model, state, move) {
  const drawing = canvasOf(SIZE, "");
  const { defs, fill } = stripes();
  const layer = svg("g");
  drawing.append(defs, layer);
  const chart = makeChart(move);
  const go = (point) => Math.hypot(...point) > 0.05 && move(point);
  listen(drawing, go, go, (way, event) => {
    const turn = turnOf(model.get("query")) + (((way[1] || -way[0]) * (event.shiftKey ? 15 : 1)) * Math.PI) / 180;
    move(pointAt(turn));
  });
  const caption = "Drag the query round the circle, or use the arrow keys (with shift: 15°). Walls: exp(κ K·q) h, one for each slot; their heights over the query are in proportion to the posterior.";
  const node = element("figure", {}, drawing, chart.node, element("figcaption", {}, caption));

  function wall(i) {
    const { keys, histogram, kappa, beta } = state();
    const share = (histogram[i] + beta) / (Math.max(...histogram) + beta);
    const middle = turnOf(keys[i]);
    const inside = [];
    const outline = [];
    for (let step = -180; step <= 180; step++) {
      const off = (step / 180) ** 3 * Math.PI; // close together where the wall is steep
      outline.push(pointAt(middle + off, 1 + WALL * share * Math.exp(kappa * (Math.cos(off) - 1))));
      inside.push(pointAt(middle + off));
    }
    const kind = kindOf(state().values[i]);
    const colour = kind === "real" ? { class: "wall real" } : { class: "wall generated", style: `fill: ${fill}` };
    return svg("path", { d: `${pathOf(outline)}${pathOf(inside.reverse()).replace("M", "L")}Z`, ...colour });
  }

  function draw() {
    const { keys, values, histogram } = state();
    const query = model.get("query");
    const [x, y] = unit(query);
    const { inside } = bayes(state(), query);
    layer.replaceChildren(svg("circle", { r: 1, class: "rim" }), ...keys.map((_, i) => wall(i)));
    for (const [a, b] of model.get("queries")) layer.append(svg("path", { d: pathOf([[0.9 * a, 0.9 * b], [0.97 * a, 0.97 * b]]), class: "given" }));
    keys.forEach(([a, b], i) => {
      const sign = slotSign(values[i], radiusOf(histogram[i]), { transform: `translate(${a} ${-b})`, "data-slot": i });
      sign.classList.toggle("left-out", !inside.has(i));
      sign.classList.toggle("picked", i === model.get("slot"));
      layer.append(sign, textAt(0.8 * a, 0.8 * b, `${i}${values[i] === 1 ? "R" : "G"}`));
    });
    layer.append(
      svg("path", { d: pathOf([[0, 0], [x, y]]), class: "arrow" }),
      svg("circle", { r: 0.1, transform: `translate(${x} ${-y})`, class: "handle", "data-query": "" }),
      textAt(0.5 * x - 0.12 * y, 0.5 * y + 0.12 * x, "q", 0.16),
    );
    drawing.setAttribute("aria-label", `circle: query at ${degrees(turnOf(query)).toFixed(0)} degrees; arrow keys turn it`);
    chart.draw(state(), query);
  }
  return { node, draw, stop: () => {} };
}

// P(real) in every direction of the circle, all slots (solid) and the k best (dashed), so that its jumps are seen.
function makeChart(move) {
  const plot = svg("g");
  const drawing = svg("svg", { viewBox: "-34 -8 400 112", class: "chart", role: "img" }, plot);
  drawing.addEventListener("pointerdown", (event) => {
    const box = drawing.getBoundingClientRect();
    const angle = ((event.clientX - box.left) / box.width) * 400 - 34;
    if (angle >= 0 && angle <= 360) move(pointAt((angle * Math.PI) / 180));
  });
  const label = (x, y, text, anchor = "middle") => {
    const node = svg("text", { x, y, "font-size": 11, "text-anchor": anchor });
    node.textContent = text;
    return node;
  };
  const key = [svg("path", { d: "M210 -2h22", class: "exact" }), label(236, 2, "all slots", "start"), svg("path", { d: "M292 -2h22", class: "over" }), label(318, 2, "over S", "start")];
  function draw(state, query) {
    const curves = { exact: [], approximate: [] };
    for (let angle = 0; angle <= 360; angle += 0.5) {
      const result = bayes(state, pointAt((angle * Math.PI) / 180));
      for (const name of Object.keys(curves)) curves[name].push([angle, -80 * (1 - result[name]) - 8]);
    }
    const at = degrees(turnOf(query));
    const ticks = [0, 90, 180, 270, 360].map((angle) => label(angle, 102, `${angle}°`));
    plot.replaceChildren(
      svg("path", { d: "M0 8V88H360", class: "axis" }), label(-4, 12, "1", "end"), label(-4, 90, "0", "end"), label(0, 2, "P(real)", "start"),
      ...ticks, ...key,
      svg("path", { d: pathOf(curves.exact), class: "exact" }),
      svg("path", { d: pathOf(curves.approximate), class: "over" }),
      svg("path", { d: `M${at} 8V88`, class: "now" }),
    );
    drawing.setAttribute("aria-label", `P(real) against the direction of the query, which is at ${at.toFixed(0)} degrees`);
  }
  return { node: drawing, draw };
}

// ------------------------------------------------------------------ M = 3

function makeSphere(model, state, move) {
  const ground = element("canvas", { width: GROUND, height: GROUND, className: "ground" });
  const drawing = canvasOf(1.26, "");
  const layer = svg("g");
  drawing.append(layer);
  const scale = 1.26 / SIZE; // the drawing shows a part of what `listen` measures
  const turned = (by) => set(model, { view: [model.get("view")[0] + by[0], clamped(model.get("view")[1] + by[1], -90, 90)] });

  // right, up and towards the reader, as vectors of the space of the keys
  function axes() {
    const [turn, tilt] = model.get("view").map((angle) => (angle * Math.PI) / 180);
    const [c, s, ct, st] = [Math.cos(turn), Math.sin(turn), Math.cos(tilt), Math.sin(tilt)];
    return [[-s, c, 0], [-st * c, -st * s, ct], [ct * c, ct * s, st]];
  }
  const seen = (point) => axes().map((axis) => dot(axis, point));
  const placed = ([x, y, z]) => unit([0, 1, 2].map((i) => x * axes()[0][i] + y * axes()[1][i] + z * axes()[2][i]));
  function under([x, y]) {
    const far = Math.max(1, Math.hypot(x, y));
    return placed([x / far, y / far, Math.sqrt(Math.max(0, 1 - (x / far) ** 2 - (y / far) ** 2))]);
  }

  let held = null; // the query, or the point where the sphere was taken
  listen(
    drawing,
    (point) => {
      const place = point.map((number) => scale * number);
      const [x, y] = seen(model.get("query"));
      held = Math.hypot(place[0] - x, place[1] - y) < 0.2 ? "query" : place;
    },
    (point) => {
      const place = point.map((number) => scale * number);
      if (held === "query") return move(under(place));
      turned([-60 * (place[0] - held[0]), -60 * (place[1] - held[1])]);
      held = place;
    },
    (way, event) => {
      const size = event.shiftKey ? 15 : 5;
      turned([size * way[0], size * way[1]]);
    },
  );
  function walk(way, size) {
    const [right, up] = axes();
    const step = (size * Math.PI) / 180;
    move(model.get("query").map((number, i) => number + step * (way[0] * right[i] + way[1] * up[i])));
  }
  const ways = { "◀": [-1, 0, "left"], "▶": [1, 0, "right"], "▲": [0, 1, "up"], "▼": [0, -1, "down"] };
  const steps = Object.entries(ways).map(([sign, [x, y, name]]) => button(`query: ${name}`, sign, () => walk([x, y], 5)));
  const keyboard = element("div", { className: "controls" }, element("span", {}, "query"), ...steps);
  keyboard.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] }[event.key];
    if (!way) return;
    event.preventDefault();
    walk(way, event.shiftKey ? 15 : 3);
  });
  const caption = "Drag the query (the ring) or use its buttons; drag the sphere elsewhere, or use the arrow keys, to turn it. Colour: exp(κ K·q) h of all slots, blue where real slots have more of it, striped orange where generated ones have.";
  const node = element("figure", {}, element("div", { className: "sphere" }, ground, drawing), keyboard, element("figcaption", {}, caption));

  let wanted = ""; // what the ground depends on
  let asked = null;
  function drawGround() {
    const now = JSON.stringify([state(), model.get("view")]);
    if (now === wanted) return;
    wanted = now;
    if (asked === null) asked = requestAnimationFrame(() => ((asked = null), paintGround()));
  }
  function paintGround() {
    const { keys, values, histogram, kappa, beta } = state();
    const places = keys.map(seen);
    const most = Math.max(...histogram) + beta;
    const context = ground.getContext("2d");
    const image = context.createImageData(GROUND, GROUND);
    const half = GROUND / 2;
    for (let row = 0; row < GROUND; row++) {
      for (let column = 0; column < GROUND; column++) {
        const [x, y] = [(column + 0.5) / half - 1, 1 - (row + 0.5) / half];
        if (x * x + y * y > 1) continue;
        const z = Math.sqrt(1 - x * x - y * y);
        const mass = [0, 0];
        places.forEach(([a, b, c], i) => (mass[values[i]] += ((histogram[i] + beta) / most) * Math.exp(kappa * (a * x + b * y + c * z - 1))));
        const real = mass[1] >= mass[0];
        const strength = Math.min(1, mass[0] + mass[1]) * (!real && (row + column) % 8 < 4 ? 0.45 : 1);
        image.data.set([...(real ? [0, 114, 178] : [230, 159, 0]), 200 * strength], 4 * (row * GROUND + column));
      }
    }
    context.putImageData(image, 0, 0);
  }

  // A great circle around `pole`, the half that faces the reader.
  function greatCircle(a, b) {
    const pieces = [[]];
    for (let step = 0; step <= 90; step++) {
      const [c, s] = pointAt((step * Math.PI) / 45);
      const [x, y, z] = seen(a.map((number, i) => c * number + s * b[i]));
      if (z >= 0) pieces.at(-1).push([x, y]);
      else if (pieces.at(-1).length) pieces.push([]);
    }
    return svg("path", { d: pieces.map(pathOf).join(""), class: "rim" });
  }

  function draw() {
    const { keys, values, histogram } = state();
    const query = model.get("query");
    const { inside } = bayes(state(), query);
    const [ex, ey, ez] = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
    layer.replaceChildren(svg("circle", { r: 1, class: "rim" }), greatCircle(ex, ey), greatCircle(ey, ez), greatCircle(ex, ez));
    const things = keys.map((key, i) => {
      const [x, y, z] = seen(key);
      const sign = slotSign(values[i], radiusOf(histogram[i]), { transform: `translate(${x} ${-y})`, "data-slot": i });
      sign.classList.toggle("left-out", !inside.has(i));
      sign.classList.toggle("picked", i === model.get("slot"));
      const group = svg("g", { class: z < 0 ? "behind" : "" }, sign, textAt(x, y + 0.17, `${i}${values[i] === 1 ? "R" : "G"}`));
      return { z, group };
    });
    for (const given of model.get("queries")) {
      const [x, y, z] = seen(given);
      things.push({ z, group: svg("path", { d: pathOf([[x - 0.03, y], [x + 0.03, y]]) + pathOf([[x, y - 0.03], [x, y + 0.03]]), class: z < 0 ? "given behind" : "given" }) });
    }
    const [x, y, z] = seen(query);
    const handle = svg("g", { class: z < 0 ? "behind" : "" }, svg("circle", { r: 0.1, transform: `translate(${x} ${-y})`, class: "handle", "data-query": "" }), textAt(x, y - 0.18, "q", 0.14));
    things.push({ z: z < 0 ? z : 2, group: handle });
    things.sort((a, b) => a.z - b.z).forEach(({ group }) => layer.append(group));
    const where = z < 0 ? ", on the far side" : "";
    drawing.setAttribute("aria-label", `sphere: query at ${query.map((number) => number.toFixed(2)).join(", ")}${where}; arrow keys turn the sphere`);
    drawGround();
  }
  return { node, draw, stop: () => cancelAnimationFrame(asked) };
}

export default { render };
