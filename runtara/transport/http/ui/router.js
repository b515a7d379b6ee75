// The address decides what is shown: `#/instances/order-7?tab=logs` is a view, its arguments and its options.

const ROUTES = [];
let current = null;

/** Show `view` at addresses like `/instances/:id`. A view is `(place, args, query) => leave | undefined`. */
export function route(pattern, view) {
  ROUTES.push({ parts: pattern.split("/").filter(Boolean), view });
}

/** Where we are: path as decoded parts, and the query. */
export function here() {
  const [path, query = ""] = location.hash.replace(/^#/, "").split("?");
  return { parts: path.split("/").filter(Boolean).map(decode), query: new URLSearchParams(query) };
}

/** Address of a view. */
export function link(parts, query = {}) {
  const pairs = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const text = new URLSearchParams(pairs).toString();
  return "#/" + parts.map(encodeURIComponent).join("/") + (text ? "?" + text : "");
}

/** Go to a view. */
export function go(parts, query) {
  location.hash = link(parts, query);
}

/** Note options of the view in the address, without leaving it and without a step in the history. */
export function note(query) {
  history.replaceState(null, "", link(here().parts, query));
}

/** Leave the view that is shown, and show the one of the address. */
export function show(place, { fallback, shown }) {
  const { parts, query } = here();
  const found = match(parts);
  if (!found) { location.replace(link(fallback)); return; }
  leave();
  place.replaceChildren();
  current = found.view(place, found.args, query) || null;
  shown(parts);
}

/** Stop what the view on show has going. */
export function leave() {
  if (current) current();
  current = null;
}

function match(parts) {
  for (const { parts: pattern, view } of ROUTES) {
    if (pattern.length !== parts.length) continue;
    const args = {};
    const fits = pattern.every((part, i) => {
      if (part.startsWith(":")) { args[part.slice(1)] = parts[i]; return true; }
      return part === parts[i];
    });
    if (fits) return { view, args };
  }
  return null;
}

function decode(part) {
  try { return decodeURIComponent(part); } catch { return part; }
}
