// What the server tells by itself: one WebSocket, any number of watches on it, each resumed where it was.
//
// A watch hears `item(data, seq)` for every change, and `again(isReset)` whenever it has to read its list: once the
// server has begun to watch, and when it has forgotten the place to go on from. So nothing is missed: the watch is there
// before the list is read. `again` may return a promise of false: the list could not be read.

import { get } from "./api.js";

const NOT_ALLOWED = 1008;
const WAIT_FIRST_MS = 250;
const WAIT_MAX_MS = 8_000;

export class Live {
  #socket = null;
  #watches = new Map();
  #next = 1;
  #wait = WAIT_FIRST_MS;
  #timer = null;
  #told;

  /** `told` hears "connecting", "open" or "waiting" whenever that changes. */
  constructor(told) {
    this.#told = told;
    window.addEventListener("online", () => this.#now());
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.#now(); });
  }

  /** Watch a stream; returns the function that ends the watch. */
  watch(stream, { instanceId = null, item, again = () => {}, refused = () => {} }) {
    const id = this.#next++;
    const watch = { id, stream, instanceId, item, again, refused, after: null };
    this.#watches.set(id, watch);
    if (this.#isOpen()) this.#ask(watch);
    else this.#connect();
    return () => this.#drop(id);
  }

  /** Forget the connection, and connect again if anybody watches: who we are may have changed. */
  restart() {
    this.#wait = WAIT_FIRST_MS;
    if (this.#socket) this.#socket.close();
    else if (this.#watches.size) this.#connect();
  }

  #drop(id) {
    if (!this.#watches.delete(id) || !this.#isOpen()) return;
    this.#socket.send(JSON.stringify({ type: "unwatch", id }));
  }

  #isOpen() {
    return this.#socket !== null && this.#socket.readyState === WebSocket.OPEN;
  }

  #connect() {
    if (this.#socket) return;
    clearTimeout(this.#timer);
    this.#told("connecting");
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/api/v1/live`);
    this.#socket = socket;
    socket.addEventListener("open", () => this.#opened());
    socket.addEventListener("message", (event) => this.#heard(JSON.parse(event.data)));
    socket.addEventListener("close", (event) => this.#closed(event));
  }

  #opened() {
    this.#wait = WAIT_FIRST_MS;
    this.#told("open");
    for (const watch of this.#watches.values()) this.#ask(watch);
  }

  #ask(watch) {
    const request = { type: "watch", id: watch.id, stream: watch.stream };
    if (watch.instanceId !== null) request.instance_id = watch.instanceId;
    if (watch.after !== null) request.after = watch.after;
    watch.isNew = watch.after === null;
    this.#socket.send(JSON.stringify(request));
  }

  #heard(message) {
    const watch = this.#watches.get(message.id);
    if (!watch) return;
    if (message.seq !== undefined) watch.after = message.seq;
    if (message.type === "item") watch.item(message.data, message.seq);
    else if (message.type === "reset") this.#again(watch, true);
    else if (message.type === "watching" && watch.isNew) this.#again(watch, false);
    else if (message.type === "refused") watch.refused(message);
  }

  /** Have a watch read its list. One that could not, as it says with false, begins anew with the next connection. */
  async #again(watch, isReset) {
    if ((await watch.again(isReset)) === false) watch.after = null;
  }

  #closed({ code }) {
    this.#socket = null;
    if (code === NOT_ALLOWED) get("/me").catch(() => {}); // where our key is not good any more, this asks for another
    if (!this.#watches.size) return;
    this.#told("waiting");
    this.#timer = setTimeout(() => this.#connect(), this.#wait * (0.75 + Math.random() / 2));
    this.#wait = Math.min(this.#wait * 2, WAIT_MAX_MS);
  }

  #now() {
    if (this.#socket || !this.#watches.size) return;
    this.#wait = WAIT_FIRST_MS;
    this.#connect();
  }
}
