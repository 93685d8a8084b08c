// One picture of several, with a slider, a step either way, and play. No motion starts by itself.
import { button, element, follow, root, set } from "../../memgan/widgets/controls.js";

function render({ model, el }) {
  const name = model.get("name");
  const last = () => model.get("pictures").length - 1;
  const picture = element("img", { width: model.get("width") });
  const slider = element("input", { type: "range", min: 0, step: 1, "aria-label": name });
  const says = element("output");
  const move = (index) => set(model, { index: Math.max(0, Math.min(last(), index)) });
  const step = (by) => (halt(), move(model.get("index") + by));
  slider.addEventListener("input", () => (halt(), move(Number(slider.value))));

  let timer = null;
  const play = button(`${name}: play or pause`, "play", () => (timer === null ? start() : halt()));
  function halt() {
    clearInterval(timer);
    timer = null;
    play.textContent = "play";
  }
  function start() {
    if (model.get("index") === last()) move(0);
    play.textContent = "pause";
    timer = setInterval(() => {
      move(model.get("index") + 1);
      if (model.get("index") === last()) halt();
    }, model.get("pause"));
  }

  const back = button(`${name}: back`, "◀", () => step(-1));
  const forth = button(`${name}: forth`, "▶", () => step(1));
  root(el, name, picture, element("div", { className: "controls" }, back, play, forth, slider, says));
  const stop = follow(model, ["index", "pictures", "labels"], () => {
    const label = model.get("labels")[model.get("index")];
    picture.src = `data:image/png;base64,${model.get("pictures")[model.get("index")]}`;
    picture.alt = `${name}: ${label}`;
    slider.max = last();
    slider.value = model.get("index");
    slider.setAttribute("aria-valuetext", label);
    says.textContent = label;
  });
  return () => (halt(), stop());
}

export default { render };
