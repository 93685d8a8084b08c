// One picture of several, with a slider, a step either way, and play. No motion starts by itself.
function element(tag, properties, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function render({ model, el }) {
  const name = model.get("name");
  const picture = element("img", { width: model.get("width") });
  const slider = element("input", { type: "range", min: 0, step: 1, max: model.get("pictures").length - 1 });
  slider.setAttribute("aria-label", name);
  const back = element("button", { type: "button", textContent: "◀", title: "back" });
  const play = element("button", { type: "button", textContent: "play" });
  const forth = element("button", { type: "button", textContent: "▶", title: "forth" });
  back.setAttribute("aria-label", `${name}: back`);
  forth.setAttribute("aria-label", `${name}: forth`);
  play.setAttribute("aria-label", `${name}: play or pause`);
  const says = element("output", {});
  const controls = element("div", { className: "controls" }, back, play, forth, slider, says);
  const root = element("div", { className: "memgan-frames" }, picture, controls);
  root.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take the arrow keys
  root.addEventListener("keydown", (event) => event.stopPropagation());

  function draw() {
    const index = model.get("index");
    const label = model.get("labels")[index];
    picture.src = `data:image/png;base64,${model.get("pictures")[index]}`;
    picture.alt = `${name}: ${label}`;
    slider.value = index;
    slider.setAttribute("aria-valuetext", label);
    says.textContent = label;
  }
  function move(index) {
    const last = model.get("pictures").length - 1;
    model.set("index", Math.max(0, Math.min(last, index)));
    model.save_changes();
  }
  let timer = null;
  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "play";
  }
  function start() {
    if (model.get("index") === model.get("pictures").length - 1) move(0);
    play.textContent = "pause";
    timer = setInterval(() => {
      move(model.get("index") + 1);
      if (model.get("index") === model.get("pictures").length - 1) stop();
    }, model.get("pause"));
  }
  slider.addEventListener("input", () => { stop(); move(Number(slider.value)); });
  back.addEventListener("click", () => { stop(); move(model.get("index") - 1); });
  forth.addEventListener("click", () => { stop(); move(model.get("index") + 1); });
  play.addEventListener("click", () => (timer === null ? start() : stop()));
  model.on("change:index change:pictures change:labels", draw);
  draw();
  el.append(root);
  return () => { stop(); model.off("change:index change:pictures change:labels", draw); };
}

export default { render };
