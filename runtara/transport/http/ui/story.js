// Everything about one instance: read once, then kept up by what is told live. No elements here.

import { get, path } from "./api.js";
import { Log } from "./log.js";
import { live } from "./session.js";

const PAGE = 1000;
const MOST_EVENTS = 20_000;
const AGAIN_MS = 300;

/** A list that only grows at its end; its last page is read again for what is new. */
class Growing {
  constructor(where, field, key) {
    this.where = where;
    this.field = field;
    this.key = key;
    this.items = [];
    this.cursor = null;
    this.before = 0;
  }

  async read() {
    for (let more = true; more; ) {
      const page = await get(this.where, { limit: PAGE, cursor: this.cursor });
      this.items = this.items.slice(0, this.before).concat(page[this.field]);
      more = Boolean(page.cursor) && this.items.length < MOST_EVENTS;
      if (more) { this.cursor = page.cursor; this.before = this.items.length; }
    }
  }
}

export class Story {
  /** `changed(what)` hears "status", "events" or "steps"; `gone(error)` that there is no such instance. */
  constructor(instanceId, { changed, gone }) {
    this.instanceId = instanceId;
    this.info = null;
    this.input = undefined;
    this.changed = changed;
    this.gone = gone;
    const where = (part) => path("instances", instanceId, part);
    this.eventList = new Growing(where("events"), "events");
    this.checkpointList = new Growing(where("checkpoints"), "checkpoints");
    this.stepList = new Growing(where("steps"), "steps");
    this.logs = { stdout: new Log(instanceId, "stdout"), stderr: new Log(instanceId, "stderr") };
    this.timer = null;
    this.stopped = false;
    this.unwatch = live.watch("instance", { instanceId, item: (data) => this.#hear(data), again: () => this.read() });
    this.read();
  }

  get events() { return this.eventList.items; }
  get checkpoints() { return this.checkpointList.items; }
  get steps() { return this.stepList.items; }

  stop() {
    this.stopped = true;
    this.unwatch();
    clearTimeout(this.timer);
  }

  async read() {
    if (this.busy) { this.again = true; return; }
    this.busy = true;
    try {
      this.info = await get(path("instances", this.instanceId));
      this.#tell("status");
      await this.eventList.read();
      this.#tell("events");
      await Promise.all([this.checkpointList.read(), this.stepList.read()]);
      this.#tell("steps");
      if (this.logs.stdout.next !== null) for (const log of Object.values(this.logs)) { log.reading = null; log.read(); }
    } catch (error) {
      if (!this.stopped) this.gone(error);
    } finally {
      this.busy = false;
      if (this.again && !this.stopped) { this.again = false; this.#soon(); }
    }
  }

  async readInput() {
    this.input ??= (await get(path("instances", this.instanceId, "input"))).input ?? null;
    return this.input;
  }

  #hear(data) {
    if (data.status) { this.info = data.status; this.#tell("status"); this.#soon(); }
    if (data.event) this.#soon();
    if (data.log) this.logs[data.log.stream]?.hear(data.log);
  }

  /** Read the lists once for everything that was told in a short while. */
  #soon() {
    if (this.timer || this.stopped) return;
    this.timer = setTimeout(() => { this.timer = null; this.#readLists(); }, AGAIN_MS);
  }

  async #readLists() {
    if (this.busy) { this.again = true; return; }
    this.busy = true;
    try {
      await Promise.all([this.eventList.read(), this.checkpointList.read(), this.stepList.read()]);
      this.#tell("events");
      this.#tell("steps");
    } catch (error) {
      if (!this.stopped) this.gone(error);
    } finally {
      this.busy = false;
      if (this.again && !this.stopped) { this.again = false; this.#soon(); }
    }
  }

  #tell(what) {
    if (!this.stopped) this.changed(what);
  }
}
