// Everything about one instance, kept up by what is told live. No elements here.
//
// Status, events and output are told, from the first one on; checkpoints and steps are read when something has changed.

import { get, path } from "./api.js";
import { Log } from "./log.js";
import { live } from "./session.js";
import { FINAL } from "./status.js";

const PAGE = 1000;
const MOST = 20_000;
const SOON_MS = 250;

/** A list that only grows at its end; its last page is read again for what is new. */
class Growing {
  constructor(where, field) {
    this.where = where;
    this.field = field;
    this.items = [];
    this.cursor = null;
    this.before = 0;
  }

  async read() {
    for (let more = true; more; ) {
      const page = await get(this.where, { limit: PAGE, cursor: this.cursor });
      this.items = this.items.slice(0, this.before).concat(page[this.field]);
      more = Boolean(page.cursor) && this.items.length < MOST;
      if (more) { this.cursor = page.cursor; this.before = this.items.length; }
    }
  }
}

export class Story {
  /** `changed(what)` hears "status", "events" or "steps"; `gone(error)` why the instance cannot be shown. */
  constructor(instanceId, { changed, gone }) {
    this.instanceId = instanceId;
    this.info = null;
    this.input = undefined;
    this.changed = changed;
    this.gone = gone;
    this.stopped = false;
    this.untold = new Set();
    this.#begin();
  }

  get checkpoints() { return this.checkpointList.items; }
  get steps() { return this.stepList.items; }

  stop() {
    this.stopped = true;
    this.unwatch();
    clearTimeout(this.timer);
  }

  async readInput() {
    this.input ??= (await get(path("instances", this.instanceId, "input"))).input ?? null;
    return this.input;
  }

  #begin() {
    this.events = [];
    this.logs ??= { stdout: new Log("stdout"), stderr: new Log("stderr") };
    this.checkpointList = new Growing(path("instances", this.instanceId, "checkpoints"), "checkpoints");
    this.stepList = new Growing(path("instances", this.instanceId, "steps"), "steps");
    this.unwatch = live.watch("instance", { instanceId: this.instanceId, item: (data) => this.#hear(data),
      again: (isReset) => (isReset ? this.#beginAgain() : this.#beginOn()), refused: (error) => this.#refused(error) });
    this.#readInfo();
    this.#soon(0);
  }

  /** Read what is not told; the history of a watch that begins anew is told again, and known already. */
  async #beginOn() {
    await this.#readInfo();
    this.#soon(0);
  }

  #beginAgain() {
    this.unwatch();
    this.#begin();
  }

  #refused({ code, message }) {
    if (code !== "instance-not-found") this.gone(Object.assign(new Error(message), { code }));
  }

  #hear(data) {
    if (data.status) {
      // What is told has no output, and no word of when the program was heard of: it was just now.
      this.info = { ...data.status, output: this.info?.output ?? undefined, heartbeat_at: Date.now() };
      if (FINAL.has(this.info.status)) this.#readInfo();
      this.#tell("status");
    }
    if (data.event && !(this.events.length && data.event.seq <= this.events[this.events.length - 1].seq)) {
      this.events.push(data.event);
      this.#tell("events");
    }
    if (data.log) this.logs[data.log.stream]?.hear(data.log);
    else this.#soon(SOON_MS);
  }

  async #readInfo() {
    try {
      this.info = await get(path("instances", this.instanceId));
      this.#tell("status");
      return true;
    } catch (error) {
      if (!this.stopped) this.gone(error);
      return false;
    }
  }

  /** Read the lists once for everything that was told in a short while. */
  #soon(ms) {
    if (this.timer || this.stopped) { this.moreToRead = true; return; }
    this.moreToRead = false;
    this.timer = setTimeout(async () => {
      try {
        await Promise.all([this.checkpointList.read(), this.stepList.read()]);
        this.#tell("steps");
      } catch (error) {
        if (!this.stopped && error.status !== 404) this.gone(error);
      }
      this.timer = null;
      if (this.moreToRead && !this.stopped) this.#soon(SOON_MS);
    }, ms);
  }

  /** Say what has changed, once for all that came together. */
  #tell(what) {
    if (!this.untold.size) {
      queueMicrotask(() => {
        const told = [...this.untold];
        this.untold.clear();
        if (!this.stopped && this.info) for (const one of told) this.changed(one);
      });
    }
    this.untold.add(what);
  }
}
