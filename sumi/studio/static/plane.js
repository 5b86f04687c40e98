// Points in the plane on their way from noise to data, and the score that moves them.

import { get, trying } from "/static/api.js";
import { choice, h, player, slider } from "/static/dom.js";

const SIZE = 560;

export function plane() {
  let found = null;
  const canvas = h("canvas", { width: SIZE, height: SIZE, role: "img", "aria-label": "Points, and arrows of the score" });
  const cloud = choice("Data", [{ value: "ring-of-8", text: "A ring of eight" }, { value: "swiss-roll", text: "A roll" }], { change: () => load() });
  const schedule = choice("Schedule", [{ value: "flow", text: "Straight (flow matching)" }, { value: "vp", text: "Variance preserving" }, { value: "continuous_cosine", text: "Cosine" }], { change: () => load() });
  const time = slider("Time t", { min: 0, max: 40, value: 0, text: (k) => (found ? found.t[k].toFixed(2) : "1.00"), change: () => draw(), help: "From noise at the left to data at the right." });
  const play = player(time, { delay: 90, moved: () => draw() });
  const element = h("section", { class: "card noising", "aria-labelledby": "plane-title" },
    h("h2", { id: "plane-title" }, "Points in the plane"),
    h("p", { class: "help" }, "Arrows show the score ∇ log p(xₜ): where the density of noised data grows. Points follow it along the ODE from noise to data. The denoiser is exact here, so nothing is left to training."),
    h("div", { class: "noising-more plane" }, canvas, h("div", { class: "field" }, time, h("div", {}, play), cloud, schedule)));

  const load = trying(async () => {
    found = await get(`/api/plane/${cloud.get()}/${schedule.get()}`);
    element.dataset.ready = "yes";
    time.set(time.get());
    draw();
  });
  function draw() {
    const k = time.get();
    const style = getComputedStyle(document.documentElement);
    const ink = canvas.getContext("2d");
    const to = (v, flip) => (((flip ? -v : v) / found.reach + 1) / 2) * SIZE;
    ink.clearRect(0, 0, SIZE, SIZE);
    ink.fillStyle = style.getPropertyValue("--edge");
    for (const [x, y] of found.data) ink.fillRect(to(x) - 1.5, to(y, true) - 1.5, 3, 3);
    ink.strokeStyle = style.getPropertyValue("--series-1");
    ink.lineWidth = 1.5;
    const longest = Math.max(...found.score[k].map(([x, y]) => Math.hypot(x, y)));
    const cell = SIZE / 16;
    found.at.forEach(([x, y], i) => {
      const [u, v] = found.score[k][i];
      const length = Math.hypot(u, v) || 1;
      const part = (cell * 0.85 * Math.sqrt(length / longest)) / length;
      const [x1, y1] = [to(x), to(y, true)];
      const [x2, y2] = [x1 + u * part, y1 - v * part];
      const turn = Math.atan2(y2 - y1, x2 - x1);
      ink.globalAlpha = 0.75;
      ink.beginPath();
      ink.moveTo(x1, y1);
      ink.lineTo(x2, y2);
      for (const side of [-0.5, 0.5]) {
        ink.moveTo(x2, y2);
        ink.lineTo(x2 - 5 * Math.cos(turn + side), y2 - 5 * Math.sin(turn + side));
      }
      ink.stroke();
    });
    ink.globalAlpha = 1;
    ink.fillStyle = style.getPropertyValue("--series-2");
    for (const [x, y] of found.x[k]) {
      ink.beginPath();
      ink.arc(to(x), to(y, true), 3, 0, 7);
      ink.fill();
    }
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => found && draw());
  return { element, open: () => found || load() };
}
