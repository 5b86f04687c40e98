// Train: choose data and a recipe, see what is in the data and how long a step takes, then start, watch, stop, resume.

import { choices, get, on, order, post, trying } from "/static/api.js";
import { byNoise, chart, spread } from "/static/chart.js";
import { button, choice, clock, h, player, show, slider } from "/static/dom.js";

const TIMES = [[120, "2 min"], [600, "10 min"], [1800, "30 min"], [7200, "2 h"], [28800, "8 h"]];
const SMALL = ["network.widths=32,64", "network.blocks=1,2", "network.embedding=96", "training.batch_size=64", "training.learning_rate=2e-3", "training.decay=linear", "training.warmup_steps=50"];
const WORTH = 0.85; // of the time is steps; the rest are samples, checkpoints and the report
const STATES = { waiting: "Waiting", running: "Running", stopped: "Stopped", done: "Done", failed: "Failed" };

export function train(shared) {
  let found = null; // the examination that belongs to the present choice
  let job = null;
  let time = 600;
  let recipes = [];
  const open = new Map(); // the details of each training, by id

  const data = choice("Data", [], { change: () => changed() });
  const recipe = choice("Recipe", [], { change: () => changed() });
  const title = h("p", { class: "help" });
  const network = choice("Network", [{ value: "small", text: "Small, for a processor" }, { value: "own", text: "As the recipe has it" }], { change: () => changed() });
  const settings = h("textarea", { id: "settings", rows: 3, placeholder: "training.batch_size=32\ndata.size=32", oninput: () => changed() });
  const name = h("input", { id: "run-name", type: "text", maxLength: 64, pattern: "[A-Za-z0-9][A-Za-z0-9._-]*" });
  const steps = h("input", { id: "train-steps", type: "number", min: 1, step: 1, inputMode: "numeric" });
  const seed = h("input", { id: "train-seed", type: "number", min: 0, step: 1, value: 0, inputMode: "numeric" });
  const times = h("fieldset", { class: "field" }, h("legend", {}, "Time"), h("div", { class: "chips" }, ...TIMES.map(([value, text]) =>
    h("label", { class: "chip" }, h("input", { type: "radio", name: "time", value, checked: value === time, onchange: () => { time = value; suggest(); } }), text))));
  const examine = button("Examine the data", () => (job ? stop() : look()), { class: "main wide" });
  const start = button("Start training", () => begin(), { class: "main wide" });
  const findings = h("div", { class: "findings", "aria-live": "polite" });
  const queue = h("div", { class: "queue" });
  const more = h("details", { class: "more" }, h("summary", {}, "Settings"),
    h("div", { class: "field" }, h("label", { htmlFor: "settings" }, "One a line, section.field=value"), settings),
    h("div", { class: "field" }, h("label", { htmlFor: "train-seed" }, "Seed"), seed));
  const form = h(
    "form",
    { class: "controls card", "aria-label": "A new training", onsubmit: (event) => event.preventDefault() },
    data,
    recipe,
    title,
    network,
    more,
    examine,
    h("div", { class: "ready field" }, times, h("div", { class: "field" }, h("label", { htmlFor: "train-steps" }, "Steps"), steps),
      h("div", { class: "field" }, h("label", { htmlFor: "run-name" }, "Name of the run"), name), start),
  );
  const ready = form.querySelector(".ready");
  const element = h(
    "div",
    { class: "make train" },
    h("h1", { class: "unseen" }, "Train a model"),
    form,
    h("section", { class: "trainings", "aria-labelledby": "queue-title" }, findings, h("h2", { id: "queue-title" }, "Trainings"), queue),
  );

  const what = () => ({
    recipe: recipe.get(),
    data: data.get(),
    settings: [...(network.get() === "small" ? SMALL : []), ...settings.value.split("\n").map((line) => line.trim()).filter(Boolean)],
  });
  function changed() {
    found = null;
    if (job) {
      stop(); // it is of another choice
      rest();
    }
    show(title, recipes.find((one) => one.name === recipe.get())?.title ?? "");
    show(findings);
    ready.hidden = true;
    examine.hidden = false;
  }
  function suggest() {
    if (found) steps.value = Math.max(20, Math.round((time * WORTH) / found.seconds_per_step));
  }
  function free(base) {
    const taken = new Set((shared.queue ?? []).map((one) => one.order.run));
    let name = base;
    for (let k = 2; taken.has(name); k++) name = `${base}-${k}`;
    return name;
  }

  const look = trying(async () => {
    show(findings, h("h2", {}, `What is in ${data.get()}`), h("p", { class: "help" }, "Reading the data …"));
    await order("/api/examine", what(), (id) => {
      job = id;
      examine.textContent = "Cancel";
      examine.classList.add("stop");
    });
  });
  const stop = trying(async () => post(`/api/jobs/${job}/cancel`));
  function line({ id, line }) {
    if (id !== job) return;
    findings.querySelector("p.help")?.remove();
    const list = findings.querySelector("ul") ?? findings.appendChild(h("ul", {}));
    if (line.name === "sheet") return; // the picture itself is shown
    for (const [k, text] of line.says.map((one) => one.replace(/; look at \S+copies\.png/, "")).entries())
      list.append(h("li", { class: line.warns && !k ? "warns" : "" }, line.warns && !k ? h("b", {}, "Look at this: ") : null, text));
  }
  function rest() {
    job = null;
    examine.textContent = "Examine the data";
    examine.classList.remove("stop");
  }
  function ended(one) {
    if (one.id !== job || !["done", "cancelled", "failed"].includes(one.state)) return;
    rest();
    if (one.state !== "done") {
      show(findings, h("p", { class: one.state === "failed" ? "warns" : "help" }, one.state === "failed" ? one.message : "Cancelled."));
      return;
    }
    found = one.result;
    const words = { "seen.png": "What the network will see", "copies.png": "Images that are alike" };
    const pictures = h("div", { class: "sheets" });
    if (found.pictures.length) findings.append(pictures);
    for (const picture of found.pictures.filter((name) => name in words).reverse())
      pictures.append(h("figure", {}, h("img", { src: `/doctor/${one.id}/${picture}`, alt: words[picture], class: "sheet-image" }), h("figcaption", { class: "help" }, words[picture])));
    examine.hidden = true;
    ready.hidden = false;
    name.value = free(`${recipe.get()}-${data.get().replace(/ \(yours\)$/, "")}`.replace(/[^A-Za-z0-9._-]+/g, "-").slice(0, 60));
    suggest();
  }
  const begin = trying(async () => {
    await post("/api/train", { what: what(), run: name.value.trim(), steps: Number(steps.value), seed: Number(seed.value) || 0 });
    changed();
  });

  // ----- the queue
  function card(training) {
    const { id, order, state } = training;
    const act = (text, verb, properties = {}) => button(text, trying(async () => post(`/api/trainings/${id}/${verb}`)), { "aria-label": `${text} ${order.run}`, ...properties });
    const detail = open.get(id) ?? {};
    open.set(id, detail);
    const as = `${state} ${keyOf(training)}`;
    if (detail.as === as) {
      detail.tell(training); // the same buttons: one that is being pressed, or has the focus, stays
      return detail.card;
    }
    detail.body ??= h("div", { class: "detail" });
    const [facts, bar, says] = [h("p", { class: "help" }), h("progress", { max: 1, "aria-label": `Steps of ${order.run}` }), h("p", { class: state === "failed" ? "warns" : "help" })];
    detail.tell = ({ step, loss, left, message }) => {
      const known = [`${step.toLocaleString("en")} of ${order.steps.toLocaleString("en")} steps`, loss != null ? `loss ${loss.toPrecision(3)}` : "", state === "running" && left != null ? `about ${clock(left)} left` : ""];
      facts.textContent = `${order.what.recipe} on ${order.what.data} · ${known.filter(Boolean).join(" · ")}`;
      bar.value = Math.min(1, step / order.steps);
      says.textContent = message === "training" || state === "done" ? "" : message;
      says.hidden = !says.textContent;
    };
    detail.tell(training);
    detail.as = as;
    return (detail.card = h("article", { class: `card training ${state}`, "aria-label": `${order.run}: ${STATES[state]}` },
      h("div", { class: "row" }, h("h3", {}, order.run), h("span", { class: `state ${state}` }, STATES[state]), h("span", { class: "space" }),
        state === "running" || state === "waiting" ? act("Stop", "stop") : null,
        state === "stopped" || state === "failed" ? act("Resume", "resume") : null,
        state !== "running" ? act("Remove", "remove", { class: "quiet" }) : null,
        state === "done" ? h("a", { class: "button", href: `#/make?model=${encodeURIComponent(keyOf(training))}` }, "Make pictures") : null),
      facts,
      bar,
      says,
      detail.body));
  }
  const keyOf = (training) => shared.models.find((one) => one.path === training.run)?.key ?? training.order.run;

  const refresh = trying(async (training) => {
    const detail = open.get(training.id);
    if (!detail || detail.busy || (detail.step === training.step && detail.state === training.state) || !training.step) return;
    detail.busy = true;
    try {
      const run = encodeURIComponent(training.order.run);
      const [log, files] = await Promise.all([get(`/api/trainings/${training.id}/log`), get(`/api/trainings/${training.id}/samples`)]);
      Object.assign(detail, { step: training.step, state: training.state });
      detail.measured ??= h("div", { class: "measured" });
      show(detail.measured, chart({ series: [{ name: "loss", points: log.losses.map((one) => [one.step, one.loss]) }], log: true, x: "steps", label: "Loss in training" }), ...checked(log.checks));
      show(detail.body, detail.measured, files.length ? samples(training, files, detail) : null);
    } finally {
      detail.busy = false;
    }
  });
  // The loss on held-out images at up to four checks, the last one first, and copies among the samples of each.
  function checked(checks) {
    const measured = checks.filter((one) => one.held_out.length);
    if (!measured.length) return [];
    const last = measured.at(-1);
    const counted = checks.filter((one) => one.samples).slice(-6).map((one) => `${one.copies} of ${one.samples} after ${one.step.toLocaleString("en")} steps`);
    return [
      byNoise(spread(measured, 4).reverse().map((one) => ({ name: `after ${one.step.toLocaleString("en")} steps`, points: one.held_out }))),
      h("p", { class: "help" }, "The same held-out images with the same noise at each check; bars are 95 % intervals."),
      counted.length ? h("p", { class: "copies" }, h("b", {}, "Copies of training images among samples: "), `${counted.join(", ")}.`) : null,
      last.rises_since ? h("p", { class: "warns" }, `The loss on held-out images has risen since step ${last.rises_since.toLocaleString("en")}: from there on it learns its training images by heart.`) : null,
    ].filter(Boolean);
  }
  function samples(training, files, detail) {
    if (detail.count === files.length) return detail.samples;
    const at = (k) => `/api/trainings/${training.id}/samples/${files[k]}`;
    const number = (k) => Number(files[k].slice(0, -4)).toLocaleString("en");
    const latest = files.length - 1;
    const k = detail.chosen === undefined || detail.chosen >= detail.count - 1 ? latest : detail.chosen;
    Object.assign(detail, { count: files.length, chosen: k });
    const image = h("img", { src: at(k), alt: `Samples after ${number(k)} steps`, class: "sheet-image" });
    const moved = (n) => Object.assign(image, { src: at((detail.chosen = n)), alt: `Samples after ${number(n)} steps` });
    const place = slider("The same noises after", { min: 0, max: latest, value: k, text: (n) => `${number(n)} steps`, change: moved });
    return (detail.samples = h("div", { class: "emerging" }, image, latest ? h("div", { class: "row" }, place, player(place, { delay: 400, moved })) : null));
  }
  function list() {
    const all = [...(shared.queue ?? [])].reverse();
    show(queue, ...(all.length ? all.map(card) : [h("div", { class: "card hollow" }, h("p", {}, "No training yet."), h("p", { class: "help" }, "Choose data and a recipe, and examine them: that shows what is in the data, and how long a step takes here. Trainings go on when the studio is closed."))]));
    for (const training of all) refresh(training);
  }

  on("queue", () => queueMicrotask(list));
  on("line", line);
  on("job", ended);
  const view = {
    element,
    open: trying(async (query) => {
      list();
      if (query.has("settings")) {
        settings.value = query.get("settings");
        more.open = true;
        changed();
      }
      if (!recipes.length) {
        const found = await choices(shared);
        recipes = found.recipes;
        data.fill(found.data);
        recipe.fill(recipes.map((one) => one.name));
        recipe.set("ddpm");
        changed();
      }
    }),
    models: list,
    reset() {
      list();
      if (job) ended(shared.jobs.get(job) ?? { id: job, state: "cancelled" });
    },
  };
  ready.hidden = true;
  return view;
}
