// What the page asks of the server, and what the server says meanwhile.

import { notice } from "/static/dom.js";

async function answer(response) {
  if (response.status === 401) throw new Error("The studio was started anew: open the link that it printed.");
  const kind = response.headers.get("content-type") ?? "";
  const body = kind.includes("json") ? await response.json() : { error: (await response.text()).trim() };
  if (!response.ok) throw new Error(body.error || `The server answered ${response.status}.`);
  return body;
}

export const get = async (path) => answer(await fetch(path));

// What can be trained, drawn and compared; read once.
export async function choices(shared) {
  shared.choices ??= get("/api/choices").catch((error) => {
    shared.choices = null; // the next call asks again
    throw error;
  });
  return shared.choices;
}

export const post = async (path, value = {}) =>
  answer(
    await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(value) }),
  );

export const upload = async (blob) =>
  (await answer(await fetch("/api/uploads", { method: "POST", headers: { "content-type": blob.type || "image/png" }, body: blob }))).picture;

// What goes wrong is shown, and the page stays as it was.
export const trying = (work) => async (...given) => {
  try {
    return await work(...given);
  } catch (error) {
    notice(error.message);
  }
};

const listeners = new Map();

export function on(name, listener) {
  if (!listeners.has(name)) listeners.set(name, new Set());
  listeners.get(name).add(listener);
}

let asked = 0; // jobs that were asked for and have no answer yet
const held = [];
const tell = (name, data) => {
  if (asked) held.push([name, data]);
  else for (const listener of listeners.get(name) ?? []) listener(data);
};

// Ask for a job. It may end before the answer with its id is here: what the server says meanwhile is told after `begun`.
export async function order(path, value, begun) {
  asked += 1;
  try {
    begun((await post(path, value)).id);
  } finally {
    asked -= 1;
    while (!asked && held.length) tell(...held.shift());
  }
}

// Only while the page is seen: a browser has six connections to a server for all its pages, and each stream takes one.
// A browser gives up a stream that is refused, as after a restart with another token, so it is asked for again.
export function listen(after) {
  let last = after;
  let source = null;
  let again = 0;
  function connect() {
    clearTimeout(again);
    source?.close();
    source = null;
    if (document.hidden) return;
    const here = (source = new EventSource(`/api/events?after=${last}`));
    for (const name of ["job", "preview", "progress", "line", "made", "forgotten", "queue", "trouble", "reset"])
      here.addEventListener(name, (event) => {
        last = event.lastEventId;
        tell(name, JSON.parse(event.data));
      });
    here.addEventListener("open", () => tell("connection", true));
    here.addEventListener("error", () => {
      tell("connection", false);
      if (here === source && here.readyState === EventSource.CLOSED) again = setTimeout(connect, 3000);
    });
  }
  document.addEventListener("visibilitychange", connect);
  connect();
}

export const pictureOf = (name) => `/pictures/${name}.png`;
