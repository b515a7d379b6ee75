// An expression: what on the page is not as those need it who use a keyboard or a screen reader, as a list of sentences.
(() => {
  const CONTROLS = `button, a[href], input, select, textarea, dialog, nav, section, [role=grid], [role=tree], [role=treeitem],
    [role=tab], [role=tabpanel], [role=checkbox], [role=group], [role=region], [tabindex="0"]`;
  const REFERENCES = ["aria-controls", "aria-labelledby", "aria-describedby", "aria-activedescendant", "for"];
  const wrong = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const seen = (element) => element.getClientRects().length > 0;
  const says = (element) => element.outerHTML.slice(0, 120);
  const texts = (elements) => [...elements].map((one) => one?.textContent || "").join("").trim();

  const name = (element) => (element.getAttribute("aria-label")
    || texts((element.getAttribute("aria-labelledby") || "").split(" ").map((id) => document.getElementById(id)))
    || texts(element.labels || []) || element.textContent || element.title || "").trim();
  for (const one of all(CONTROLS)) if (seen(one) && !name(one)) wrong.push(`no name: ${says(one)}`);

  const ids = all("[id]").map((one) => one.id);
  wrong.push(...ids.filter((id, at) => ids.indexOf(id) !== at).map((id) => `twice: #${id}`));
  for (const reference of REFERENCES) {
    for (const one of all(`[${reference}]`)) {
      const led = one.getAttribute(reference).split(" ").filter(Boolean);
      for (const id of led) if (!document.getElementById(id)) wrong.push(`${reference} leads nowhere: ${id}`);
    }
  }

  for (const table of all("table")) if (!table.querySelector("th[scope]")) wrong.push("a table without heads");
  for (const what of ["main", "h1"]) if (all(what).length !== 1) wrong.push(`${all(what).length} x ${what}`);
  if (!all("nav[aria-label]").length) wrong.push("no navigation");
  if (document.documentElement.lang !== "en") wrong.push("no language");
  for (const one of all("[tabindex]")) if (one.tabIndex > 0) wrong.push(`an order of its own: ${says(one)}`);
  for (const one of all(".badge")) if (seen(one) && !one.innerText.trim()) wrong.push(`a status by colour only: ${says(one)}`);

  for (const one of all("button, input, select, [data-select]")) {
    const { width, height } = one.getBoundingClientRect();
    if (width && (width < 16 || height < 16)) wrong.push(`too small to hit: ${says(one)}`);
  }
  return wrong;
})()
