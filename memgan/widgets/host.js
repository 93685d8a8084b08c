// Runs this package's widgets on a page without a kernel: reads their stored states and calls their `render`.
// A plain script and not a module, because a page that is opened from a file may not load modules from files.
(() => {
  // The part of a notebook's widget model that `render` needs. Without a kernel nothing is sent anywhere.
  class Model {
    constructor(state) {
      this.state = state;
      this.listeners = {};
    }
    get(trait) {
      return this.state[trait];
    }
    set(trait, value) {
      if (JSON.stringify(this.state[trait]) === JSON.stringify(value)) return;
      this.state[trait] = value;
      for (const call of [...(this.listeners[`change:${trait}`] ?? [])]) call();
    }
    save_changes() {}
    on(events, call) {
      for (const event of events.split(" ")) (this.listeners[event] ??= new Set()).add(call);
    }
    off(events, call) {
      for (const event of events.split(" ")) this.listeners[event]?.delete(call);
    }
  }

  // The state that Jupyter stored, with its binary parts put back as DataViews at their paths.
  function restored({ state, buffers = [] }) {
    for (const { path, data } of buffers) {
      const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
      const inside = path.slice(0, -1).reduce((part, name) => part[name], state);
      inside[path.at(-1)] = new DataView(bytes.buffer);
    }
    return state;
  }

  async function show(stored, el) {
    const state = restored(stored);
    if (state._css && !document.querySelector("style[data-memgan]")) {
      const style = Object.assign(document.createElement("style"), { textContent: state._css });
      style.dataset.memgan = "";
      document.head.append(style);
    }
    const address = URL.createObjectURL(new Blob([state._esm], { type: "text/javascript" }));
    const { default: widget } = await import(address);
    URL.revokeObjectURL(address);
    const model = new Model(state);
    widget.render({ model, el });
    return model;
  }

  // Every widget of a page that a notebook was exported to. The models stand in `window.memgan`, by place.
  async function showAll() {
    const states = {};
    for (const script of document.querySelectorAll('script[type="application/vnd.jupyter.widget-state+json"]')) {
      Object.assign(states, JSON.parse(script.textContent).state);
    }
    window.memgan = [];
    for (const script of document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]')) {
      const stored = states[JSON.parse(script.textContent).model_id];
      if (stored?.state._esm === undefined) continue; // a progress bar, say: nothing to move
      const el = document.createElement("div");
      script.after(el);
      try {
        window.memgan.push(await show(structuredClone(stored), el));
      } catch (error) {
        console.error(error);
        const picture = el.nextElementSibling; // what readers without JavaScript see
        if (picture?.tagName === "NOSCRIPT") el.innerHTML = picture.textContent;
      }
    }
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", showAll);
  else showAll();
})();
