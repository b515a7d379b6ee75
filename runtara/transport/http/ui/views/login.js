// The door: a key of the tenant against a cookie that scripts cannot read.

import { keyTaken, post } from "../api.js";
import { h, replace } from "../dom.js";
import { icon } from "../icons.js";

/** Ask for a key; `done` is called once the server has taken one. */
export function login(place, done) {
  const key = h("input", { id: "key", name: "key", type: "password", autocomplete: "current-password", required: true,
    spellcheck: "false", "aria-describedby": "key-help" });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const button = h("button", { class: "primary", type: "submit" }, "Sign in");
  const form = h("form", { class: "login", onsubmit: send, novalidate: true },
    h("span", { class: "login-mark" }, icon("key")),
    h("h1", {}, "Sign in to Runtara"),
    h("label", { for: "key" }, "Key of your tenant"), key,
    h("p", { id: "key-help", class: "help" }, "Made with ", h("code", {}, "runtara keys add TENANT"),
      ". A new server says where its first key lies."),
    problem, button);
  replace(place, form);
  document.title = "Sign in · Runtara";
  key.focus();

  async function send(event) {
    event.preventDefault();
    if (!key.value.trim()) { refuse("A key is needed"); return; }
    button.disabled = true;
    try {
      await post("/login", { key: key.value.trim() }, { quietly: true });
      keyTaken();
      key.value = "";
      done();
    } catch (error) {
      refuse(error.message);
    } finally {
      button.disabled = false;
    }
  }

  function refuse(text) {
    problem.textContent = text;
    problem.hidden = false;
    key.setAttribute("aria-invalid", "true");
    key.select();
    key.focus();
  }
}
