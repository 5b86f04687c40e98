// Elements from calls, and the few controls that all views share. Text is always text: no HTML is made of strings.

const SVG = new Set(["svg", "path", "g", "line", "text", "circle", "rect", "polyline", "title"]);

export function h(tag, properties = {}, ...children) {
  const svg = SVG.has(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.setAttribute("class", value);
    else if (!svg && name in element && name !== "list" && name !== "form") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// What is there already stays: a button that is being pressed, a slider that is being moved, the focus.
export function show(place, ...children) {
  const next = children.flat().filter(Boolean);
  if (next.length !== place.childNodes.length || next.some((child, k) => child !== place.childNodes[k])) place.replaceChildren(...next);
}

let count = 0;
export const fresh = (name) => `${name}-${++count}`;

// A range with its number; both say the same. `moved` is called before the number is written, `change` after.
export function slider(label, { min, max, step = 1, value, help, moved, change, text = String }) {
  const id = fresh("slider");
  const range = h("input", { type: "range", id, min, max, step, "aria-describedby": help && `${id}-help` });
  const output = h("output", { htmlFor: id, class: "value" });
  const set = (number) => {
    range.value = number;
    output.textContent = text(Number(range.value));
    range.setAttribute("aria-valuetext", output.textContent);
  };
  range.addEventListener("input", () => {
    moved?.(Number(range.value));
    set(range.value);
    change?.(Number(range.value));
  });
  const element = h(
    "div",
    { class: "field" },
    h("div", { class: "row" }, h("label", { htmlFor: id }, label), output),
    range,
    help && h("p", { class: "help", id: `${id}-help` }, help),
  );
  set(value);
  return Object.assign(element, { set, range, get: () => Number(range.value) });
}

export function choice(label, options, { value, change, help } = {}) {
  const id = fresh("choice");
  const select = h("select", { id, onchange: () => change?.(select.value) });
  const fill = (list) =>
    show(select, ...list.map((one) => h("option", { value: one.value ?? one }, one.text ?? String(one))));
  fill(options);
  if (value !== undefined) select.value = value;
  const element = h(
    "div",
    { class: "field" },
    h("label", { htmlFor: id }, label),
    select,
    help && h("p", { class: "help" }, help),
  );
  return Object.assign(element, { select, fill, set: (one) => (select.value = one), get: () => select.value });
}

export function button(text, press, properties = {}) {
  return h("button", { type: "button", onclick: press, ...properties }, text);
}

// A button that moves a slider on by itself: once to its end, or to and fro.
export function player(place, { delay, around = false, moved }) {
  let timer = 0;
  let way = 1;
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    play.textContent = "Play";
  };
  const step = () => {
    if (!play.isConnected) return stop();
    const end = way > 0 ? Number(place.range.max) : Number(place.range.min);
    if (place.get() === end) {
      if (!around) return stop();
      way = -way;
    }
    place.set(place.get() + way);
    moved(place.get());
  };
  const play = button("Play", () => {
    if (timer) return stop();
    if (!around && place.get() === Number(place.range.max)) place.set(place.range.min);
    play.textContent = "Pause";
    timer = setInterval(step, delay);
  });
  return play;
}

export function notice(text, kind = "wrong") {
  const box = h("div", { class: `notice ${kind}` }, h("p", {}, text));
  box.append(button("Close", () => box.remove(), { class: "quiet" }));
  document.getElementById("notices").append(box);
  setTimeout(() => box.remove(), 12000);
}

export const clock = (seconds) =>
  seconds < 90 ? `${Math.max(0, Math.round(seconds))} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
