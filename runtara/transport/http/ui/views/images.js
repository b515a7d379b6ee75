// Images: what was pushed, in which versions, and which of them starts use.

import { get, path, post, remove } from "../api.js";
import { ask } from "../dialog.js";
import { h, replace } from "../dom.js";
import { icon } from "../icons.js";
import { link } from "../router.js";
import { instant, relative, size } from "../text.js";
import { attempt, complain, tell } from "../toast.js";
import { askStart } from "./start.js";
import { askUpload } from "./upload.js";

/** All images of the tenant. */
export function images(place) {
  const card = h("section", { class: "card", "aria-label": "Images" }, bones());
  place.append(h("div", { class: "head" }, h("h1", {}, "Images"),
    h("button", { type: "button", class: "primary", "data-needs": "push", onclick: async () => { if (await askUpload()) read(); } }, icon("upload"), "Upload an image")), card);
  read();

  async function read() {
    try {
      const all = await pages("/images", "images");
      replace(card, all.length ? table(all) : nothingYet(read));
    } catch (error) {
      replace(card, h("p", { class: "nothing soft" }, "The images could not be read."));
      complain(error);
    }
  }

  function table(all) {
    return h("div", { class: "scroll-x" }, h("table", {}, heads(["Image", "Version", "Kind", "Size", "Pushed", ""]), h("tbody", {}, all.map((image) => h("tr", { "data-image": image.name },
      h("th", { scope: "row", class: "wrap" }, h("a", { href: link(["images", image.name]) }, image.name), image.description && h("div", { class: "soft wrap normal" }, image.description)),
      h("td", { class: "number" }, image.version), h("td", {}, image.kind), h("td", { class: "number" }, size(image.size)),
      h("td", { title: instant(image.pushed_at) }, relative(image.pushed_at)),
      h("td", { class: "acts" }, h("button", { type: "button", class: "small", "data-needs": "operate", onclick: () => askStart({ image: image.name }) }, icon("running"), "Start"),
        h("button", { type: "button", class: "small quiet", "data-needs": "push", "aria-label": `Delete ${image.name}`, onclick: async () => { if (await askDelete(image.name)) read(); } }, icon("trash"))))))));
  }
}

/** One image with its versions. */
export function image(place, { name }) {
  const card = h("section", { class: "card", "aria-label": "Versions" }, bones());
  const lead = h("p", { class: "lead" });
  place.append(
    h("nav", { class: "crumbs", "aria-label": "Where you are" }, h("a", { href: link(["images"]) }, "Images"), " / ", h("span", { "aria-current": "page" }, name)),
    h("div", { class: "head" }, h("h1", {}, name),
      h("button", { type: "button", "data-needs": "push", onclick: async () => { if (await askUpload({ name })) read(); } }, icon("upload"), "Upload a version"),
      h("button", { type: "button", class: "primary", "data-needs": "operate", onclick: () => askStart({ image: name }) }, icon("running"), "Start"), lead), card);
  read();

  async function read() {
    try {
      const versions = await pages(path("images", name, "versions"), "images");
      const current = versions.find((version) => version.current);
      lead.textContent = current?.description || "";
      replace(card, h("div", { class: "scroll-x" }, h("table", {}, heads(["Version", "Kind", "Size", "Pushed", "SHA-256", ""]), h("tbody", {}, versions.map(row)))));
    } catch (error) {
      replace(card, h("p", { class: "nothing soft" }, error.message));
      complain(error);
    }
  }

  function row(version) {
    const use = h("button", { type: "button", class: "small", "data-needs": "push", onclick: () => change(version) }, "Use this one");
    return h("tr", {}, h("th", { scope: "row" }, `${version.version}`), h("td", {}, version.kind), h("td", { class: "number" }, size(version.size)),
      h("td", { title: instant(version.pushed_at) }, relative(version.pushed_at)), h("td", { class: "mono soft", title: version.digest }, version.digest.slice(0, 16)),
      h("td", { class: "acts" }, version.current ? h("span", { class: "badge", "data-status": "completed" }, icon("completed"), h("span", {}, "in use")) : use));
  }

  async function change(version) {
    if (await attempt(() => post(path("images", `${name}@${version.version}`, "use")))) { tell(`Starts of ${name} use version ${version.version} now`); read(); }
  }
}

async function askDelete(name) {
  const done = await ask({ title: `Delete the image ${name}?`, action: "Delete", danger: true,
    text: "It goes with all its versions. Refused while an instance that is not finished uses one of them.",
    work: () => remove(path("images", name)) });
  if (done) tell(`${name} was deleted`);
  return Boolean(done);
}

/** All pages of a list, up to a bound that no person reads beyond. */
export async function pages(where, field, most = 5000) {
  const all = [];
  for (let cursor = null; all.length < most; ) {
    const page = await get(where, { limit: 1000, cursor });
    all.push(...page[field]);
    cursor = page.cursor;
    if (!cursor) break;
  }
  return all;
}

/** The head of a table; an empty name is that of a column of buttons. */
export const heads = (names) => h("thead", {}, h("tr", {}, names.map((name) => h("th", { scope: "col" }, name || h("span", { class: "unseen" }, "What to do")))));

/** What is shown while a table is read. */
export const bones = () => h("div", { class: "card-body", "aria-hidden": "true" }, Array.from({ length: 4 }, () => h("i", { class: "bone" })));

function nothingYet(read) {
  return h("div", { class: "empty" }, icon("images"), h("h2", {}, "No images yet"),
    h("p", {}, "An image is a program that the server keeps: an executable, a Python project, a container, a WASI module. Push one from a shell with ",
      h("code", {}, "runtara image push NAME FILE"), ", or upload one here."),
    h("button", { type: "button", class: "primary", "data-needs": "push", onclick: async () => { if (await askUpload()) read(); } }, icon("upload"), "Upload an image"));
}
