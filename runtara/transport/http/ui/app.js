// The frame around the views: navigation, theme, signing in and out.

import { get, post, unauthenticated } from "./api.js";
import { h, replace, setText } from "./dom.js";
import { icon } from "./icons.js";
import { go, here, leave, link, route, show } from "./router.js";
import { live, who } from "./session.js";
import { attempt, complain } from "./toast.js";
import { image, images } from "./views/images.js";
import { instance } from "./views/instance.js";
import { instances } from "./views/instances.js";
import { login } from "./views/login.js";
import { nodes } from "./views/nodes.js";
import { overview } from "./views/overview.js";
import { schedules } from "./views/schedules.js";
import { tree } from "./views/tree.js";

const PLACES = [
  ["instances", "Instances"],
  ["overview", "Overview"],
  ["images", "Images"],
  ["schedules", "Schedules"],
  ["nodes", "Nodes"],
  ["tree", "Supervision"],
];

route("/instances", instances);
route("/instances/:id", instance);
route("/overview", overview);
route("/images", images);
route("/images/:name", image);
route("/schedules", schedules);
route("/nodes", nodes);
route("/tree", tree);

const main = document.getElementById("main");
let signedOut = false;

function drawNavigation() {
  const items = PLACES.map(([name, word]) => h("li", {}, h("a", { href: link([name]), "data-place": name }, icon(name), h("span", {}, word))));
  replace(document.getElementById("nav"), h("ul", {}, items));
}

function markPlace(parts) {
  for (const anchor of document.querySelectorAll("#nav a")) {
    if (anchor.dataset.place === parts[0]) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
}

function showPlace() {
  if (signedOut) return;
  show(main, { fallback: ["instances"], shown: arrived });
}

let first = true;

function arrived(parts) {
  markPlace(parts);
  const heading = main.querySelector("h1");
  document.title = heading ? `${heading.textContent} · Runtara` : "Runtara";
  if (!first) main.focus({ preventScroll: true });
  first = false;
}

// Theme: that of the system, until somebody chooses ------------------------------------------------------------------

const dark = matchMedia("(prefers-color-scheme: dark)");

function theme() {
  return document.documentElement.dataset.theme || (dark.matches ? "dark" : "light");
}

function drawTheme() {
  const other = theme() === "dark" ? "light" : "dark";
  const button = document.getElementById("theme");
  replace(button, icon(other === "dark" ? "moon" : "sun"));
  button.setAttribute("aria-label", `Switch to ${other} colours`);
  button.title = `Switch to ${other} colours`;
}

function switchTheme() {
  document.documentElement.dataset.theme = theme() === "dark" ? "light" : "dark";
  try { localStorage.setItem("theme", theme()); } catch { /* then it is for this page only */ }
  drawTheme();
}

function recallTheme() {
  try {
    const kept = localStorage.getItem("theme");
    if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
  } catch { /* no storage: the system's theme */ }
  drawTheme();
  dark.addEventListener("change", drawTheme);
}

// Signing in and out --------------------------------------------------------------------------------------------------

function signIn() {
  if (signedOut) return;
  signedOut = true;
  leave();
  live.restart();
  document.body.classList.add("signed-out");
  login(main, () => {
    signedOut = false;
    document.body.classList.remove("signed-out");
    live.restart();
    learnWho();
    showPlace();
  });
}

/** Learn whose key we have; where none is needed, there is nothing to sign out of. */
async function learnWho() {
  try {
    const found = await get("/me");
    Object.assign(who, { tenant: found.tenant_id, role: found.role ?? null });
    setText(document.getElementById("tenant"), found.tenant_id);
    document.getElementById("tenant").title = found.role ? `${found.tenant_id}, with a key for: ${found.role}` : found.tenant_id;
    document.getElementById("logout").hidden = !found.role;
    document.body.dataset.role = found.role ?? "";
    if (found.role === "image-push" && here().parts[0] !== "images") go(["images"]);
    window.dispatchEvent(new Event("who"));
  } catch (error) {
    if (error.status !== 401) complain(error);
  }
}

async function signOut() {
  if (await attempt(() => post("/logout"))) signIn();
}

recallTheme();
drawNavigation();
const logout = document.getElementById("logout");
logout.append(icon("leave"));
logout.setAttribute("aria-label", "Sign out");
logout.title = "Sign out";
logout.addEventListener("click", signOut);
document.getElementById("theme").addEventListener("click", switchTheme);
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
unauthenticated.addEventListener("needed", signIn);
window.addEventListener("hashchange", showPlace);
learnWho();
showPlace();
