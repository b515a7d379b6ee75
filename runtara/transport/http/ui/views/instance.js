// One instance: how it stands, its workflow where it is one, its story as a picture, and everything that it has.

import { h, replace, setText } from "../dom.js";
import { GraphView } from "../graph_view.js";
import { icon } from "../icons.js";
import { link, note } from "../router.js";
import { FINAL, badge, showStatus } from "../status.js";
import { Story } from "../story.js";
import { tabs } from "../tabs.js";
import { instant, programName, relative, span, words } from "../text.js";
import { TimelineView } from "../timeline_view.js";
import { complain } from "../toast.js";
import { deedButtons } from "./deeds.js";
import { logPane } from "./logs.js";
import { checkpointPanel, eventPanel, inputPanel, outputPanel, stepPanel } from "./panels.js";

const FRAME_MS = 1000;
const PRESSED_MS = 50;

export function instance(place, { id }, query) {
  const view = new InstanceView(place, id, query.get("tab"));
  return () => view.leave();
}

class InstanceView {
  constructor(place, id, tab) {
    this.id = id;
    this.tab = tab;
    this.place = place;
    this.badge = null;
    this.later = {};
    replace(place, crumbs(id), h("div", { class: "head" }, h("h1", {}, id)),
      h("div", { class: "skeleton-page", "aria-hidden": "true" }, h("i", { class: "bone" }), h("i", { class: "bone tall" }), h("i", { class: "bone" })));
    this.story = new Story(id, { changed: (what) => this.#changed(what), gone: (error) => this.#gone(error) });
    this.ticking = setInterval(() => this.#tick(), FRAME_MS);
  }

  leave() {
    clearInterval(this.ticking);
    Object.values(this.later).forEach(clearTimeout);
    this.story.stop();
    this.timeline?.stop();
  }

  #draw() {
    this.badge = badge(this.story.info);
    this.badge.setAttribute("role", "status");
    this.deeds = deedButtons({ info: () => this.story.info, checkpoints: () => this.story.checkpoints });
    this.facts = h("dl", { class: "facts-list" });
    this.trouble = h("div", { class: "trouble", role: "note", hidden: true });
    this.timeline = new TimelineView();
    this.graph = new GraphView(this.story);
    replace(this.place, crumbs(this.id),
      h("div", { class: "head" }, h("h1", {}, this.id), this.badge, this.deeds.element),
      this.trouble, h("section", { class: "card facts-card", "aria-label": "Facts" }, this.facts), this.graph.element, this.timeline.element);
    this.tabs = tabs({ label: "Everything about the instance", first: this.tab || (FINAL.has(this.story.info.status) ? "output" : "logs"),
      chosen: (name) => { if (this.tabs) note({ tab: name }); }, entries: this.#entries() });
    this.place.append(this.tabs.element);
    this.shownStatus = this.story.info.status;
    this.shownOutput = this.story.info.output;
  }

  #entries() {
    const { story } = this;
    return [
      ["output", "Output", (panel) => outputPanel(panel, story)],
      ["input", "Input", (panel) => inputPanel(panel, story)],
      ["logs", "Logs", (panel) => panel.append(logPane(story.logs))],
      ["checkpoints", "Checkpoints", (panel) => checkpointPanel(panel, story)],
      ["steps", "Steps", (panel) => stepPanel(panel, story)],
      ["events", "Events", (panel) => eventPanel(panel, story)],
    ];
  }

  #changed(what) {
    if (!this.badge) this.#draw();
    const { info } = this.story;
    showStatus(this.badge, info);
    this.deeds.show(info);
    this.#showFacts();
    this.#showTrouble();
    this.timeline.show(this.story);
    this.graph.show();
    if (what !== "status") {
      this.tabs.count("events", this.story.events.length);
      this.tabs.count("steps", this.story.steps.length);
    }
    this.tabs.count("checkpoints", info.checkpoint_count);
    const changes = { status: ["output"], events: ["events"], steps: ["steps", "checkpoints"] }[what];
    const news = info.status !== this.shownStatus || info.output !== this.shownOutput;
    if (this.tabs.panel.querySelector(":active")) { // what is being pressed is not replaced: its click would go nowhere
      clearTimeout(this.later[what]); // looked at again, since no event tells of every way in which it is let go
      this.later[what] = setTimeout(() => this.#changed(what), PRESSED_MS);
      return;
    }
    const reads = this.tabs.panel.querySelector("[aria-expanded=true]") !== null; // what somebody has opened is not taken away
    if (changes.includes(this.tabs.current()) && !reads && (what !== "status" || news)) this.tabs.again();
    this.shownStatus = info.status;
    this.shownOutput = info.output;
  }

  #showFacts() {
    const { info } = this.story;
    const until = info.finished_at ?? Date.now();
    const facts = [
      ["Program", programName(info.program), info.program],
      ["Epoch", String(info.epoch || "–")],
      ["Created", relative(info.created_at), instant(info.created_at)],
      ["Started", info.started_at ? relative(info.started_at) : "not yet", instant(info.started_at)],
      [info.finished_at ? "Took" : "Since then", info.started_at ? span(until - info.started_at) : "–"],
      info.wake_at && !info.finished_at && ["Goes on", relative(info.wake_at), instant(info.wake_at)],
      info.finished_at && ["Finished", relative(info.finished_at), instant(info.finished_at)],
      info.status === "running" && info.heartbeat_at && ["Heard of", relative(info.heartbeat_at), instant(info.heartbeat_at)],
      ["Checkpoints", String(info.checkpoint_count)],
      info.losses > 0 && ["Lost in a row", String(info.losses)],
      info.exit_code !== null && info.exit_code !== undefined && ["Exit code", String(info.exit_code)],
      info.priority ? ["Priority", String(info.priority)] : null,
      info.timeout_ms && ["Time limit", span(info.timeout_ms)],
    ].filter(Boolean);
    const same = this.facts.children.length === facts.length && facts.every(([name], i) => this.facts.children[i].firstChild.textContent === name);
    if (!same) replace(this.facts, facts.map(([name]) => h("div", {}, h("dt", {}, name), h("dd", {}))));
    facts.forEach(([, value, title], i) => {
      const place = this.facts.children[i].lastChild;
      setText(place, value);
      if (title) place.title = title;
    });
  }

  #showTrouble() {
    const { info } = this.story;
    const reason = info.termination_reason;
    const lost = info.status === "suspended" && (reason === "crashed" || reason === "heartbeat-timeout");
    const bad = info.status === "failed" || lost;
    this.trouble.hidden = !bad;
    if (!bad) return;
    const title = info.status === "failed" ? `It has failed: ${words(reason) || "no reason was given"}` : `The last attempt was lost: ${words(reason)}`;
    const text = info.error || (lost ? "It will be launched again by itself, and go on from its last checkpoint." : "");
    replace(this.trouble, icon("warning"), h("div", {}, h("h2", {}, title), text && h("pre", {}, text)));
  }

  #tick() {
    if (!this.badge || FINAL.has(this.story.info.status)) return;
    this.#showFacts();
    this.timeline.draw();
    this.graph.draw();
  }

  #gone(error) {
    if (this.badge || error.status !== 404) { complain(error); return; }
    replace(this.place, crumbs(this.id), h("div", { class: "head" }, h("h1", {}, this.id)),
      h("div", { class: "card empty" }, icon("search"), h("h2", {}, "There is no such instance"), h("p", {}, error.message),
        h("a", { class: "button", href: link(["instances"]) }, "All instances")));
  }
}

function crumbs(id) {
  return h("nav", { class: "crumbs", "aria-label": "Where you are" }, h("a", { href: link(["instances"]) }, "Instances"), " / ", h("span", { "aria-current": "page" }, id));
}
