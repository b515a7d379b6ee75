// Bringing a file to the server: its sum is taken first, so that what arrives is known to be what was sent.

import { problemOf, url } from "../api.js";
import { ask } from "../dialog.js";
import { h } from "../dom.js";
import { size } from "../text.js";
import { tell } from "../toast.js";
import { checkId } from "./start.js";

const KINDS = [["python", "Python: a .py or .pyz file"], ["folder", "Python project, as a tar file"], ["executable", "Native executable"],
  ["rootfs", "Root file system, as a tar file"], ["oci", "OCI image, as an archive"], ["wasm", "WASI module"]];
const MOST_BYTES = 1024 ** 3;

/** Ask for a file and upload it; tells whether one was taken. */
export async function askUpload({ name = "" } = {}) {
  if (!crypto.subtle) { await explain(); return false; }
  const progress = h("progress", { max: "1", value: 0, "aria-label": "How much has arrived", hidden: true });
  const upload = new Upload(progress);
  const asked = ask({ title: name ? `A new version of ${name}` : "Upload an image", action: "Upload",
    fields: [
      { name: "file", label: "File", kind: "file", required: true, check: (file) => (file.size > MOST_BYTES ? `Too large for a browser (${size(file.size)}): use runtara image push` : "") },
      { name: "name", label: "Name", value: name, required: true, check: checkId },
      { name: "kind", label: "Kind", kind: "choice", options: KINDS },
      { name: "description", label: "Description" },
    ],
    work: (values) => upload.send(values) });
  document.querySelector("dialog[open] .dialog-foot").before(progress);
  const image = await asked;
  upload.stop();
  if (image) tell(`${image.name} has version ${image.version} now`);
  return Boolean(image);
}

class Upload {
  constructor(progress) {
    this.progress = progress;
    this.request = null;
  }

  async send({ file, name, kind, description }) {
    const digest = hex(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()));
    this.progress.hidden = false;
    const answer = await this.#post(url("/images/upload", { name, kind, digest, description }), file);
    return answer.image ?? answer;
  }

  stop() {
    this.request?.abort();
  }

  #post(address, file) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest(); // unlike fetch, it tells how much has gone
      this.request = request;
      request.open("POST", address);
      request.setRequestHeader("Runtara-Csrf", "1");
      request.setRequestHeader("Content-Type", "application/octet-stream");
      request.upload.addEventListener("progress", (event) => { if (event.lengthComputable) this.progress.value = event.loaded / event.total; });
      request.addEventListener("load", async () => {
        if (request.status < 300) resolve(JSON.parse(request.responseText));
        else reject(await problemOf(new Response(request.responseText, { status: request.status })));
      });
      request.addEventListener("error", () => reject(new Error("the connection broke; nothing was stored")));
      request.addEventListener("abort", () => reject(new DOMException("closed", "AbortError")));
      request.send(file);
    });
  }
}

const hex = (buffer) => Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");

function explain() {
  return ask({ title: "Use the command line here", action: "Understood", work: () => true,
    text: "Over plain HTTP from another machine this browser cannot take the sum of a file. Use `runtara image push NAME FILE`, or open the console over HTTPS." });
}
