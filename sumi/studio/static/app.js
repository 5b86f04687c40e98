// The frame: which view is shown, and the line that says what is going on.

import { get, listen, on, trying } from "/static/api.js";
import { h, notice, show } from "/static/dom.js";
import { look } from "/static/look.js";
import { make } from "/static/make.js";
import { train } from "/static/train.js";

const VIEWS = { make, train, look };
const TITLES = { make: "Make", train: "Train", look: "Look" };
const main = document.getElementById("main");
const status = document.getElementById("status");
export const shared = { models: [], history: [], jobs: new Map() };
const shown = {};
let connected = true;

function say() {
  const jobs = [...shared.jobs.values()];
  const running = jobs.find((job) => job.state === "running");
  const waiting = jobs.filter((job) => job.state === "waiting").length;
  let text = "Ready";
  if (!connected) text = "The studio is closed";
  else if (running) text = `Computing${running.total ? ` ${running.done} of ${running.total}` : " …"}${waiting ? `, ${waiting} waiting` : ""}`;
  if (status.textContent !== text) status.textContent = text;
  status.className = connected ? (running ? "busy" : "") : "lost";
}

function route() {
  const [path, query = ""] = (location.hash || "#/make").slice(2).split("?");
  const name = path in VIEWS ? path : "make";
  for (const link of document.querySelectorAll("nav [data-view]"))
    link.toggleAttribute("aria-current", link.dataset.view === name);
  document.title = `${TITLES[name]} – Sumi studio`;
  shown[name] ??= VIEWS[name](shared);
  if (main.firstChild !== shown[name].element) show(main, shown[name].element);
  shown[name].open?.(new URLSearchParams(query));
}

const load = async () => {
  const state = await get("/api/state");
  shared.history = state.history;
  shared.queue = state.queue ?? [];
  shared.jobs = new Map(state.jobs.map((job) => [job.id, job]));
  return state.event;
};

export async function refreshModels() {
  shared.models = await get("/api/models");
  for (const view of Object.values(shown)) view.models?.();
}

on("job", (job) => {
  shared.jobs.set(job.id, job);
  say();
});
const counted = ({ id, done, total }) => {
  Object.assign(shared.jobs.get(id) ?? {}, { done, total });
  say();
};
on("preview", counted);
on("progress", counted);
on("made", (made) => (shared.history = [...shared.history.filter((one) => one.id !== made.id), made]));
on("forgotten", ({ id }) => (shared.history = shared.history.filter((one) => one.id !== id)));
on("queue", (queue) => {
  const ended = queue.some((one) => one.state === "done" && shared.queue.find((other) => other.id === one.id)?.state === "running");
  shared.queue = queue;
  if (ended) trying(refreshModels)();
});
on("trouble", ({ message }) => notice(message));
on("reset", trying(async () => {
  await load();
  say();
  for (const view of Object.values(shown)) view.reset?.();
}));
on("connection", (is) => {
  connected = is;
  say();
});

addEventListener("hashchange", route);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

trying(async () => {
  show(main, h("p", { class: "opening" }, "Loading the models …"));
  const after = await load();
  listen(after);
  say();
  route();
  await refreshModels();
})();
