// The playground: an ordinary GAN and a MemoryGAN learn side by side, in a worker, and the page draws what they do.
import { announce, button, element, follow, menu, root, set } from "../controls.js";
import { distributionOf, shownPoints } from "./distributions.js";
import { SIDE, colourOf, drawMemory, drawPanel, pointAt, slotAt } from "./draw.js";
import { paintingPad } from "./painting.js";
import { settingControls } from "./settings.js";
import { checkedState, fragmentOf, isEmpty, stateIn } from "./state.js";

const REAL_POINTS = 400; // to look at
const FLASH = 700; // milliseconds for which a ring shows that a slot was replaced
const REPORT = 500; // milliseconds between two reports to Python
const STILL = matchMedia("(prefers-reduced-motion: reduce)");

function render({ model, el }) {
  const given = model.get("given");
  const isAlone = !model.send; // on a page with no kernel behind it
  const id = String(Math.random()); // by which Python names this view
  const worker = startWorker();
  const parts = layout(given);
  root(el, "playground", ...parts.nodes);
  const view = { frame: null, chosen: null, pinned: null, probe: null, flashes: new Map(), drawing: 0, isAway: false };
  const state = () => model.get("state");
  const change = (changes) => set(model, { state: { ...state(), ...changes } });
  let applied = null; // the state that the worker has
  let real = []; // points of the distribution

  // ------------------------------------------------ what the reader does

  parts.play.addEventListener("click", () => set(model, { playing: !model.get("playing") }));
  parts.step.addEventListener("click", () => advance(1));
  parts.reset.addEventListener("click", reset);
  parts.data.select.addEventListener("change", () => change({ distribution: parts.data.select.value }));
  parts.speed.select.addEventListener("change", () => change({ speed: parts.speed.select.value }));
  parts.seed.addEventListener("change", () => {
    const seed = Number(parts.seed.value);
    if (parts.seed.value !== "" && Number.isInteger(seed) && seed >= 0 && seed < 2 ** 31) return change({ seed });
    say("The seed must be a whole number from 0 on.");
    parts.seed.value = state().seed;
  });
  parts.preset.select.addEventListener("change", () => {
    const preset = given.presets[parts.preset.select.value];
    change({ settings: { ...given.initial.settings, ...preset.changes } });
    reset();
  });
  const settings = settingControls(given.controls, (name, value) => change({ settings: { ...state().settings, [name]: value } }));
  parts.settings.append(...settings.nodes);
  const painting = paintingPad((painted) => change({ painted }));
  parts.painting.append(painting.node);

  function advance(steps) {
    set(model, { playing: false });
    if (!isEmpty(state())) worker.postMessage({ advance: steps });
  }
  function reset() {
    view.flashes.clear();
    worker.postMessage({ start: state() });
  }

  parts.share.addEventListener("click", () => {
    parts.json.value = JSON.stringify(state());
    if (!isAlone) return answer("The text below holds the state; Playground(state) reads it in Python.");
    history.replaceState(null, "", fragmentOf(state(), given.initial));
    const copied = navigator.clipboard?.writeText(location.href);
    const rest = "The address of this page now holds the state";
    if (copied) copied.then(() => answer(`${rest}, and it was copied.`), () => answer(`${rest}.`));
    else answer(`${rest}.`);
  });
  parts.restore.addEventListener("click", () => restore(() => JSON.parse(parts.json.value), answer));

  // Take over the state that `read` gives and begin again, and `tell` what is wrong with it if it is none.
  function restore(read, tell) {
    try {
      const found = read();
      if (found === null) return;
      set(model, { state: checkedState(found, given) });
      reset();
      tell("The state was restored, and learning begins again.");
    } catch (error) {
      const isUnreadable = error instanceof SyntaxError || error instanceof URIError;
      tell(`This is no state of a playground: ${isUnreadable ? "it is not JSON" : error.message}.`);
    }
  }
  const restoreFromAddress = () => restore(() => stateIn(location.hash), say);
  function say(text) {
    parts.status.textContent = text;
  }
  function answer(text) {
    parts.answer.textContent = text;
  }

  // ------------------------------------------------ what goes to the worker

  function apply() {
    const wanted = state();
    if (!applied || applied.seed !== wanted.seed) worker.postMessage({ start: wanted });
    const isOther = applied?.distribution !== wanted.distribution || applied?.painted !== wanted.painted;
    if (isOther && isEmpty(wanted)) real = [];
    if (isOther && !isEmpty(wanted)) {
      worker.postMessage({ change: { distribution: wanted.distribution, painted: wanted.painted } });
      real = shownPoints(distributionOf(wanted), REAL_POINTS);
    }
    parts.withMemory.title.textContent = wanted.settings.memory ? "A MemoryGAN" : "A MemoryGAN without its memory";
    if (applied && JSON.stringify(applied.settings) !== JSON.stringify(wanted.settings)) worker.postMessage({ set: wanted.settings });
    applied = structuredClone(wanted);
    parts.data.select.value = wanted.distribution;
    parts.speed.select.value = wanted.speed;
    parts.seed.value = wanted.seed;
    parts.painting.hidden = wanted.distribution !== "painted";
    if (isOther) painting.show(wanted.painted);
    const preset = Object.entries(given.presets).find(([, { changes }]) => isSame({ ...given.initial.settings, ...changes }, wanted.settings));
    parts.preset.select.value = preset ? preset[0] : "own";
    parts.presetSays.textContent = preset ? preset[1].says : "";
    if (isOther) draw();
    settings.show(wanted.settings);
    run();
  }

  function run() {
    const nothing = isEmpty(state());
    if (nothing) say("Paint something first: until then there is nothing to learn.");
    else if (parts.status.textContent.startsWith("Paint")) say("");
    const playing = model.get("playing") && !view.isAway && !document.hidden && !nothing;
    parts.play.textContent = model.get("playing") && !nothing ? "pause" : "play";
    parts.play.disabled = nothing;
    parts.step.disabled = nothing;
    worker.postMessage({ run: { playing, speed: state().speed } });
  }

  // ------------------------------------------------ what comes back

  let reports = true; // whether `progress` is of this view; where there are several, Python says of which
  let reported = -Infinity;
  function report() {
    if (!reports || !view.frame) return;
    reported = performance.now();
    set(model, { progress: progressOf(view.frame) });
  }
  worker.onmessage = ({ data }) => {
    view.frame = data.frame;
    for (const slot of data.frame.replaced) view.flashes.set(slot, performance.now() + FLASH);
    redraw();
    if (performance.now() - reported > REPORT || !model.get("playing")) report();
  };
  worker.onerror = ({ message }) => say(`Something went wrong while the models learned: ${message}.`);
  function redraw() {
    cancelAnimationFrame(view.drawing);
    view.drawing = requestAnimationFrame(() => {
      const begun = performance.now();
      try {
        draw();
      } finally {
        worker.postMessage({ wants: performance.now() - begun }); // an error in one picture must not be the end of all
      }
    });
  }
  function draw() {
    const { frame, probe } = view;
    if (!frame) return;
    const { memory } = frame;
    const slot = present(memory, view.chosen ?? view.pinned);
    const isOf = (i) => (memory.values[slot] === 1 ? memory.slots : memory.owners)[i] === slot;
    const points = slot === null || !memory ? 0 : memory.slots.filter((_, i) => isOf(i)).length;
    drawPanel(parts.ordinary.canvas, { seen: frame.ordinary, real, bySlot: false });
    drawPanel(parts.withMemory.canvas, { seen: frame.withMemory, real, bySlot: memory !== null, chosen: points > 0 ? isOf : null });
    parts.ordinary.show(frame.ordinary, frame.done);
    parts.withMemory.show(frame.withMemory, frame.done);
    parts.count.textContent = `step ${frame.done.toLocaleString("en")}`;
    drawMemory(parts.memory, { memory, real, flashes: flashes(), chosen: slot, probe: frame.probe });
    parts.slot.max = memory ? memory.values.length - 1 : 0;
    parts.details.replaceChildren(...details(memory, slot, points));
    parts.posterior.replaceChildren(...posteriorOf(memory, frame.probe, probe));
    if (view.flashes.size > 0 && !model.get("playing")) setTimeout(() => view.flashes.size > 0 && draw(), FLASH / 4);
  }
  // How strongly the ring of each slot shows, from 1 down to 0.
  function flashes() {
    const now = performance.now();
    for (const [slot, until] of view.flashes) if (until <= now) view.flashes.delete(slot);
    return new Map(Array.from(view.flashes, ([slot, until]) => [slot, STILL.matches ? 1 : (until - now) / FLASH]));
  }

  // ------------------------------------------------ slots and points of the plane

  function place(canvas, event) {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
  }
  function choose(slot) {
    if (view.chosen === slot) return;
    view.chosen = slot;
    draw();
  }
  function setProbe(point) {
    view.probe = point;
    worker.postMessage({ probe: point });
  }
  parts.memory.addEventListener("pointermove", (event) => view.frame?.memory && choose(slotAt(view.frame.memory, ...place(parts.memory, event))));
  parts.memory.addEventListener("pointerleave", () => choose(null));
  for (const canvas of [parts.memory, parts.withMemory.canvas]) {
    canvas.addEventListener("click", (event) => {
      const [x, y] = pointAt(...place(canvas, event));
      const isTheSame = view.probe !== null && Math.hypot(x - view.probe[0], y - view.probe[1]) < 0.15;
      setProbe(isTheSame ? null : [x, y]);
    });
  }
  parts.memoryPad.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowDown: [0, -0.1], ArrowUp: [0, 0.1] };
    if (event.key === "Escape") setProbe(null);
    if (!(event.key in steps)) return;
    event.preventDefault();
    const [x, y] = view.probe ?? [0, 0];
    setProbe([x + steps[event.key][0], y + steps[event.key][1]]);
  });
  parts.slot.addEventListener("input", () => {
    const slot = parts.slot.value === "" ? null : Number(parts.slot.value);
    const number = view.frame?.memory?.values.length ?? 0;
    view.pinned = slot !== null && Number.isInteger(slot) && slot >= 0 && slot < number ? slot : null;
    draw();
  });

  // ------------------------------------------------ its life

  if (STILL.matches) set(model, { playing: false });
  if (isAlone) {
    restoreFromAddress();
    window.addEventListener("hashchange", restoreFromAddress);
  }
  const stops = [follow(model, ["state"], apply), follow(model, ["playing"], run)];
  const asked = (message) => {
    if (message.reports) {
      reports = message.reports === id;
      report();
    }
    if (message.advance) advance(message.advance);
    if (message.reset) reset();
  };
  model.on("msg:custom", asked);
  const gone = announce(model, id); // Python answers with what it has asked for before this view came
  const seen = new IntersectionObserver(([entry]) => {
    view.isAway = !entry.isIntersecting;
    run();
  });
  seen.observe(el);
  document.addEventListener("visibilitychange", run);
  return () => {
    stops.forEach((stop) => stop());
    gone();
    model.off("msg:custom", asked);
    seen.disconnect();
    document.removeEventListener("visibilitychange", run);
    window.removeEventListener("hashchange", restoreFromAddress);
    cancelAnimationFrame(view.drawing);
    worker.terminate();
  };
}

function startWorker() {
  const address = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }));
  const worker = new Worker(address);
  URL.revokeObjectURL(address);
  return worker;
}

const isSame = (one, other) => Object.entries(one).every(([name, value]) => other[name] === value);

// What Python is told: the numbers under the panels.
function progressOf({ done, ordinary, withMemory }) {
  const numbers = ({ modes, of, off, real, generated }) => ({ modes, of, off, real, generated });
  return { step: done, ordinary: numbers(ordinary), memory: numbers(withMemory) };
}

// ---------------------------------------------------------------- elements

function layout(given) {
  const play = element("button", { type: "button", className: "play" }, "play");
  const step = button("one step", "step", () => {});
  const reset = button("reset and begin again", "reset", () => {});
  const count = element("span", { className: "count" });
  const data = menu("data", Object.entries(given.distributions), () => {});
  const speed = menu("speed", given.speeds.map((name) => [name, name]), () => {});
  const seed = element("input", { type: "number", min: 0, step: 1, "aria-label": "seed" });
  const presets = Object.entries(given.presets).map(([name, { label }]) => [name, label]);
  const preset = menu("settings", [...presets, ["own", "your own"]], () => {});
  preset.select.lastChild.disabled = true;
  const presetSays = element("p", { className: "note" });
  const painting = element("div", { hidden: true });
  const ordinary = panel("An ordinary GAN");
  const withMemory = panel("A MemoryGAN");
  const key =
    "Small grey dots: real points. Large dots: generated points, MemoryGAN's in the colour of their slot. Background: what D " +
    "says, blue for real and orange for generated. Lines: where the generator puts a square grid of noise; MemoryGAN has one for each of " +
    "its most used slots. A change of the seed or of the menu \u201csettings\u201d begins again; all other changes act while it learns.";
  const memory = element("canvas", { width: SIDE, height: SIDE, className: "plane" });
  const memoryPad = element("div", { className: "pad look", tabIndex: 0, role: "application", "aria-label": "memory: arrow keys move the point whose posterior is shown, Escape takes it away" }, memory);
  const memoryFigure = element(
    "figure",
    {},
    element("figcaption", { className: "title" }, "The memory"),
    memoryPad,
    element("figcaption", {}, "Blue circle: a real slot, at the mean of what it generates. Orange square: a generated slot, at the mean of the generated points assigned to it. Area: how much it has counted. A ring for a moment: it was replaced. Click for the posterior of a point, and once more to take it away."),
  );
  const slot = element("input", { type: "number", min: 0, step: 1, "aria-label": "slot" });
  const details = element("dl", { className: "answers" });
  const posterior = element("div", {});
  const side = element(
    "div",
    { className: "side" },
    element("label", { className: "menu" }, element("span", {}, "look at slot"), slot),
    details,
    posterior,
  );
  const settings = element("div", { className: "groups" });
  const share = button("share this state", "share", () => {});
  const json = element("textarea", { rows: 3, "aria-label": "state as JSON", spellcheck: false });
  const restore = button("restore this state", "restore", () => {});
  const status = element("p", { className: "note said", role: "status" });
  const answer = element("p", { className: "note said", role: "status" });
  const nodes = [
    element("div", { className: "controls" }, play, step, reset, count, data.node, speed.node, element("label", { className: "menu" }, element("span", {}, "seed"), seed)),
    element("div", { className: "controls presets" }, preset.node),
    presetSays,
    status,
    painting,
    element("div", { className: "row panels" }, ordinary.node, withMemory.node),
    element("p", { className: "note" }, key),
    element("div", { className: "row panels" }, memoryFigure, side),
    element("details", {}, element("summary", {}, "Change parts of the method while it learns"), settings),
    element("details", {}, element("summary", {}, "Share these settings"), element("p", { className: "note" }, "Data, painting, seed and settings. Learning starts again from step 0."), element("div", { className: "controls" }, share, restore), answer, json),
  ];
  return { nodes, play, step, reset, count, data, speed, seed, preset, presetSays, painting, ordinary, withMemory, memory, memoryPad, slot, details, posterior, settings, share, json, restore, status, answer };
}

// One GAN: its picture, and the numbers under it.
function panel(name) {
  const canvas = element("canvas", { width: SIDE, height: SIDE, className: "plane", role: "img", "aria-label": name });
  const [modes, off, real, generated] = Array.from({ length: 4 }, () => element("dd"));
  const numbers = element(
    "dl",
    {},
    element("dt", {}, "modes found"),
    modes,
    element("dt", {}, "points off all modes"),
    off,
    element("dt", {}, "mean D on real points"),
    real,
    element("dt", {}, "mean D on generated points"),
    generated,
  );
  const title = element("figcaption", { className: "title" }, name);
  const node = element("figure", {}, title, canvas, numbers);
  const decimal = (number) => (number === null ? "–" : number.toFixed(2));
  const show = (seen, done) => {
    modes.textContent = `${seen.modes} of ${seen.of}`;
    off.textContent = `${(100 * seen.off).toFixed(1)} %`;
    real.textContent = decimal(seen.real);
    generated.textContent = decimal(seen.generated);
    canvas.setAttribute("aria-label", `${title.textContent} after ${done} steps: ${modes.textContent} modes found, ${off.textContent} of the points off all modes`);
  };
  return { node, canvas, title, show };
}

// `slot`, or null where the memory does not have it: with another setting there may be fewer slots than when it was chosen.
function present(memory, slot) {
  return memory && slot !== null && slot < memory.values.length ? slot : null;
}

// What a slot holds, as terms and their values.
function details(memory, slot, points) {
  if (!memory) return [element("dt", {}, "the memory is turned off"), element("dd")];
  if (slot === null) return [element("dt", {}, "Point at a mark, or give a number, to see what a slot holds."), element("dd")];
  const key = Array.from(memory.keys.subarray(slot * memory.keyDim, (slot + 1) * memory.keyDim), (part) => part.toFixed(2));
  const isReal = memory.values[slot] === 1;
  const rows = [
    ["slot", String(slot)],
    ["value v", isReal ? "1, real" : "0, generated"],
    ["age a", `${memory.ages[slot]} ${memory.ages[slot] === 1 ? "step" : "steps"}`],
    ["histogram h", memory.histogram[slot] < 0.001 ? "nearly 0" : memory.histogram[slot].toPrecision(3)],
    ["drawn", isReal ? `${(100 * memory.probabilities[slot]).toFixed(1)} % of the time` : "never"],
    ["its points", `${points} of ${memory.slots.length}${isReal ? "" : " (assigned to it)"}`],
    ["key K", key.join(" ")],
  ];
  return rows.flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)]);
}

// The slots that a point is most probably of, as bars.
function posteriorOf(memory, probed, asked) {
  if (!memory || !probed || !asked) return [];
  const [x, y] = probed.point.map((part) => part.toFixed(1));
  const rows = probed.slots.map((slot) => {
    const kind = memory.values[slot] === 1 ? "real" : "generated";
    const probability = probed.posterior[slot];
    const fill = element("div", { className: `fill ${kind}` });
    fill.style.width = `${100 * probability}%`;
    const mark = element("span", { className: "swatch" });
    mark.style.background = kind === "real" ? colourOf(slot) : "transparent";
    return element("tr", {}, element("td", {}, mark, String(slot)), element("td", {}, kind), element("td", {}, element("span", { className: "trough" }, fill), probability.toFixed(3)));
  });
  const head = element("tr", {}, ...["slot", "value", "posterior"].map((name) => element("th", { scope: "col" }, name)));
  const title = element("p", { className: "note" }, `The point (${x}, ${y}): D = ${probed.d.toFixed(3)}, the posterior of the real slots among these. Lines lead to them, as wide as the posterior.`);
  return [title, element("table", { className: "bars" }, element("thead", {}, head), element("tbody", {}, ...rows))];
}

export default { render };
