// Solvers of a model at equal numbers of network evaluations: how far each ends from the solution of the ODE.

import { choices, get, on, order, post, trying } from "/static/api.js";
import { chart } from "/static/chart.js";
import { button, choice, h, show } from "/static/dom.js";

export function solving(shared) {
  let job = null;
  const model = choice("Model", [], { change: () => latest() });
  const which = h("fieldset", { class: "field" });
  const counts = h("input", { type: "text", id: "evaluations", value: "5, 10, 20", inputMode: "numeric", pattern: "[0-9, ]+" });
  const images = choice("Pictures", ["8", "16", "64"], { value: "16", help: "The ODE is solved with a thousand steps for each." });
  const frechet = h("input", { type: "checkbox" });
  const go = button("Compare solvers", () => (job ? stop() : begin()), { class: "main" });
  const bar = h("progress", { max: 1, value: 0, hidden: true, "aria-label": "Solvers compared" });
  const doing = h("p", { class: "help", role: "status" });
  const plot = h("div", { class: "plots" });
  const table = h("div", { class: "scroll" });
  const command = h("code", { class: "command" });
  const element = h("section", { class: "card noising solving", "aria-labelledby": "solvers-title" },
    h("h2", { id: "solvers-title" }, "Solvers"),
    h("p", { class: "help" }, "Every solver takes the same noises to pictures, with as many evaluations of the network. Its error is how far it ends from the solution of the model's ODE, in standard deviations of the data."),
    h("div", { class: "editor" },
      h("div", { class: "field" }, model, which, h("div", { class: "field" }, h("label", { htmlFor: "evaluations" }, "Evaluations"), counts), images,
        h("label", { class: "check" }, frechet, "Fréchet distance to held-out images, too"), h("div", { class: "row" }, go), bar, doing),
      h("div", { class: "field" }, plot, table, command)));

  const chosen = () => [...which.querySelectorAll("input:checked")].map((box) => box.value);
  const one = () => shared.models.find((found) => found.key === model.get());
  const begin = trying(async () => {
    const own = (one()?.solvers.length ?? 0) < 2; // of a model of few steps its own
    const evaluations = counts.value.split(/[ ,]+/).filter(Boolean).map(Number);
    const request = { model: model.get(), evaluations, n: Number(images.get()), frechet: frechet.checked, solvers: own ? null : chosen() };
    await order("/api/compare", request, (id) => {
      job = id;
      state();
    });
  });
  const stop = trying(async () => post(`/api/jobs/${job}/cancel`));
  function state() {
    go.textContent = job ? "Cancel" : "Compare solvers";
    go.classList.toggle("stop", Boolean(job));
    bar.hidden = !job;
    bar.removeAttribute("value");
    show(doing, job ? "Waiting for its turn …" : null);
  }
  const latest = trying(async () => {
    which.hidden = (one()?.solvers.length ?? 0) < 2;
    if (!model.get()) return;
    draw(await get(`/api/models/${encodeURIComponent(model.get())}/solvers`));
  });
  function draw(found) {
    const rows = found.rows ?? [];
    command.textContent = "";
    if (!rows.length) {
      show(plot, h("p", { class: "help" }, "Nothing is compared yet for this model."));
      return show(table);
    }
    const names = [...new Set(rows.map((row) => row.solver))];
    const lines = (point) => names.map((name, k) => ({ name, dashed: k > 3, legend: true, points: rows.filter((row) => row.solver === name && row.median !== undefined).map(point).filter(Boolean).sort(([a], [b]) => a - b) })).filter((line) => line.points.length);
    const far = lines((row) => row.median !== null && [row.evaluations, row.median]);
    const away = lines((row) => row.frechet && [row.evaluations, row.frechet.value, row.frechet.low, row.frechet.high]);
    const scale = { log: true, logX: true, x: "network evaluations" };
    show(plot, far.length ? chart({ ...scale, label: "Median distance to the ODE's solution", series: far }) : null, away.length ? chart({ ...scale, label: "Fréchet distance to held-out images", series: away }) : null);
    const steps = [...new Set(rows.map((row) => row.evaluations))].sort((a, b) => a - b);
    const cell = (row) => (row ? [row.median === null ? "draws noise" : row.median.toPrecision(2), row.frechet ? h("span", { class: "help" }, ` ${row.frechet.value.toFixed(2)} [${row.frechet.low.toFixed(2)}, ${row.frechet.high.toFixed(2)}]`) : null].filter(Boolean) : ["–"]);
    show(table, h("table", {},
      h("caption", {}, `Median distance${away.length ? ", and Fréchet distance," : ""} by evaluations; ms a picture with the most of them`),
      h("thead", {}, h("tr", {}, ...["Solver", ...steps, "ms a picture"].map((name) => h("th", { scope: "col" }, String(name))))),
      h("tbody", {}, ...names.map((name) => {
        const own = rows.filter((row) => row.solver === name);
        return h("tr", {}, h("th", { scope: "row" }, name), ...steps.map((count) => h("td", {}, ...cell(own.find((row) => row.evaluations === count)))), h("td", {}, (1000 * own.at(-1).seconds).toFixed(1)));
      }))));
  }
  on("progress", ({ id, what, done, total }) => {
    if (id !== job) return;
    Object.assign(bar, { max: total, value: done });
    show(doing, `${what}: ${done} of ${total}`);
  });
  const ended = (now) => {
    if (now.id !== job || !["done", "cancelled", "failed"].includes(now.state)) return;
    job = null;
    state();
    if (now.state === "done") {
      draw(now.result);
      command.textContent = now.about.command;
    } else show(doing, now.state === "failed" ? now.message : "Cancelled.");
  };
  on("job", ended);
  return {
    element,
    reset() {
      if (job) ended(shared.jobs.get(job) ?? { id: job, state: "cancelled" });
    },
    async open() {
      const before = model.get();
      model.fill(shared.models.filter((found) => found.makes).map((found) => found.key));
      if (before) model.set(before);
      else if (one() && shared.models.some((found) => found.key === "digits")) model.set("digits"); // quick
      if (!which.children.length) {
        const { solvers } = await choices(shared);
        show(which, h("legend", {}, "Solvers"), h("div", { class: "chips" }, ...solvers.map((name) => h("label", { class: "chip" }, h("input", { type: "checkbox", value: name, checked: true }), name))));
      }
      if (model.get()) latest();
    },
  };
}
