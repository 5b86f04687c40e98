// Look: runs and their reports, runs side by side, and what a model makes of a noised picture.

import { get, trying } from "/static/api.js";
import { pictures } from "/static/pictures.js";
import { plane } from "/static/plane.js";
import { schedules } from "/static/schedules.js";
import { solving } from "/static/solvers.js";
import { byNoise, chart } from "/static/chart.js";
import { button, choice, h, notice, show, slider } from "/static/dom.js";

export function look(shared) {
  const chosen = new Set();
  const files = new Map(); // what can be looked at, by run
  const list = h("div", { class: "runs" });
  const compared = h("div", { class: "compared" });
  const report = h("div", {});

  // ----- runs
  const filesOf = async (key) => {
    if (!files.has(key)) files.set(key, await get(`/api/runs/${encodeURIComponent(key)}/files`));
    return files.get(key);
  };
  function coverOf(run) {
    if (run.shipped) return `/api/models/${run.key}/sheet`;
    const samples = files.get(run.key)?.samples ?? [];
    return samples.length ? `/runs/${encodeURIComponent(run.key)}/samples/${samples.at(-1)}` : null;
  }
  const cards = trying(async () => {
    await Promise.all(shared.models.filter((one) => !one.error).map((one) => filesOf(one.key).catch(() => {}))); // of a run that was removed
    show(list, ...shared.models.map((run) => {
      const cover = coverOf(run);
      const box = h("input", { type: "checkbox", checked: chosen.has(run.key), onchange: () => { box.checked ? chosen.add(run.key) : chosen.delete(run.key); side(); } });
      const has = files.get(run.key) ?? {};
      return h("article", { class: "card run", "aria-label": run.key },
        cover ? h("img", { src: cover, alt: `Samples of ${run.key}`, class: "cover" }) : h("div", { class: "cover hollow-cover", "aria-hidden": "true" }),
        h("h3", {}, run.key),
        h("p", { class: "help" }, run.error ?? `${run.about} · ${run.recipe} · ${(run.step ?? 0).toLocaleString("en")} steps`),
        h("div", { class: "row" },
          run.error ? null : h("label", { class: "check" }, box, "Compare"),
          (has.report ?? []).includes("report.html") ? button("Report", () => openReport(run.key), { "aria-label": `Report of ${run.key}` }) : null,
          figuresOf(has).length ? button("Figures", () => openFigures(run.key), { "aria-label": `Figures of ${run.key}` }) : null,
          run.makes ? h("a", { class: "button", href: `#/make?model=${encodeURIComponent(run.key)}`, "aria-label": `Make pictures with ${run.key}` }, "Make") : null));
    }));
  });
  const figuresOf = (has) => ["explain", "compare"].flatMap((place) => (has[place] ?? []).map((name) => [place, name]));
  function openFigures(key) {
    const shown = figuresOf(files.get(key) ?? {}).map(([place, name]) =>
      h("figure", {}, h("img", { src: `/runs/${encodeURIComponent(key)}/${place}/${name}`, alt: `${place}: ${name.slice(0, -4)}`, class: "figure" }), h("figcaption", { class: "help" }, name.slice(0, -4).replaceAll("_", " "))));
    show(report, h("section", { class: "card figures", "aria-label": `Figures of ${key}` },
      h("div", { class: "row" }, h("h2", {}, `Figures of ${key}`), h("span", { class: "space" }), button("Close", () => show(report), { class: "quiet" })), ...shown));
    report.scrollIntoView({ block: "start" });
  }
  function openReport(key) {
    const at = `/runs/${encodeURIComponent(key)}/report/report.html`;
    show(report, h("section", { class: "card", "aria-label": `Report of ${key}` },
      h("div", { class: "row" }, h("h2", {}, `Report of ${key}`), h("span", { class: "space" }), h("a", { class: "button", href: at, target: "_blank", rel: "noopener" }, "Open in a page of its own"), button("Close", () => show(report), { class: "quiet" })),
      h("iframe", { src: at, title: `Report of ${key}`, class: "report", sandbox: "" })));
    report.scrollIntoView({ block: "start" });
  }

  // ----- side by side
  const side = trying(async () => {
    const runs = shared.models.filter((one) => chosen.has(one.key));
    if (runs.length < 2) return show(compared, runs.length ? h("p", { class: "help" }, "Choose another run to compare with.") : null);
    const logs = await Promise.all(runs.map((one) => get(`/api/runs/${encodeURIComponent(one.key)}/log`)));
    const checks = runs.map((one, k) => ({ name: one.key, points: logs[k].checks.findLast((check) => check.held_out.length)?.held_out ?? [] })).filter((line) => line.points.length);
    const rows = [
      ["Recipe", (one) => one.recipe],
      ["Data", (one) => one.data],
      ["Makes", (one) => one.about],
      ["Steps", (one) => (one.step ?? 0).toLocaleString("en")],
      ["Sampler", (one) => (one.sampling ? `${one.sampling.solver}, ${one.sampling.steps} steps, guidance ${one.sampling.guidance}` : "–")],
      ["Last loss", (_, k) => logs[k].losses.at(-1)?.loss?.toPrecision(3) ?? "–"],
    ];
    show(compared, h("section", { class: "card", "aria-labelledby": "side-title" },
      h("h2", { id: "side-title" }, "Side by side"),
      h("div", { class: "scroll" }, h("table", {},
        h("thead", {}, h("tr", {}, h("td", {}), ...runs.map((one) => h("th", { scope: "col" }, one.key)))),
        h("tbody", {},
          h("tr", {}, h("th", { scope: "row" }, "Samples"), ...runs.map((one) => h("td", {}, coverOf(one) ? h("img", { src: coverOf(one), alt: `Samples of ${one.key}`, class: "sheet-image" }) : "–"))),
          ...rows.map(([name, of]) => h("tr", {}, h("th", { scope: "row" }, name), ...runs.map((one, k) => h("td", {}, of(one, k)))))))),
      h("div", { class: "plots" }, chart({ log: true, x: "steps", label: "Loss in training", series: runs.map((one, k) => ({ name: one.key, points: logs[k].losses.map((line) => [line.step, line.loss]), legend: true })) }),
        checks.length ? byNoise(checks) : null),
      h("p", { class: "help" }, "Losses of different recipes or data are not of one scale.")));
  });

  // ----- noising
  let picture = "";
  let curves = null;
  let wanted = null;
  let at = 0.5;
  const model = choice("Model", [], { change: () => noise() });
  const time = slider("Time t", { min: 0, max: 1, step: 0.01, value: at, text: (n) => n.toFixed(2), change: (n) => { at = n; noise(); }, help: "0 is the picture, 1 is noise." });
  const source = pictures(shared, "A sample of the model", (name) => {
    picture = name;
    noise();
  });
  const names = ["x₀, the picture", "xₜ, noised", "x̂₀, what the model sees in it"];
  const canvases = names.map((name) => h("canvas", { width: 64, height: 64, role: "img", "aria-label": name }));
  const plot = h("div", {});
  const noising = h("section", { class: "card noising", "aria-labelledby": "noising-title" },
    h("h2", { id: "noising-title" }, "A picture in noise"),
    h("p", { class: "help" }, "The forward process mixes a picture with noise, xₜ = αx₀ + σε. The network is trained to undo that: its x̂₀ is the mean of all pictures that xₜ may have come from, so it is sharp where little is lost and blurred where much is."),
    h("div", { class: "three" }, ...canvases.map((canvas, k) => h("figure", { class: "cell" }, canvas, h("figcaption", { class: "help" }, names[k])))),
    time,
    h("div", { class: "noising-more" }, h("div", { class: "field" }, model, source.element), plot));

  async function noise() {
    if (!model.get()) return;
    const busy = wanted !== null;
    wanted = { model: model.get(), t: at, picture: picture || null };
    if (busy) return;
    try {
      while (wanted) {
        const now = wanted;
        if (curves?.of !== now.model) curves = { of: now.model, ...(await get(`/api/models/${encodeURIComponent(now.model)}/schedule`)) };
        draw();
        const response = await fetch("/api/noising", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(now) });
        if (!response.ok) throw new Error((await response.json()).error);
        const row = await createImageBitmap(await response.blob());
        canvases.forEach((canvas, k) => {
          canvas.width = row.width / 3;
          canvas.height = row.height;
          canvas.getContext("2d").drawImage(row, (-k * row.width) / 3, 0);
        });
        if (wanted === now) wanted = null;
      }
      element.dataset.noised = at.toFixed(2);
    } catch (error) {
      wanted = null;
      notice(error.message);
    }
  }
  function draw() {
    const points = (name) => curves.t.map((t, k) => [t, curves[name][k]]).filter(([, y]) => y !== null);
    const large = Math.max(...curves.sigma.filter((y) => y !== null)) > 4;
    show(plot, chart({ x: "t", label: "The schedule", marker: at, log: large, series: [{ name: "α, of the picture", points: points("alpha") }, { name: "σ, of the noise", points: points("sigma"), colour: 1 }] }));
  }

  const points = plane();
  const editor = schedules(shared);
  const solvers = solving(shared);
  const runs = h("section", { "aria-labelledby": "runs-title", class: "field" }, h("h2", { id: "runs-title" }, "Models and runs"), list);
  const parts = [noising, editor.element, points.element, solvers.element, runs];
  const contents = h("nav", { class: "contents", "aria-label": "On this page" }, ...parts.map((part) => button(part.querySelector("h2").textContent, () => {
    part.tabIndex = -1;
    part.focus({ preventScroll: true });
    part.scrollIntoView({ block: "start" });
  }, { class: "chip" })));
  const element = h("div", { class: "look" }, h("h1", { class: "unseen" }, "Look at models"), contents, ...parts, compared, report);

  function begin() {
    if (!shared.models.length) return;
    const before = model.get();
    model.fill(shared.models.filter((one) => one.makes).map((one) => one.key));
    if (before) model.set(before);
    source.fill();
    editor.open();
    solvers.open();
    files.clear();
    cards();
    if (!element.dataset.noised) noise();
    points.open();
  }
  const reset = () => {
    begin();
    solvers.reset();
  };
  return { element, open: begin, models: begin, reset };
}
