// The description of the API as a page: reads openapi.json and needs nothing else. Everything is set as text.

const VERBS = ["get", "put", "post", "delete"];

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

function follow(api, node) {
  if (!node || !node.$ref) {
    return node;
  }
  return node.$ref.slice(2).split("/").reduce((found, part) => found[part], api);
}

function kindOf(api, schema) {
  if (!schema) {
    return "";
  }
  if (schema.$ref) {
    return schema.$ref.split("/").pop();
  }
  if (schema.anyOf) {
    return schema.anyOf.map((part) => kindOf(api, part)).join(" or ");
  }
  if (schema.enum) {
    return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  }
  if (schema.type === "array") {
    return `list of ${kindOf(api, schema.items)}`;
  }
  if (schema.contentEncoding) {
    return "base64";
  }
  return schema.type ?? "anything";
}

function rows(api, schema) {
  const found = follow(api, schema);
  return Object.entries(found?.properties ?? {}).map(([name, part]) => ({
    name,
    kind: kindOf(api, part),
    required: (found.required ?? []).includes(name),
    more: "default" in part ? `default ${JSON.stringify(part.default)}` : (follow(api, part).description ?? ""),
  }));
}

function table(caption, fields) {
  const head = make("tr", {}, ...["Name", "Type", ""].map((text) => make("th", { scope: "col" }, text)));
  const body = fields.map((field) =>
    make(
      "tr",
      {},
      make("td", {}, make("code", {}, field.name), field.required ? " *" : ""),
      make("td", {}, make("code", {}, field.kind)),
      make("td", { class: "soft" }, field.more ?? ""),
    ),
  );
  return make("table", {}, make("caption", { class: "soft" }, caption), make("thead", {}, head), make("tbody", {}, ...body));
}

function curlOf(verb, path, content) {
  const words = ["curl"];
  if (verb !== "get") {
    words.push("-X", verb.toUpperCase());
  }
  words.push(`${location.origin}${path}`, "-H", "'Authorization: Bearer KEY'");
  if (content) {
    words.push("-H", "'Content-Type: application/json'", "-d", `'${JSON.stringify(content)}'`);
  }
  return words.join(" ");
}

function operationOf(api, path, verb, row) {
  const box = make("div", {});
  for (const text of row.description.split("\n\n")) {
    box.append(make("p", {}, text));
  }
  const parameters = (row.parameters ?? []).map((part) => follow(api, part));
  if (parameters.length) {
    const fields = parameters.map((part) => ({
      name: part.name,
      kind: kindOf(api, part.schema),
      required: part.required,
      more: `in the ${part.in}${part.description ? `: ${part.description}` : ""}`,
    }));
    box.append(table("Parameters", fields));
  }
  const body = row.requestBody?.content?.["application/json"];
  if (body && rows(api, body.schema).length) {
    box.append(table("Body", rows(api, body.schema)));
  }
  for (const [status, answer] of Object.entries(row.responses)) {
    const found = follow(api, answer);
    const content = found.content?.["application/json"];
    if (status.startsWith("2")) {
      box.append(make("p", {}, make("strong", {}, status), ` ${found.description}`));
      if (content) {
        box.append(table(kindOf(api, content.schema), rows(api, content.schema)));
      }
    }
  }
  const refusals = Object.keys(row.responses).filter((status) => /^[45]/.test(status));
  box.append(make("p", { class: "soft" }, `May be refused with ${refusals.join(", ")}.`));
  box.append(make("pre", { tabindex: "0" }, curlOf(verb, path, body?.example)));
  const title = make(
    "summary",
    {},
    make("span", { class: `verb ${verb}` }, verb.toUpperCase()),
    make("code", {}, path),
    " ",
    make("span", { class: "soft" }, row.summary),
  );
  const words = `${row.operationId} ${verb} ${path} ${row.description}`.toLowerCase();
  return make("details", { id: row.operationId, "data-words": words }, title, box);
}

function groupsOf(api) {
  const groups = new Map();
  for (const [path, verbs] of Object.entries(api.paths)) {
    for (const verb of VERBS.filter((name) => name in verbs)) {
      const group = verbs[verb].tags[0];
      groups.set(group, [...(groups.get(group) ?? []), operationOf(api, path, verb, verbs[verb])]);
    }
  }
  return groups;
}

function find(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const section of document.querySelectorAll("main section")) {
    let shown = 0;
    for (const operation of section.querySelectorAll("details")) {
      operation.hidden = !words.every((word) => operation.dataset.words.includes(word));
      shown += operation.hidden ? 0 : 1;
    }
    section.hidden = shown === 0;
  }
}

async function show() {
  const answer = await fetch("/api/v1/openapi.json");
  const api = await answer.json();
  document.querySelector("#about").textContent = `${api.info.description} Version ${api.info.version}.`;
  for (const [name, operations] of groupsOf(api)) {
    const heading = make("h2", { id: `group-${name}` }, name.replaceAll("-", " "));
    document.querySelector("main").append(make("section", { "aria-labelledby": heading.id }, heading, ...operations));
    document.querySelector("nav").append(make("a", { href: `#group-${name}` }, name.replaceAll("-", " ")));
  }
  const wanted = document.getElementById(location.hash.slice(1));
  if (wanted) {
    wanted.open = true;
    wanted.scrollIntoView();
  }
}

document.querySelector("#find").addEventListener("input", (event) => find(event.target.value));
show().catch((error) => {
  document.querySelector("#about").textContent = `The description cannot be read: ${error.message}`;
});
