// Line charts as SVG: one or more series of [x, y] or, with an interval, [x, y, low, high], on a logarithmic or plain
// scale, with a title and a legend that are text.

import { h } from "/static/dom.js";

const EDGE = { left: 46, right: 14, top: 12, bottom: 44 }; // pixels: a chart is drawn anew for each width of its place

const short = (n) => {
  if (n === 0) return "0";
  const size = Math.abs(n);
  if (size >= 1000) return `${+(n / 1000).toPrecision(3)}k`;
  return size < 0.001 ? n.toExponential(0) : String(+n.toPrecision(3));
};

function ticks(low, high, log) {
  if (log) {
    const found = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
      for (const m of [1, 2, 5]) if (m * 10 ** e >= low * 0.999 && m * 10 ** e <= high * 1.001) found.push(m * 10 ** e);
    if (found.length < 2) return [low, high];
    return found.length > 6 ? found.filter((n) => String(n.toExponential(0)).startsWith("1")) : found;
  }
  const rough = (high - low) / 5 || 1;
  const base = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * base).find((one) => one >= rough);
  const found = [];
  for (let n = Math.ceil(low / step) * step; n <= high + step * 1e-6; n += step) found.push(+n.toPrecision(12));
  return found;
}

export function chart({ series, log = false, logX = false, x = "", label, marker }) {
  const clean = series.map((one) => ({ ...one, points: one.points.filter(([, y]) => Number.isFinite(y) && (!log || y > 0)) }));
  const all = clean.flatMap((one) => one.points);
  const title = h("h4", {}, label);
  if (!all.length) return h("div", { class: "plot" }, title, h("p", { class: "help" }, "Nothing is measured yet."));
  const reach = (values) => [Math.min(...values), Math.max(...values)];
  const [x0, x1] = reach(all.map(([x]) => x));
  let [y0, y1] = reach(all.flatMap(([, ...ys]) => ys.filter((y) => !log || y > 0)));
  if (y0 === y1) [y0, y1] = log ? [y0 / 2, y1 * 2] : [y0 - 1, y1 + 1];
  const last = clean.map((one) => `${one.name} ${one.points.length ? short(one.points.at(-1)[1]) : "–"}`).join(", ");
  const look = (one, k) => `series-${(one.colour ?? k % 4) + 1} ${one.dashed ? "dashed" : ""}`;
  const svg = h("svg", { class: "chart", role: "img", "aria-label": `${label}: at the end ${last}` });

  function draw(width) {
    const height = Math.round(Math.min(300, Math.max(190, width * 0.45)));
    const [right, bottom] = [width - EDGE.right, height - EDGE.bottom];
    const share = (value, low, high, logarithmic) => {
      const scale = logarithmic ? Math.log : (n) => n;
      return (scale(value) - scale(low)) / (scale(high) - scale(low) || 1);
    };
    const px = (n) => EDGE.left + share(n, x0, x1, logX) * (right - EDGE.left);
    const py = (n) => bottom - share(n, y0, y1, log) * (bottom - EDGE.top);
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren();
    for (const y of ticks(y0, y1, log))
      svg.append(h("line", { class: "grid", x1: EDGE.left, x2: right, y1: py(y), y2: py(y) }), h("text", { x: EDGE.left - 8, y: py(y) + 4, "text-anchor": "end" }, short(y)));
    for (const n of ticks(x0, x1, logX)) svg.append(h("text", { x: px(n), y: height - 26, "text-anchor": "middle" }, short(n)));
    svg.append(h("text", { x: right, y: height - 8, "text-anchor": "end", class: "unit" }, x));
    if (marker !== undefined) svg.append(h("line", { class: "marker", x1: px(marker), x2: px(marker), y1: EDGE.top, y2: bottom }));
    clean.forEach((one, k) => {
      const path = one.points.map(([a, b], i) => `${i ? "L" : "M"}${px(a).toFixed(1)} ${py(b).toFixed(1)}`).join("");
      svg.append(h("path", { class: `series ${look(one, k)}`, d: path }));
      for (const [a, , low, high] of one.points.filter((point) => point.length > 2))
        svg.append(h("line", { class: `whisker ${look(one, k)}`, x1: px(a), x2: px(a), y1: py(log ? Math.max(low, y0) : low), y2: py(high) }));
    });
  }
  const legend = clean.length > 1 || clean[0].legend
    ? h("ul", { class: "legend" }, ...clean.map((one, k) => h("li", {}, h("span", { class: `dot ${look(one, k)}` }), one.name))) : null;
  const element = h("div", { class: "plot" }, title, svg, legend);
  new ResizeObserver(([entry]) => entry.contentRect.width && draw(Math.round(entry.contentRect.width))).observe(element);
  return element;
}

// At most `count` of a list, evenly spaced, the last one among them.
export const spread = (list, count) =>
  list.length <= count ? [...list] : Array.from({ length: count }, (_, k) => list[Math.round((k * (list.length - 1)) / (count - 1))]);

export const byNoise = (series) =>
  chart({ series: series.map((one) => ({ ...one, legend: true })), log: true, x: "log-SNR, from noise to data", label: "Loss on held-out images by noise level" });
