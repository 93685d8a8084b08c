// A slot's image under a pad for the noise z; the pad's ground is what z makes of the slot.
import { announce, element, follow, menu, paint, picture, root, set, slider } from "./controls.js";
import { live, slotPicker } from "./gan.js";

const TILES = 5; // images along each side of the pad
const SIDE = 288; // CSS pixels of image and pad
const FEW = 4; // sliders that stand open; those of a longer z are folded away

function render({ model, el }) {
  const gan = live(model);
  const { image_shape: shape, noise_dim: length } = gan();
  const image = picture(shape, SIDE, "generated image");
  image.style.imageRendering = "auto"; // so large, its pixels as squares would hide what is drawn
  const picker = slotPicker(model, gan);
  const sliders = Array.from({ length }, (_, i) =>
    slider({
      label: `z${i + 1}`,
      min: -1,
      max: 1,
      step: 0.02,
      says: (value) => value.toFixed(2),
      changed: (value) => move({ [i]: value }),
    }),
  );
  const pad = makePad(model, gan, (changes) => move(changes));

  function move(changes) {
    set(model, { noise: model.get("noise").map((z, i) => Math.max(-1, Math.min(1, changes[i] ?? z))) });
  }

  const seen = element("figure", {}, image, element("figcaption", {}, "G(K, z)"));
  const nodes = sliders.map(({ node }) => node);
  const tools = element("div", { className: "tools" }, picker.node, ...nodes.slice(0, FEW));
  if (length > FEW) tools.append(element("details", {}, element("summary", {}, `the other ${length - FEW} numbers of z`), ...nodes.slice(FEW)));
  root(el, "latent explorer", element("div", { className: "row" }, seen, ...pad.nodes), tools);
  const stop = follow(model, ["slot", "noise", "gan"], () => {
    const [slot, noise] = [model.get("slot"), model.get("noise")];
    paint(image, gan().image(gan().key(slot), noise), shape);
    image.setAttribute("aria-label", `image of slot ${slot} at z = ${noise.map((z) => z.toFixed(2)).join(", ")}`);
    sliders.forEach(({ show }, i) => show(noise[i]));
  });
  const gone = announce(model);
  return () => [picker.stop, pad.stop, stop, gone].forEach((end) => end());
}

// The square of two coordinates of z, tiled with the slot's images; none for a z of fewer than two.
function makePad(model, gan, move) {
  const { image_shape: shape, noise_dim: length } = gan();
  if (length < 2) return { nodes: [], stop: () => {} };
  const axes = [0, 1];
  const [pitch, pace] = [shape[1] + 1, shape[2] + 1]; // a pixel between the images
  const ground = picture([shape[0], TILES * pitch - 1, TILES * pace - 1], SIDE, "");
  const mark = element("div", { className: "mark" });
  const pad = element("div", { className: "pad", tabIndex: 0, role: "application" }, ground, mark);

  const put = (event) => {
    const box = pad.getBoundingClientRect();
    const at = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    move({ [axes[0]]: 2 * at[0] - 1, [axes[1]]: 1 - 2 * at[1] });
  };
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    put(event);
  });
  pad.addEventListener("pointermove", (event) => pad.hasPointerCapture(event.pointerId) && put(event));
  pad.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const noise = model.get("noise");
    const size = event.shiftKey ? 0.25 : 0.05;
    move(Object.fromEntries(axes.map((axis, i) => [axis, noise[axis] + size * step[i]])));
  });

  let tiled = 0; // counts the changes, so that an older tiling stops when a newer one has begun
  function tile() {
    const mine = ++tiled;
    const [slot, noise] = [model.get("slot"), [...model.get("noise")]];
    const row = (y) => {
      if (mine !== tiled) return;
      for (let x = 0; x < TILES; x++) {
        noise[axes[0]] = (2 * x + 1) / TILES - 1;
        noise[axes[1]] = 1 - (2 * y + 1) / TILES;
        paint(ground, gan().image(gan().key(slot), noise), shape, x * pace, y * pitch);
      }
      if (y + 1 < TILES) setTimeout(row, 0, y + 1);
    };
    setTimeout(row, 0, 0);
  }

  let ground_of = ""; // what the ground depends on: the slot and the coordinates that the pad does not move
  const place = () => {
    const noise = model.get("noise");
    mark.style.left = `${50 + 50 * noise[axes[0]]}%`;
    mark.style.top = `${50 - 50 * noise[axes[1]]}%`;
    pad.setAttribute("aria-label", `pad: z${axes[0] + 1} across, z${axes[1] + 1} upward; arrow keys move`);
    const wanted = JSON.stringify([model.get("slot"), axes, noise.map((z, i) => (axes.includes(i) ? 0 : z))]);
    if (wanted !== ground_of) tile();
    ground_of = wanted;
  };
  const stop = follow(model, ["noise", "slot"], place);
  const anew = () => tile();
  model.on("change:gan", anew);
  const options = Array.from({ length }, (_, i) => [i, `z${i + 1}`]);
  const menus = ["across", "upward"].map((way, i) => {
    const choice = menu(way, options, (axis) => {
      axes[i] = Number(axis);
      if (axes[0] === axes[1]) axes[1 - i] = (axes[i] + 1) % length;
      menus.forEach(({ select }, j) => (select.value = axes[j]));
      place();
    });
    choice.select.value = axes[i];
    return choice;
  });
  const which = length > 2 ? menus.map(({ node }) => node) : ["z1 across, z2 upward"];
  const caption = element("figcaption", { className: "controls" }, ...which);
  return { nodes: [element("figure", {}, pad, caption)], stop: () => (model.off("change:gan", anew), tiled++, stop()) };
}

export default { render };
