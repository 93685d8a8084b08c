// A walk between two samples of a MemoryGAN, beside it a plain GAN's, and how sure a classifier is on the way.
import { announce, button, element, follow, menu, paint, picture, root, set, slider } from "./controls.js";
import { GAN, live, slotPicker } from "./gan.js";
import { Network } from "./network.js";

const POINTS = 11; // images of a walk, both ends included
const IN_BETWEEN = 0.8; // a confidence below which an image counts as in between
const ENDS = ["first end", "second end"];
const KINDS = {
  slot: "inside a slot: the key stays, z moves",
  switch: "across slots: the key switches in the middle",
  keys: "between keys: on the great circle from key to key",
};

function render({ model, el }) {
  const gan = live(model);
  const baseline = made(model, "baseline", (exported) => new GAN(exported));
  const classifier = made(model, "classifier", (exported) => new Network(exported));
  const kind = menu("walk", Object.entries(KINDS), (value) => set(model, { kind: value }));
  const ends = ENDS.map((name, i) => makeEnd(model, gan, name, i));
  const walks = [makeWalk(model, classifier, "MemoryGAN", gan, (t) => gan().image(keyAt(model, gan(), t), noiseAt(model, "noises", t)))];
  if (baseline()) {
    const image = (t) => baseline().image(new Float32Array(0), noiseAt(model, "baseline_noises", t));
    walks.push(makeWalk(model, classifier, "plain GAN: one z to another", baseline, image));
  }
  const place = slider({
    label: "position",
    min: 0,
    max: 1,
    step: 0.01,
    says: (value) => value.toFixed(2),
    changed: (value) => set(model, { position: value }),
  });
  const others = [button("same z at both ends", "same z at both ends", () => set(model, { noises: ENDS.map(() => model.get("noises")[0]) }))];
  if (baseline()) others.push(button("draw the plain GAN's z", "draw the plain GAN's z", () => set(model, { baseline_noises: drawn(model.get("baseline_noises")) })));
  root(
    el,
    "interpolation",
    element("div", { className: "controls" }, kind.node),
    ...walks.map(({ node }) => node),
    ...(classifier() ? [element("p", { className: "note" }, `Bars: how sure the classifier is of the class below; hatched, below the dashed line at ${IN_BETWEEN}: in between.`)] : []),
    element("div", { className: "tools" }, place.node),
    element("div", { className: "ends" }, ...ends.map(({ node }) => node)),
    element("div", { className: "controls others" }, ...others),
  );

  const stops = [
    follow(model, ["kind", "slots", "noises", "gan", "classifier"], walks[0].draw),
    ...(baseline() ? [follow(model, ["baseline", "baseline_noises", "classifier"], walks[1].draw)] : []),
    follow(model, ["position", "kind"], () => {
      kind.select.value = model.get("kind");
      place.show(model.get("position"));
      walks.forEach(({ move }) => move());
    }),
    announce(model),
    ...ends.map(({ stop }) => stop),
    ...walks.map(({ stop }) => stop),
  ];
  return () => stops.forEach((end) => end());
}

// What `make` makes of a trait that Python exported, anew when Python sends another; null where there is none.
function made(model, trait, make) {
  let [exported, thing] = [null, null];
  return () => {
    if (model.get(trait) !== exported) {
      exported = model.get(trait);
      thing = exported?.layers ? make(exported) : null;
    }
    return thing;
  };
}

const between = (first, second, t) => Array.from(first, (value, i) => value + (second[i] - value) * t);
const drawn = (noises) => noises.map((noise) => noise.map(() => Math.round(200 * Math.random() - 100) / 100));

function noiseAt(model, trait, t) {
  const [first, second] = model.get(trait);
  return between(first, second, t);
}

function keyAt(model, gan, t) {
  const [first, second] = model.get("slots").map((slot) => gan.key(slot));
  if (model.get("kind") !== "keys") return model.get("kind") === "slot" || t <= 0.5 ? first : second;
  const straight = between(first, second, t);
  const length = Math.max(Math.hypot(...straight), 1e-12);
  return Float32Array.from(straight, (value) => value / length);
}

// The classifier's probabilities of an image.
export function probabilities(network, image) {
  const scores = network.forward(image);
  const most = Math.max(...scores);
  const powers = Array.from(scores, (score) => Math.exp(score - most));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

function classified(network, image, names) {
  const all = probabilities(network, image);
  const confidence = Math.max(...all);
  const name = all.indexOf(confidence);
  return { all, confidence, name, says: `class ${names[name] ?? name}: ${confidence.toFixed(2)}` };
}

// The image at `position`, with the probability of every class, and the row of the walk's images.
function makeWalk(model, classifier, title, owner, image) {
  const shape = owner().image_shape;
  const large = picture(shape, 112, "");
  const classes = element("div", { className: "classes", "aria-hidden": "true" });
  const says = element("figcaption");
  const steps = Array.from({ length: POINTS }, () => {
    const canvas = picture(shape, 44, "");
    const level = element("i");
    const bar = element("div", { className: "bar", "aria-hidden": "true" }, level);
    const name = element("span", { "aria-hidden": "true" });
    return { canvas, level, name, node: element("div", {}, canvas, ...(classifier() ? [bar, name] : [])) };
  });
  const row = element("div", { className: "steps" }, ...steps.map(({ node }) => node));
  row.style.gridTemplateColumns = `repeat(${POINTS}, minmax(0, 1fr))`;
  const put = (event) => {
    const area = row.getBoundingClientRect();
    const half = area.width / POINTS / 2;
    const t = (event.clientX - area.left - half) / (area.width - 2 * half);
    set(model, { position: Math.round(100 * Math.max(0, Math.min(1, t))) / 100 });
  };
  row.addEventListener("pointerdown", (event) => {
    row.setPointerCapture(event.pointerId);
    put(event);
  });
  row.addEventListener("pointermove", (event) => row.hasPointerCapture(event.pointerId) && put(event));

  let turn = 0;
  function draw() {
    const mine = ++turn; // an older drawing stops when a newer one has begun
    row.setAttribute("aria-busy", "true");
    const piece = (from) => {
      if (mine !== turn) return;
      const until = performance.now() + 8;
      let i = from;
      for (; i < POINTS && (i === from || performance.now() < until); i++) drawStep(i);
      if (i < POINTS) setTimeout(piece, 0, i);
      else row.setAttribute("aria-busy", "false");
    };
    setTimeout(piece, 0, 0);
    move();
  }

  function drawStep(i) {
    const { canvas, level, name } = steps[i];
    const numbers = image(i / (POINTS - 1));
    paint(canvas, numbers, shape);
    canvas.setAttribute("aria-label", `image ${i + 1} of ${POINTS}`);
    if (!classifier()) return;
    const found = classified(classifier(), numbers, model.get("class_names"));
    level.style.height = `${100 * found.confidence}%`;
    level.classList.toggle("unsure", found.confidence < IN_BETWEEN);
    name.textContent = found.name;
    canvas.setAttribute("aria-label", `image ${i + 1} of ${POINTS}: ${found.says}`);
    steps[i].node.title = found.says;
  }

  function move() {
    const t = model.get("position");
    const numbers = image(t);
    paint(large, numbers, shape);
    large.setAttribute("aria-label", `${title}, image at position ${t.toFixed(2)}`);
    steps.forEach(({ node }, i) => node.classList.toggle("now", i === Math.round(t * (POINTS - 1))));
    if (!classifier()) return;
    const found = classified(classifier(), numbers, model.get("class_names"));
    says.textContent = found.says;
    classes.replaceChildren(
      ...found.all.map((probability, i) => {
        const level = element("i");
        level.style.height = `${100 * probability}%`;
        return element("div", {}, element("div", {}, level), element("span", {}, String(i)));
      }),
    );
  }

  const figure = element("figure", { className: "large" }, large, ...(classifier() ? [classes, says] : []));
  const node = element("div", { className: "row walk", role: "group", "aria-label": title }, element("span", {}, title), figure, row);
  return { node, draw, move, stop: () => turn++ };
}

// One end of the walk: its slot and its z.
function makeEnd(model, gan, name, i) {
  const ofSlots = (events) => events.replace("change:slot", "change:slots");
  const end = {
    // the model as a picker of one slot knows it
    get: (trait) => (trait === "slot" ? model.get("slots")[i] : model.get(trait)),
    set: (trait, value) => model.set("slots", replaced(model.get("slots"), i, value)),
    save_changes: () => model.save_changes(),
    on: (events, call) => model.on(ofSlots(events), call),
    off: (events, call) => model.off(ofSlots(events), call),
  };
  const picker = slotPicker(end, gan);
  const change = (noise) => set(model, { noises: replaced(model.get("noises"), i, noise) });
  const sliders = Array.from({ length: gan().noise_dim }, (_, axis) =>
    slider({
      label: `z${axis + 1}`,
      min: -1,
      max: 1,
      step: 0.02,
      says: (value) => value.toFixed(2),
      changed: (value) => change(replaced(model.get("noises")[i], axis, value)),
    }),
  );
  const draw = button(`${name}: draw z`, "draw z", () => change(drawn(model.get("noises"))[i]));
  const fold = element("details", {}, element("summary", {}, "z"), ...sliders.map(({ node }) => node), draw);
  const same = element("div", {}, "slot: that of the first end");
  const node = element("fieldset", {}, element("legend", {}, name), picker.node, same, fold);
  const stop = follow(model, ["noises", "kind"], () => {
    const alone = model.get("kind") === "slot" && i === 1;
    picker.node.hidden = alone;
    same.hidden = !alone;
    sliders.forEach(({ show }, axis) => show(model.get("noises")[i][axis]));
  });
  return { node, stop: () => (picker.stop(), stop()) };
}

const replaced = (list, place, value) => list.map((old, i) => (i === place ? value : old));

export default { render };
