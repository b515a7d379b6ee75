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
  #known = new Map();

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
    const fresh = rows.filter((row) => !this.#known.has(row.instance_id));
    for (const row of fresh) this.#known.set(row.instance_id, row);
    this.items = this.items.concat(fresh).sort(this.compare);
    this.cursor = cursor ?? null;
    this.ended = this.cursor === null;
  }

  /** Take in what was told about one instance; returns by how much the row at `index` has moved down. */
  take(row, index = 0) {
    const before = this.#known.get(row.instance_id);
    const isWanted = fits(row, this.filter, this.order);
    if (!before) return isWanted ? this.#insert(row, index) : 0;
    const place = this.#placeOf(before);
    if (isWanted && this.compare(before, row) === 0) {
      this.items[place] = row;
      this.#known.set(row.instance_id, row);
      return 0;
    }
    this.items.splice(place, 1);
    this.#known.delete(row.instance_id);
    const moved = place < index ? -1 : 0;
    return isWanted ? moved + this.#insert(row, index + moved) : moved;
  }

  #insert(row, index) {
    const place = this.#placeOf(row);
    if (place === this.items.length && !this.ended) return 0; // its page will bring it
    this.items.splice(place, 0, row);
    this.#known.set(row.instance_id, row);
    return place <= index ? 1 : 0;
  }

  /** Where a row is, or would be: no two are equal, since ids differ. */
  #placeOf(row) {
    let low = 0, high = this.items.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.compare(this.items[middle], row) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
