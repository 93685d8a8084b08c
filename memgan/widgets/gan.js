// A generator and its memory in the page, and the control that picks a slot.
import { button, element, follow, set } from "./controls.js";
import { Network, halfToSingle } from "./network.js";

export class GAN {
  // `exported` is what memgan.widgets.export wrote; `slots` are those that the MCGN can draw, most used first
  constructor(exported) {
    Object.assign(this, exported);
    this.network = new Network(exported);
    if (!exported.keys) return; // a baseline
    const keys = halfToSingle(exported.keys);
    const length = keys.length / this.values.length;
    this.key = (slot) => keys.subarray(slot * length, (slot + 1) * length);
    const real = this.values.map((value, slot) => (value === 1 && this.histogram[slot] > 0 ? slot : -1));
    this.slots = real.filter((slot) => slot >= 0).sort((a, b) => this.histogram[b] - this.histogram[a]);
    this.total = this.slots.reduce((sum, slot) => sum + this.histogram[slot], 0);
  }

  // G(key, z), [C, H, W] in a row; the next call overwrites it
  image(key, noise) {
    return this.network.forward(Float32Array.from([...key.subarray(0, this.key_dim), ...noise]));
  }

  // p(c = slot | v = 1), by which the MCGN draws it
  share(slot) {
    return this.values[slot] === 1 && this.total > 0 ? this.histogram[slot] / this.total : 0;
  }

  draw() {
    let left = Math.random() * this.total;
    for (const slot of this.slots) if ((left -= this.histogram[slot]) < 0) return slot;
    return this.slots.at(-1);
  }
}

// The GAN of a model, made anew when Python sends another; `model.get("gan")` keeps its identity between changes.
export function live(model) {
  let exported = null;
  let gan = null;
  return () => {
    if (model.get("gan") !== exported) gan = new GAN((exported = model.get("gan")));
    return gan;
  };
}

export const percent = (share) => `${share < 0.0995 ? (100 * share).toPrecision(2) : (100 * share).toFixed(0)} %`;

// Number, one back, one forth (by use), and a draw as the MCGN draws: all set `trait`.
export function slotPicker(model, gan, trait = "slot", name = "slot") {
  const number = element("input", { type: "number", min: 0, step: 1, "aria-label": name });
  const says = element("output");
  const choose = (slot) => slot !== undefined && set(model, { [trait]: slot });
  const step = (by) => {
    const { slots } = gan();
    const at = slots.indexOf(model.get(trait));
    choose(slots[(Math.max(at, by > 0 ? -1 : 0) + by + slots.length) % slots.length]);
  };
  number.addEventListener("change", () => {
    const slot = Math.round(Number(number.value));
    if (number.value !== "" && slot >= 0 && slot < gan().values.length) choose(slot);
    else number.value = model.get(trait); // no such slot
  });
  const buttons = [
    button(`${name}: the next more used`, "◀", () => step(-1)),
    button(`${name}: the next less used`, "▶", () => step(1)),
    button(`${name}: draw one as the generator does`, "draw", () => choose(gan().draw())),
  ];
  const node = element(
    "div",
    { className: "controls" },
    element("label", { className: "menu" }, element("span", {}, name), number),
    ...buttons,
    says,
  );
  const stop = follow(model, [trait, "gan"], () => {
    const slot = model.get(trait);
    number.value = slot;
    number.max = gan().values.length - 1;
    for (const one of buttons) one.disabled = gan().slots.length === 0;
    const drawn = gan().values[slot] === 1 ? `real, drawn ${percent(gan().share(slot))} of the time` : "generated: never drawn";
    says.textContent = gan().slots.length ? drawn : "no slot can be drawn: no real slot has a count";
  });
  return { node, stop };
}
