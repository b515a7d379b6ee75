// The instances that a list knows: pages of the server, kept up by what is told live. No elements here.

const KEYS = { created: (row) => row.created_at, finished: (row) => row.finished_at ?? Infinity, id: () => 0 };

/** How the rows of an order compare: by its key, then by id. */
export function comparison(order) {
  const down = order.startsWith("-");
  const key = KEYS[order.replace(/^-/, "")];
  const compare = (a, b) => key(a) - key(b) || (a.instance_id < b.instance_id ? -1 : a.instance_id > b.instance_id ? 1 : 0);
  return down ? (a, b) => compare(b, a) : compare;
}

/** Whether a row is one of those that a filter asks for; an order by the end has only those that have ended. */
export function fits(row, { status, search }, order) {
  if (status && row.status !== status) return false;
  if (order.endsWith("finished") && !row.finished_at) return false;
  return !search || row.instance_id.includes(search) || (row.program || "").includes(search);
}

export class Rows {
  #places = null;

  constructor(filter, order) {
    this.filter = filter;
    this.order = order;
    this.compare = comparison(order);
    this.items = [];
    this.cursor = null;
    this.ended = false;
  }

  /** Add a page that was read. A row that is known already was told live meanwhile, and is newer. */
  addPage(rows, cursor) {
    const known = new Set(this.items.map((row) => row.instance_id));
    this.items = this.items.concat(rows.filter((row) => !known.has(row.instance_id)));
    this.cursor = cursor ?? null;
    this.ended = this.cursor === null;
    this.items.sort(this.compare);
    this.#places = null;
  }

  /** Take in what was told about one instance; returns how many rows came in above `index`. */
  take(row, index = 0) {
    const place = this.#placeOf(row.instance_id);
    if (place === undefined) return fits(row, this.filter, this.order) ? this.#insert(row, index) : 0;
    const before = this.items[place];
    if (!fits(row, this.filter, this.order)) { this.items.splice(place, 1); this.#places = null; return place < index ? -1 : 0; }
    if (this.compare(before, row) === 0) { this.items[place] = row; return 0; }
    this.items.splice(place, 1);
    this.#places = null;
    return this.#insert(row, index) - (place < index ? 1 : 0);
  }

  get(instanceId) {
    const place = this.#placeOf(instanceId);
    return place === undefined ? null : this.items[place];
  }

  #insert(row, index) {
    let low = 0, high = this.items.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.compare(this.items[middle], row) < 0) low = middle + 1;
      else high = middle;
    }
    if (low === this.items.length && !this.ended) return 0;
    this.items.splice(low, 0, row);
    this.#places = null;
    return low <= index ? 1 : 0;
  }

  #placeOf(instanceId) {
    this.#places ??= new Map(this.items.map((row, place) => [row.instance_id, place]));
    return this.#places.get(instanceId);
  }
}
