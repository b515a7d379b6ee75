// Icons as outlines on a grid of 16, drawn by the current colour. Each is decoration: the word beside it says it all.

import { svg } from "./dom.js";

const OUTLINES = {
  // statuses
  pending: "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 0 0 0-11M8 5v3.2l2 1.4",
  running: "M5 3.2v9.6l7.6-4.8z",
  suspended: "M5.5 3.5v9M10.5 3.5v9",
  completed: "M3 8.5l3.4 3.4L13 4.8",
  failed: "M4 4l8 8M12 4l-8 8",
  cancelled: "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 0 0 0-11M4.2 4.2l7.6 7.6",
  // places
  instances: "M2.5 4h11M2.5 8h11M2.5 12h7",
  overview: "M2.5 13.5V8M6.2 13.5V3M9.9 13.5V6M13.5 13.5v-4",
  images: "M8 1.8l5.5 3v6.4L8 14.2l-5.5-3V4.8zM2.8 5L8 7.9L13.2 5M8 7.9v6",
  schedules: "M3 4h10v9.5H3zM3 7h10M5.5 2.2v3M10.5 2.2v3",
  nodes: "M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.01M5 11h.01",
  tree: "M6 2.5h4v3H6zM2 10.5h4v3H2zM10 10.5h4v3h-4zM8 5.5v2.6M4 10.5V8h8v2.5",
  // deeds
  search: "M7 2.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 0 0 0-9M10.4 10.4l3.3 3.3",
  plus: "M8 3v10M3 8h10",
  signal: "M8 9.2v4.3M5.2 9.4a3.6 3.6 0 1 1 5.6 0M3.2 11.4a6.4 6.4 0 1 1 9.6 0",
  retry: "M13 8a5 5 0 1 1-1.6-3.7M13 2.5v3h-3",
  fork: "M5 2.5v11M5 9.5c0-3 6-2 6-5.2V2.5",
  upload: "M8 11V3M4.8 6L8 2.8L11.2 6M3 13.2h10",
  trash: "M3 4.5h10M6 4.5V3h4v1.5M4.5 4.5l.6 9h5.8l.6-9",
  edit: "M3 13l.6-2.8l7-7l2.2 2.2l-7 7z",
  sun: "M8 5.2a2.8 2.8 0 1 0 0 5.6a2.8 2.8 0 0 0 0-5.6M8 1.5v1.4M8 13.1v1.4M1.5 8h1.4M13.1 8h1.4M3.4 3.4l1 1M11.6 11.6l1 1M12.6 3.4l-1 1M4.4 11.6l-1 1",
  moon: "M13 9.4A5.4 5.4 0 0 1 6.6 3a5.4 5.4 0 1 0 6.4 6.4z",
  leave: "M6.5 2.5H3v11h3.5M7 8h6.5M11 5.2L13.8 8L11 10.8",
  close: "M4 4l8 8M12 4l-8 8",
  chevron: "M6 3.5L10.5 8L6 12.5",
  copy: "M5.5 5.5h8v8h-8zM3 10.5H2.5v-8h8V3",
  warning: "M8 2.2l6.2 11.3H1.8zM8 6.5v3.4M8 11.6v.2",
  up: "M8 13V3M4.5 6.5L8 3l3.5 3.5",
  down: "M8 3v10M4.5 9.5L8 13l3.5-3.5",
  key: "M10.2 2.6a3.2 3.2 0 1 0 .01 0M8 8L2.8 13.2M4.6 11.4l1.6 1.6",
};

/** The icon of that name. */
export function icon(name) {
  return svg("svg", { viewBox: "0 0 16 16", class: "icon", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: OUTLINES[name] || OUTLINES.pending }));
}

/** Draw another icon in the place of one. */
export function redraw(element, name) {
  const path = element.firstElementChild;
  if (path.getAttribute("d") !== OUTLINES[name]) path.setAttribute("d", OUTLINES[name] || OUTLINES.pending);
}
