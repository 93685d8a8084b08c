// The controls of the playground's settings, a group for each heading: a switch, a menu or a slider, a sentence, and a link.
import { element, menu } from "../controls.js";

// `changed(name, value)` is called when the reader moves one; `show(settings)` sets them all.
export function settingControls(controls, changed) {
  const shown = controls.map((control) => [control.name, made(control, (value) => changed(control.name, value))]);
  const groups = [...new Set(controls.map(({ group }) => group))].map((group) => {
    const nodes = shown.filter((_, i) => controls[i].group === group).map(([, { node }]) => node);
    return element("fieldset", { className: "settings" }, element("legend", {}, group), ...nodes);
  });
  const show = (settings) => shown.forEach(([name, control]) => control.show(settings[name]));
  return { nodes: groups, show };
}

function made(control, changed) {
  const part = typeof control.default === "boolean" ? toggle(control, changed) : control.options.length > 0 ? choice(control, changed) : range(control, changed);
  const says = element("p", { className: "says" }, control.says, " (", linkTo(control.notebook), ")");
  return { node: element("div", { className: "setting" }, part.node, says), show: part.show };
}

function toggle({ label }, changed) {
  const input = element("input", { type: "checkbox" });
  input.addEventListener("change", () => changed(input.checked));
  return { node: element("label", { className: "toggle" }, input, element("span", {}, label)), show: (value) => (input.checked = value) };
}

function choice({ label, options }, changed) {
  const { node, select } = menu(label, options.map((option) => [option, option === "em" ? "EM" : option]), changed);
  return { node, show: (value) => (select.value = value) };
}

// A slider; a logarithmic one moves by tenths of a power of ten.
function range({ label, low, high, step, whole, logarithmic }, changed) {
  const [toSlider, toValue] = logarithmic ? [Math.log10, (place) => Number((10 ** place).toPrecision(2))] : [Number, Number];
  const input = element("input", { type: "range", min: toSlider(low), max: toSlider(high), step: logarithmic ? 0.05 : step, "aria-label": label });
  const output = element("span", { className: "value" });
  const says = (value) => (whole ? String(value) : value !== 0 && value < 0.01 ? value.toExponential(1) : String(Number(value.toPrecision(3))));
  const show = (value) => {
    input.value = toSlider(value);
    output.textContent = says(value);
    input.setAttribute("aria-valuetext", says(value));
  };
  input.addEventListener("input", () => {
    const value = Math.min(high, Math.max(low, toValue(Number(input.value))));
    show(value);
    changed(value);
  });
  return { node: element("label", { className: "range" }, element("span", {}, label), input, output), show };
}

// Where a notebook is on this page: the site's own link to it, its neighbour in JupyterLab, or its name alone.
function linkTo(notebook) {
  const name = `notebook\u00a0${notebook.split("_")[0].replace(/^0/, "")}`;
  const onSite = document.querySelector(`a[href$="${notebook}.html"]`);
  if (onSite) return element("a", { href: onSite.href }, name);
  if (/\/tree\/.*\.ipynb$/.test(location.pathname)) return element("a", { href: `${notebook}.ipynb`, target: "_blank" }, name);
  return element("span", {}, name);
}
