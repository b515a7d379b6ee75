// What all views share: the live connection, and who we are.

import { Live } from "./live.js";
import { setText } from "./dom.js";

const STATES = { open: "Live", connecting: "Connecting", waiting: "Not connected" };

export const live = new Live(showConnection);

/** Tenant, and what the key is good for, as far as the server has told. */
export const who = { tenant: null, role: null };

/** The tenant, as soon as it is known. */
export function tenant() {
  if (who.tenant) return Promise.resolve(who.tenant);
  return new Promise((resolve) => window.addEventListener("who", () => resolve(who.tenant), { once: true }));
}

function showConnection(state) {
  const place = document.getElementById("connection");
  place.dataset.state = state;
  setText(place, STATES[state]);
}
