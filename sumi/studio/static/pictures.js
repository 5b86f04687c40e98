// Which picture is looked at: one of the page's own, a photograph, or one that was made here.

import { pictureOf, trying, upload } from "/static/api.js";
import { button, h, show } from "/static/dom.js";

export function pictures(shared, usual, change) {
  const file = h("input", { type: "file", accept: "image/*", class: "hidden", tabIndex: -1, "aria-hidden": "true", onchange: trying(async () => {
    const [blob] = file.files;
    if (!blob) return;
    file.value = ""; // so that the same one can be chosen again
    change(await upload(blob));
  }) });
  const recent = h("div", { class: "thumbs", role: "group", "aria-label": "Pictures that were made" });
  const element = h("div", { class: "field" },
    h("div", { class: "row" }, button("A photograph of your own …", () => file.click()), button(usual, () => change("")), file), recent);
  const fill = () =>
    show(recent, ...[...shared.history].reverse().slice(0, 8).map((one) => {
      const what = JSON.parse(one.making);
      return button(h("img", { src: pictureOf(`${one.id}/0`), alt: "", width: 44, height: 44, class: "pixels" }), () => change(`${one.id}/0`), { class: "thumb", "aria-label": `The picture of ${what.prompt ?? what.label ?? what.model}, seed ${what.seed}` });
    }));
  return { element, fill };
}
