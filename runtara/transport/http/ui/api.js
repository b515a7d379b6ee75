// The way to the server: one function per verb, answers as objects, refusals as `Problem`.

const ROOT = "/api/v1";

/** What the server refused, or that it could not be reached. */
export class Problem extends Error {
  constructor(fields) {
    super(fields.detail || fields.title || "the server gave no reason");
    this.code = fields.code || "unreachable";
    this.title = fields.title || "";
    this.status = fields.status || 0;
    this.retry = fields.retry || "never";
    this.requestId = fields.request_id || "";
  }
}

/** Called with nothing when a request needs a key that was not given, or is not good any more. */
export const unauthenticated = new EventTarget();

let keys = 0;

/** Take note that the server has taken a key: who was refused for want of one has asked before. */
export function keyTaken() {
  keys += 1;
}

/** Path below the API out of parts that may hold any character. */
export const path = (...parts) => "/" + parts.map((part) => encodeURIComponent(part)).join("/");

export const get = (where, query, options) => call("GET", where, { query, ...options });
export const post = (where, body, options) => call("POST", where, { body: body ?? {}, ...options });
export const put = (where, body) => call("PUT", where, { body });
export const remove = (where) => call("DELETE", where, {});

async function call(method, where, { query, body, signal, quietly } = {}) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["Runtara-Csrf"] = "1";
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const content = body === undefined ? undefined : JSON.stringify(body);
  const asked = keys;
  let response;
  try {
    response = await fetch(url(where, query), { method, headers, body: content, signal, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ detail: "the server cannot be reached; nothing was done", code: "unreachable", retry: "safe" });
  }
  if (response.ok) return response.status === 204 ? null : response.json();
  const problem = await problemOf(response);
  if (response.status === 401 && !quietly && asked === keys) unauthenticated.dispatchEvent(new Event("needed"));
  throw problem;
}

/** Address of an endpoint; parameters without a value are left out. */
export function url(where, query = {}) {
  const pairs = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(pairs).toString();
  return ROOT + where + (text ? "?" + text : "");
}

/** The refusal that a response is. */
export async function problemOf(response) {
  const text = await response.text();
  try {
    return new Problem({ status: response.status, ...JSON.parse(text) });
  } catch {
    return new Problem({ status: response.status, title: response.statusText, code: `http-${response.status}` });
  }
}

/** A fresh id for what must not happen twice, however often it is sent. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
