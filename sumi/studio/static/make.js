// Make: settings on the left, candidates as they emerge, and the history. The address holds the whole state.

import { get, on, order, pictureOf, post, trying, upload } from "/static/api.js";
import { paintOn } from "/static/brush.js";
import { button, choice, clock, h, notice, player, show, slider } from "/static/dom.js";

const NUMBERS = ["seed", "steps", "guidance", "strength"];
const KEPT = ["model", "prompt", "label", "seed", "steps", "guidance", "solver", "strength", "sheet"];
const WORDS = { sample: "pictures", vary: "variations", blend: "a blend", paint: "painted anew", enlarge: "enlarged" };

export function make(shared) {
  const state = { model: "", prompt: "", label: "", seed: 0, steps: null, guidance: null, solver: "", strength: 0.5, sheet: "" };
  const past = { states: [], at: -1 };
  let model = null;
  let job = null; // the one that is watched
  let blendFrom = null;

  // ----- the settings
  const models = choice("Model", [], { change: (key) => choose(key) });
  const card = h("p", { class: "help" });
  const prompt = h("textarea", { id: "prompt", rows: 3, maxLength: 1000, spellcheck: true, oninput: () => keep({ prompt: prompt.value }) });
  const examples = h("div", { class: "chips", role: "group", "aria-label": "Examples of prompts" });
  const prompted = h("div", { class: "field" }, h("label", { htmlFor: "prompt" }, "Prompt"), prompt, examples);
  const classes = h("fieldset", { class: "field classes" });
  const seed = h("input", { id: "seed", type: "number", min: 0, max: 2 ** 31 - 1, step: 1, inputMode: "numeric", onchange: () => keep({ seed: Math.max(0, Math.floor(Number(seed.value) || 0)) }) });
  const dice = button("Other seed", () => {
    seed.value = Math.floor(Math.random() * 1e6);
    keep({ seed: Number(seed.value) });
  });
  const steps = slider("Steps", { min: 1, max: 100, value: 20, change: (value) => keep({ steps: value }), help: "More steps follow the path more closely, and take longer." });
  const guidance = slider("Guidance", { min: 1, max: 8, step: 0.1, value: 1, text: (n) => n.toFixed(1), change: (value) => keep({ guidance: value }), help: "How much the prompt or the class counts: 1 plain, more is sharper." });
  const solver = choice("Solver", [], { change: (value) => keep({ solver: value }) });
  const strengthOf = slider("Strength of variations", { min: 0.05, max: 0.95, step: 0.05, value: 0.5, text: (n) => n.toFixed(2), change: (value) => keep({ strength: value }), help: "Little keeps the picture, much makes another." });
  const go = button("Make four", () => (busy() ? stop() : begin({ type: "sample" })), { class: "main wide" });
  const file = h("input", { type: "file", accept: "image/*", class: "hidden", tabIndex: -1, "aria-hidden": "true", onchange: () => take(file.files[0]) });
  const own = h("div", { class: "own" });
  const controls = h(
    "form",
    { class: "controls card", "aria-label": "Settings", onsubmit: (event) => event.preventDefault() },
    models,
    card,
    prompted,
    classes,
    h("div", { class: "field" }, h("label", { htmlFor: "seed" }, "Seed"), h("div", { class: "row" }, seed, dice)),
    go,
    h("details", { class: "more" }, h("summary", {}, "How it samples"), steps, guidance, solver, strengthOf),
    h("div", { class: "field" }, h("h2", { class: "label" }, "A picture of your own"), h("div", { class: "row" }, button("Choose a picture …", () => file.click()), file), own),
  );

  // ----- the stage
  const cells = h("div", { class: "cells", "aria-live": "off" });
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Steps done" });
  const about = h("p", { class: "about" });
  const command = h("code", { class: "command" });
  const banner = h("div", { class: "banner", hidden: true }, h("span", {}, "Choose another picture to blend with, here or in the history."), button("Do not blend", () => blend(null), { class: "quiet" }));
  const undo = button("Undo", () => step(-1), { title: "Control Z" });
  const redo = button("Redo", () => step(1), { title: "Control Shift Z" });
  const link = button("Copy link", trying(async () => {
    await navigator.clipboard.writeText(location.href);
    notice("The link holds all settings and these pictures.", "fine");
  }));
  const copy = button("Copy command", trying(async () => {
    await navigator.clipboard.writeText(command.textContent);
    notice("This command makes the same pictures, bit for bit.", "fine");
  }));
  const strip = h("ol", { class: "strip" });
  const element = h(
    "div",
    { class: "make" },
    h("h1", { class: "unseen" }, "Make pictures"),
    controls,
    h(
      "section",
      { class: "stage", "aria-label": "Pictures" },
      h("div", { class: "tools" }, about, h("div", { class: "row" }, undo, redo, link)),
      banner,
      bar,
      cells,
      h("div", { class: "row cite" }, command, copy),
    ),
    h("section", { class: "past", "aria-labelledby": "past-title" }, h("h2", { id: "past-title" }, "History"), strip),
  );

  // ----- state
  const busy = () => job && ["waiting", "running"].includes(shared.jobs.get(job)?.state ?? "waiting");
  const sheetOf = (id) => shared.history.find((made) => made.id === id);

  function address() {
    const query = new URLSearchParams();
    for (const name of KEPT) if (state[name] !== null && state[name] !== "") query.set(name, state[name]);
    return `#/make?${query}`;
  }
  function keep(change) {
    Object.assign(state, change);
    history.replaceState(null, "", address());
  }
  function commit() {
    past.states.splice(past.at + 1);
    past.states.push({ ...state });
    past.at = past.states.length - 1;
    if (location.hash !== address()) history.pushState(null, "", address());
    marks();
  }
  function step(by) {
    if (!past.states[past.at + by]) return;
    past.at += by;
    apply(past.states[past.at]);
    history.replaceState(null, "", address());
    marks();
  }
  function marks() {
    undo.disabled = past.at <= 0;
    redo.disabled = past.at >= past.states.length - 1;
    copy.hidden = !command.textContent;
  }
  function apply(next) {
    Object.assign(state, next);
    model = shared.models.find((one) => one.key === state.model && one.makes) ?? shared.models.find((one) => one.makes) ?? null;
    if (!model) return;
    state.model = model.key;
    models.set(model.key);
    show(card, `${model.about}${model.step ? ` · ${model.step.toLocaleString("en")} steps of ${model.recipe}` : ""}`);
    prompted.hidden = !model.prompted;
    prompt.value = state.prompt;
    show(examples, ...(model.examples ?? []).slice(0, 4).map((text) => button(text, () => {
      prompt.value = text;
      keep({ prompt: text });
    }, { class: "chip", title: text })));
    const names = model.labels ?? [];
    classes.hidden = !names.length;
    const options = [["", "Any"], ...names.map((name) => [name, name]), ...(names.length > 1 ? [["all", "One of each"]] : [])];
    show(classes, h("legend", {}, "Class"), h("div", { class: "chips" }, ...options.map(([value, text]) =>
      h("label", { class: "chip" }, h("input", { type: "radio", name: "label", value, checked: value === state.label, onchange: () => keep({ label: value }) }), text))));
    seed.value = state.seed;
    steps.set(state.steps ?? model.sampling.steps);
    guidance.set(state.guidance ?? model.sampling.guidance);
    guidance.hidden = !model.prompted && !names.length;
    const usual = model.solvers.includes(model.sampling.solver) ? model.sampling.solver : "";
    solver.fill(model.solvers.map((name) => ({ value: name, text: name === usual ? `${name} (the model's)` : name })));
    solver.set(state.solver || usual || model.solvers[0]);
    solver.hidden = model.solvers.length < 2;
    steps.hidden = model.solvers.length < 2;
    strengthOf.set(state.strength);
    strengthOf.hidden = !model.paints;
    for (const part of own.querySelectorAll("button[data-act]")) part.disabled = !model.paints;
    shown(state.sheet);
  }
  function choose(key) {
    keep({ model: key, label: "", steps: null, guidance: null, solver: "" });
    apply({});
    commit();
  }

  // ----- making
  const begin = trying(async (act, n = 4) => {
    const conditioned = model.prompted ? state.prompt.trim() !== "" : state.label !== "";
    const request = {
      model: state.model,
      act,
      n,
      seed: state.seed,
      prompt: model.prompted && conditioned ? state.prompt.trim() : null,
      label: !model.prompted && conditioned ? state.label : null,
      steps: state.steps,
      guidance: conditioned ? state.guidance : null,
      solver: act.type === "blend" || act.type === "paint" || act.type === "enlarge" ? null : state.solver || null,
    };
    await order("/api/make", request, (id) => watch(id, n, act.type));
  });
  const stop = trying(async () => post(`/api/jobs/${job}/cancel`));

  function watch(id, n, kind) {
    job = id;
    sessionStorage.setItem("making", id); // so that it is watched, and can be cancelled, when the page is loaded again
    blend(null);
    bar.hidden = false;
    bar.removeAttribute("value");
    show(about, `Making ${WORDS[kind] ?? "pictures"} …`);
    command.textContent = "";
    cells.classList.toggle("many", n > 4);
    const [height, width] = model.size;
    show(cells, ...Array.from({ length: n }, (_, k) =>
      h("figure", { class: "cell" }, h("canvas", { width, height, role: "img", "aria-label": `Picture ${k + 1} of ${n}, emerging` }))));
    marks();
    label();
    if (innerWidth < 900) element.querySelector(".stage").scrollIntoView({ block: "start" });
  }
  function label() {
    const now = busy();
    go.textContent = now ? "Cancel" : "Make four";
    go.classList.toggle("stop", Boolean(now));
    element.classList.toggle("busy", Boolean(now));
  }

  let fetching = false;
  async function preview({ id, done, total }) {
    if (id !== job) return;
    bar.max = total;
    bar.value = done;
    if (fetching) return;
    fetching = true;
    try {
      const response = await fetch(`/api/jobs/${id}/preview?${done}`);
      if (!response.ok || id !== job) return;
      const row = await createImageBitmap(await response.blob());
      const canvases = [...cells.querySelectorAll("canvas")];
      const width = row.width / canvases.length;
      canvases.forEach((canvas, k) => {
        canvas.width = width;
        canvas.height = row.height;
        canvas.getContext("2d").drawImage(row, -k * width, 0);
      });
    } finally {
      fetching = false;
    }
  }
  function ended(one) {
    if (one.id !== job || !["done", "cancelled", "failed"].includes(one.state)) return label();
    job = null;
    label();
    bar.hidden = true;
    if (one.state === "done") {
      state.sheet = one.id;
      shown(one.id);
      commit();
    } else {
      if (one.state === "failed") notice(one.message);
      shown(state.sheet);
    }
  }

  // ----- what is shown
  function shown(id) {
    if (busy()) return;
    const made = sheetOf(id);
    bar.hidden = true;
    if (!made) {
      state.sheet = "";
      command.textContent = "";
      show(about, "Nothing is made yet: press Make four.");
      cells.classList.remove("many");
      show(cells, ...Array.from({ length: 4 }, () => h("figure", { class: "cell empty", "aria-hidden": "true" })));
      return marks();
    }
    const making = JSON.parse(made.making);
    cells.classList.toggle("many", made.count > 4);
    const what = making.prompt || (making.label ? `${making.label}` : "no condition");
    show(about, `${what} · ${making.act.type === "sample" ? "" : `${WORDS[making.act.type]} · `}seed ${making.seed} · ${clock(made.seconds)}`);
    command.textContent = made.command;
    show(cells, ...Array.from({ length: made.count }, (_, k) => cell(made, making, k)));
    if (making.act.type === "blend") cells.append(film(made));
    marks();
  }
  function cell(made, making, k) {
    const name = `${made.id}/${k}`;
    const what = `${making.prompt || making.label || "picture"}, ${k + 1} of ${made.count}`;
    return h("figure", { class: "cell" },
      h("img", { src: pictureOf(name), alt: what, width: made.width, height: made.height, class: made.width < 128 ? "pixels" : "" }),
      h("figcaption", { class: "acts" }, ...acts(name, what), h("a", { class: "button", href: `${pictureOf(name)}?save`, download: "", "aria-label": `Save ${what}` }, "Save")));
  }
  function acts(name, what) {
    if (!model?.paints) return [];
    const act = (text, press) => button(text, press, { "data-act": text, "aria-label": `${text}: ${what}` });
    return [
      act("Vary", () => begin({ type: "vary", picture: name, strength: state.strength })),
      act("Blend", () => blend(name)),
      act("Paint", () => paintOn(pictureOf(name), trying(async (mask) => begin({ type: "paint", picture: name, mask: await upload(mask) })))),
      act("Enlarge", () => begin({ type: "enlarge", picture: name })),
    ];
  }
  function blend(name) {
    const from = blendFrom;
    blendFrom = null;
    banner.hidden = true;
    if (name && from && from !== name) return begin({ type: "blend", picture: from, other: name }, 8);
    if (name && !from) {
      blendFrom = name;
      banner.hidden = false;
    }
  }
  function film(made) {
    const at = (n) => pictureOf(`${made.id}/${n}`);
    const frame = h("img", { src: at(0), alt: "The blend as a film", class: made.width < 128 ? "pixels" : "" });
    const moved = (n) => (frame.src = at(n));
    const place = slider("Between the two", { min: 0, max: made.count - 1, value: 0, text: (n) => `${n + 1} of ${made.count}`, change: moved });
    return h("div", { class: "film" }, frame, h("div", {}, place, player(place, { delay: 220, around: true, moved })));
  }
  function past_() {
    const sheets = [...shared.history].reverse().slice(0, 60);
    show(strip, ...(sheets.length ? sheets.map((made) => {
      const making = JSON.parse(made.making);
      const what = making.prompt || making.label || making.model;
      return h("li", {},
        button(h("span", { class: "mini" }, ...Array.from({ length: Math.min(4, made.count) }, (_, k) => h("img", { src: pictureOf(`${made.id}/${k}`), alt: "", loading: "lazy", width: 40, height: 40 }))), () => {
          if (blendFrom) return blend(`${made.id}/0`);
          apply(restored(made));
          commit();
        }, { class: "sheet", title: what, "aria-label": `${what}, ${WORDS[making.act.type]}, seed ${making.seed}` }),
        h("div", { class: "under" }, h("span", { class: "caption" }, what),
          button("×", trying(async () => post(`/api/history/${made.id}/forget`)), { class: "quiet forget", title: "Take it out of the history; the pictures stay on disk", "aria-label": `Take ${what}, seed ${making.seed}, out of the history` })));
    }) : [h("li", { class: "help" }, "What you make stays here, in the studio's folder.")]));
  }
  function restored(made) {
    const making = JSON.parse(made.making);
    return { model: making.model, prompt: making.prompt ?? "", label: making.label ?? "", seed: making.seed, steps: making.steps, guidance: making.guidance, solver: making.solver ?? "", strength: making.act.strength ?? state.strength, sheet: made.id };
  }
  const take = trying(async (blob) => {
    if (!blob) return;
    file.value = ""; // so that the same one can be chosen again
    const name = await upload(blob);
    show(own, h("figure", { class: "cell" }, h("img", { src: pictureOf(name), alt: "Your picture" }), h("figcaption", { class: "acts" }, ...acts(name, "your picture"))),
      h("p", { class: "help" }, model?.paints ? "It is cropped and resized to the model's size." : "This model varies no pictures; choose another."));
  });
  addEventListener("keydown", (event) => {
    if (!element.isConnected || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) || document.querySelector("dialog[open]")) return;
    if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      step(event.shiftKey ? 1 : -1);
    } else if (event.key === "Escape" && busy()) stop();
  });
  prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) go.click();
  });

  on("preview", preview);
  on("job", ended);
  on("made", past_);
  on("forgotten", past_);

  let asked = new URLSearchParams();
  const view = {
    element,
    open(query) {
      asked = query;
      if (shared.models.length && element.dataset.ready) view.restore();
    },
    restore() {
      const next = Object.fromEntries(KEPT.filter((name) => asked.has(name)).map((name) => [name, NUMBERS.includes(name) ? Number(asked.get(name)) : asked.get(name)]));
      if (!next.sheet && !next.model && !state.model && shared.history.length) Object.assign(next, restored(shared.history.at(-1)));
      if (!shared.history.length && !state.model) next.prompt ??= shared.models.find((one) => one.makes)?.examples?.[0] ?? "";
      if (next.model && next.model !== state.model) Object.assign(next, { label: "", steps: null, guidance: null, solver: "", ...next });
      asked = new URLSearchParams(); // it is done, and what is set from now on stays
      apply(next);
      if (past.at < 0) commit();
      const mine = shared.jobs.get(sessionStorage.getItem("making"));
      if (!job && model && mine && ["waiting", "running"].includes(mine.state)) {
        const making = JSON.parse(mine.about.making);
        watch(mine.id, making.n, making.act.type);
      }
    },
    fill() {
      models.fill(shared.models.filter((one) => one.makes).map((one) => ({ value: one.key, text: one.key })));
      element.dataset.ready = "yes";
      past_();
    },
    models() {
      view.fill();
      view.restore();
    },
    reset() {
      past_();
      if (job) ended(shared.jobs.get(job) ?? { id: job, state: "cancelled" });
      label();
    },
  };
  show(about, "Loading the models …");
  if (shared.models.length) view.fill();
  return view;
}
