// Nodes: the hosts that share one database.

import { get } from "../api.js";
import { h, replace } from "../dom.js";
import { icon } from "../icons.js";
import { instant, relative, span } from "../text.js";
import { complain } from "../toast.js";
import { bones, heads } from "./images.js";

export function nodes(place) {
  const card = h("section", { class: "card", "aria-label": "Nodes" }, bones());
  const facts = h("p", { class: "lead" });
  place.append(h("div", { class: "head" }, h("h1", {}, "Nodes"), h("button", { type: "button", onclick: read }, icon("retry"), "Read again"), facts), card);
  const seen = () => { if (!document.hidden) read(); };
  document.addEventListener("visibilitychange", seen);
  read();
  return () => document.removeEventListener("visibilitychange", seen);

  async function read() {
    try {
      const [found, health] = await Promise.all([get("/nodes"), get("/health")]);
      facts.textContent = `This server is version ${health.version}, up for ${span(health.uptime_ms)}${health.draining ? ", and is going down" : ""}.`;
      replace(card, found.nodes.length ? table(found.nodes) : alone());
    } catch (error) {
      replace(card, h("p", { class: "nothing soft" }, "The nodes could not be read."));
      complain(error);
    }
  }
}

function table(all) {
  return h("div", { class: "scroll-x" }, h("table", {}, heads(["Node", "State", "Address", "Version", "Programs", "Owns", "Lease"]), h("tbody", {}, all.map(row))));
}

function row(node) {
  const [status, word] = node.lost_at ? ["failed", "gone"] : node.draining ? ["suspended", "draining"] : ["completed", "lives"];
  return h("tr", {}, h("th", { scope: "row" }, node.name, h("div", { class: "soft normal", title: instant(node.opened_at) }, `since ${relative(node.opened_at)}`)),
    h("td", {}, h("span", { class: "badge", "data-status": status }, icon(status), h("span", {}, word)), node.lost_at && h("div", { class: "soft" }, relative(node.lost_at))),
    h("td", { class: "mono" }, node.address || "–"), h("td", {}, node.version),
    h("td", { class: "number" }, node.places === null || node.places === undefined ? `${node.in_use}` : `${node.in_use} of ${node.places}`), h("td", { class: "number" }, node.owned),
    h("td", { class: "number" }, node.lost_at ? "–" : node.lease_ms < 0 ? "has run out" : span(node.lease_ms)));
}

function alone() {
  return h("div", { class: "empty" }, icon("nodes"), h("h2", {}, "One node, by itself"),
    h("p", {}, "Several hosts can share the work where they share a database: give each ", h("code", {}, "RUNTARA_DATABASE_URL"), " of one PostgreSQL."));
}
