// The schedule editor: parameters are dragged, and ᾱ, the signal-to-noise ratio and a noised picture follow.

import { choices, post } from "/static/api.js";
import { chart } from "/static/chart.js";
import { button, choice, h, notice, show, slider } from "/static/dom.js";
import { pictures } from "/static/pictures.js";

const STEPS = 400; // of a slider from the lowest to the highest value, on a logarithmic scale
const digits = (n, whole) => (whole ? Math.round(n) : +n.toPrecision(3));

export function schedules(shared) {
  let all = [];
  let given = {};
  let usual = null; // the curves of the schedule as it is set without any dragging
  let picture = "";
  let wanted = null;
  let turn = 0; // how often one was chosen
  const which = choice("Schedule", [], { change: () => choose() });
  const title = h("p", { class: "help" });
  const parameters = h("div", { class: "field parameters" });
  const wrong = h("p", { class: "warns", role: "status" });
  const setting = h("code", { class: "command" });
  const train = h("a", { class: "button" }, "Train with it");
  const reset = button("Reset", () => choose());
  const frames = h("div", { class: "frames" });
  const plots = h("div", { class: "plots" });
  const source = pictures(shared, "A sample", (name) => {
    picture = name;
    draw();
  });
  const element = h("section", { class: "card noising", "aria-labelledby": "schedule-title" },
    h("h2", { id: "schedule-title" }, "Schedule editor"),
    h("p", { class: "help" }, "A schedule says how much of the picture, α, and how much noise, σ, is in xₜ. Drag its parameters; the dashed lines show it as it was."),
    frames,
    h("div", { class: "editor" },
      h("div", { class: "field" }, which, title, parameters, wrong, h("div", { class: "row" }, reset, train), setting, source.element),
      plots));

  const chosen = () => all.find((one) => one.name === which.get());
  function choose() {
    const { title: text, parameters: own } = chosen();
    given = Object.fromEntries(own.map((one) => [one.name, one.value]));
    usual = null;
    turn += 1;
    show(title, text);
    show(parameters, ...own.map((one) => {
      const ratio = one.high / one.low;
      const value = (k) => digits(one.low * ratio ** (k / STEPS), one.whole);
      const place = slider(one.name.replaceAll("_", " "), {
        min: 0,
        max: STEPS,
        value: Math.round((STEPS * Math.log(one.value / one.low)) / Math.log(ratio)),
        help: one.help,
        text: () => String(digits(given[one.name], one.whole)),
        moved: (k) => (given[one.name] = value(k)),
        change: () => draw(),
      });
      return place;
    }));
    draw();
  }
  async function draw() {
    const busy = wanted !== null;
    wanted = { schedule: { type: which.get(), ...given }, picture: picture || null };
    if (busy) return;
    try {
      while (wanted) {
        const now = wanted;
        const of = turn;
        try {
          const found = await post("/api/schedule", now);
          if (of !== turn) continue; // another one was chosen meanwhile
          usual ??= found;
          await paint(found, now.schedule);
          show(wrong);
        } catch (error) {
          show(wrong, error.message);
        }
        if (wanted === now) wanted = null;
      }
      element.dataset.plotted = which.get();
    } catch (error) {
      wanted = null;
      notice(error.message);
    }
  }
  async function paint(found, { type, ...own }) {
    const row = new Image();
    row.src = `data:image/png;base64,${found.row}`;
    await row.decode();
    const count = row.width / row.height;
    if (frames.children.length !== count)
      show(frames, ...Array.from({ length: count }, (_, k) => h("figure", { class: "cell" },
        h("canvas", { width: row.height, height: row.height, role: "img", "aria-label": `The picture at t = ${(k / (count - 1)).toFixed(2)}` }), h("figcaption", { class: "help" }, `t = ${(k / (count - 1)).toFixed(2)}`))));
    for (const [k, canvas] of [...frames.querySelectorAll("canvas")].entries()) canvas.getContext("2d").drawImage(row, -k * row.height, 0);
    const points = (from, name) => from.t.map((t, k) => [t, from[name][k]]).filter(([, y]) => y !== null);
    const both = (name, text) => [{ name: text, points: points(found, name) }, { name: "without dragging", points: points(usual, name), colour: 3, dashed: true }];
    const grows = Math.max(...found.sigma) > 1.01;
    show(plots,
      grows
        ? chart({ x: "t", log: true, label: "σₜ, the standard deviation of the noise; α is 1", series: both("sigma", "σₜ") })
        : chart({ x: "t", label: "ᾱₜ = α², the picture's share of the variance", series: both("alpha_bar", "ᾱₜ") }),
      chart({ x: "t", label: "Signal-to-noise ratio, log α²/σ²", series: both("log_snr", "log-SNR") }));
    const lines = [`schedule=${type}`, ...Object.entries(own).filter(([name, value]) => value !== chosen().parameters.find((one) => one.name === name)?.value).map(([name, value]) => `schedule.${name}=${value}`)];
    setting.textContent = lines.join(" ");
    train.href = `#/train?settings=${encodeURIComponent(lines.join("\n"))}`;
  }
  return {
    element,
    async open() {
      source.fill();
      if (all.length) return;
      all = (await choices(shared)).schedules;
      which.fill(all.map((one) => ({ value: one.name, text: one.name.replaceAll("_", " ") })));
      choose();
    },
  };
}
