// A dialog in which a part of a picture is marked with a brush, by pointer or keyboard, and how it becomes a mask.

import { button, h, slider } from "/static/dom.js";

export function paintOn(source, done) {
  const image = new Image();
  image.src = source;
  image.onload = () => open(image, done);
}

function open(image, done) {
  const [width, height] = [image.naturalWidth, image.naturalHeight];
  const marks = h("canvas", {
    width,
    height,
    tabIndex: 0,
    class: "marks",
    role: "application",
    "aria-label": "Mark what to paint anew. Arrow keys move the brush, space marks, Control Z takes back.",
  });
  const cursor = h("div", { class: "brush", "aria-hidden": "true" });
  const picture = h("img", { src: image.src, alt: "The picture to paint on", draggable: false });
  const easel = h("div", { class: "easel" }, picture, marks, cursor);
  const context = marks.getContext("2d");
  const strokes = [];
  const at = { x: width / 2, y: height / 2 };
  const most = Math.max(width, height);
  const brush = slider("Brush", { min: 1, max: Math.ceil(most / 2), value: Math.max(2, Math.round(most / 7)), text: (n) => `${n} px`, change: () => place() });
  let stroke = null;

  function draw() {
    context.clearRect(0, 0, width, height);
    context.fillStyle = context.strokeStyle = "#e0341a";
    context.lineCap = context.lineJoin = "round";
    for (const { size, points } of strokes) {
      context.lineWidth = size;
      context.beginPath();
      context.moveTo(points[0].x, points[0].y);
      for (const point of points) context.lineTo(point.x + 0.01, point.y);
      context.stroke();
    }
    go.disabled = clear.disabled = back.disabled = !strokes.length;
  }
  function place() {
    const scale = marks.clientWidth / width;
    cursor.style.width = cursor.style.height = `${brush.get() * scale}px`;
    cursor.style.left = `${at.x * scale}px`;
    cursor.style.top = `${at.y * scale}px`;
  }
  function move(event) {
    const box = marks.getBoundingClientRect();
    at.x = ((event.clientX - box.left) / box.width) * width;
    at.y = ((event.clientY - box.top) / box.height) * height;
    place();
    if (stroke) {
      stroke.points.push({ ...at });
      draw();
    }
  }
  function begin() {
    stroke = { size: brush.get(), points: [{ ...at }] };
    strokes.push(stroke);
    draw();
  }
  const takeBack = () => {
    strokes.pop();
    draw();
  };
  marks.addEventListener("pointerdown", (event) => {
    marks.setPointerCapture(event.pointerId);
    move(event);
    begin();
  });
  marks.addEventListener("pointermove", move);
  marks.addEventListener("pointerup", () => (stroke = null));
  marks.addEventListener("pointercancel", () => (stroke = null));
  marks.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? most / 8 : Math.max(1, most / 32);
    const way = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (way) {
      at.x = Math.min(width, Math.max(0, at.x + way[0]));
      at.y = Math.min(height, Math.max(0, at.y + way[1]));
      place();
    } else if (event.key === " ") begin();
    else if (event.key === "z" && (event.ctrlKey || event.metaKey)) takeBack();
    else return;
    stroke = null;
    event.preventDefault();
    event.stopPropagation();
  });

  const go = button("Paint four", async () => {
    const mask = h("canvas", { width, height });
    const ink = mask.getContext("2d");
    ink.fillStyle = "#000";
    ink.fillRect(0, 0, width, height);
    ink.drawImage(marks, 0, 0);
    const pixels = ink.getImageData(0, 0, width, height);
    for (let i = 0; i < pixels.data.length; i += 4) {
      const white = pixels.data[i] > 100 ? 255 : 0;
      pixels.data[i] = pixels.data[i + 1] = pixels.data[i + 2] = white;
      pixels.data[i + 3] = 255;
    }
    ink.putImageData(pixels, 0, 0);
    dialog.close();
    mask.toBlob((blob) => done(blob), "image/png");
  }, { class: "main", disabled: true });
  const back = button("Undo", takeBack, { disabled: true });
  const clear = button("Clear", () => {
    strokes.length = 0;
    draw();
  }, { disabled: true });
  const dialog = h(
    "dialog",
    { class: "paint", "aria-labelledby": "paint-title", onclose: () => dialog.remove() },
    h("h2", { id: "paint-title" }, "Paint a part anew"),
    h("p", { class: "help" }, "Mark what is to change. The rest stays as it is, to the pixel."),
    easel,
    brush,
    h("div", { class: "row end" }, back, clear, button("Cancel", () => dialog.close(), { class: "quiet" }), go),
  );
  document.body.append(dialog);
  dialog.showModal();
  place();
  marks.focus();
}
