// One picture of several, with a slider, a step either way, and play. No motion starts by itself.
import { element, follow, player, root } from "memgan/controls.js";

function render({ model, el }) {
  const name = model.get("name");
  const picture = element("img", { width: model.get("width") });
  const controls = player(model, "index", name, () => model.get("pictures").length - 1, model.get("pause"));
  root(el, name, picture, controls.node);
  const stop = follow(model, ["index", "pictures", "labels"], () => {
    const label = model.get("labels")[model.get("index")];
    picture.src = `data:image/png;base64,${model.get("pictures")[model.get("index")]}`;
    picture.alt = `${name}: ${label}`;
    controls.show(label);
  });
  return () => (controls.stop(), stop());
}

export default { render };
