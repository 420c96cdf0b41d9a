// @ts-check
/**
 * The interfaces for programs as readable pages: REST from `/v1/openapi.json`, messages from `/v1/asyncapi.json`.
 *
 * Rules: no library and nothing off-site; the documents come from this server and are shown as text. An entry's address
 * (`/docs/rest#create_call`) stays the same for as long as the operation does.
 * Not here: schemas (`docs_schema.js`).
 */

import { element, fieldTable, paragraphs, prose, resolved, typeWords } from "./docs_schema.js";
import { at } from "./page.js";

/** @typedef {import("./docs_schema.js").Schema} Schema */
/**
 * One thing to read about.
 * @typedef {{id: string, group: string, label: string, badge: string, tone: string, roles: string[], words: string, draw: () => HTMLElement}} Entry
 */

const DOCUMENT_BY_TAB = { rest: "/v1/openapi.json", messages: "/v1/asyncapi.json" };
const SENDER_WORDS = { client: "What clients send", server: "What the server sends" };
const STATUS_WITH_KEY = "503";

/** @returns {"rest" | "messages"} */
function currentTab() {
  return location.pathname.endsWith("/messages") ? "messages" : "rest";
}

/** @param {string[]} roles @returns {HTMLElement} */
function chips(roles) {
  return element("span", { class: "chips" }, ...roles.map((one) => element("span", { class: "chip", "data-role": one }, one)));
}

/** @param {string} title @param {...(Node | string)} content @returns {HTMLElement} */
function section(title, ...content) {
  return element("section", {}, element("h4", {}, title), ...content);
}

/** @param {unknown} value @returns {HTMLElement} */
function example(value) {
  return element("pre", {}, element("code", {}, JSON.stringify(value, null, 2)));
}

/** @param {Entry} entry @param {Node[]} title @param {...Node} content @returns {HTMLElement} */
function card(entry, title, ...content) {
  const head = element("header", {}, element("span", { class: "badge", "data-tone": entry.tone }, entry.badge), ...title, chips(entry.roles));
  return element("article", { class: "entry", id: entry.id }, head, ...content);
}

// -- REST

/** @param {Schema} whole @returns {Entry[]} */
function operations(whole) {
  const groups = new Map(whole.tags.map((/** @type {Schema} */ tag) => [tag.name, tag.description]));
  const found = [];
  for (const [path, methods] of Object.entries(whole.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      /** @type {Entry} */
      const entry = {
        id: operation.operationId,
        group: groups.get(operation.tags[0]) ?? operation.tags[0],
        label: operation.summary,
        badge: method.toUpperCase(),
        tone: method,
        roles: operation["x-roles"],
        words: `${path} ${operation.operationId} ${operation.summary} ${operation.description}`,
        draw: () => operationCard(entry, path, operation, whole),
      };
      found.push(entry);
    }
  }
  return found.sort((a, b) => a.group.localeCompare(b.group));
}

/** @param {Entry} entry @param {string} path @param {Schema} operation @param {Schema} whole */
function operationCard(entry, path, operation, whole) {
  const made = card(entry, [element("h3", {}, operation.summary)], element("p", { class: "path" }, element("code", {}, path)));
  made.append(...paragraphs(operation.description));
  if (operation.parameters.length) made.append(section("Parameters", parameterTable(operation.parameters, whole)));
  const body = operation.requestBody?.content?.["application/json"]?.schema;
  if (body) made.append(section(operation.requestBody.required ? "Body" : "Body, which may be missing", fieldTable(body, whole)));
  for (const [status, answer] of Object.entries(operation.responses)) {
    if (status.startsWith("2")) made.append(answerSection(status, answer, whole));
  }
  made.append(refusals(operation.responses, whole));
  return made;
}

/** @param {Schema[]} parameters @param {Schema} whole */
function parameterTable(parameters, whole) {
  const properties = Object.fromEntries(
    parameters.map((one) => [one.name, { ...one.schema, description: `In the ${one.in}. ${one.description ?? ""}` }]),
  );
  return fieldTable({ properties, required: parameters.filter((one) => one.required).map((one) => one.name) }, whole);
}

/** @param {string} status @param {Schema} answer @param {Schema} whole */
function answerSection(status, answer, whole) {
  const [kind, content] = Object.entries(answer.content ?? {})[0] ?? ["", {}];
  const made = section(`Answer ${status}`, ...paragraphs(answer.description ?? "", "muted"));
  if (!content.schema) made.append(element("p", { class: "type" }, kind));
  else if (resolved(content.schema, whole).properties) made.append(fieldTable(content.schema, whole));
  else made.append(element("p", { class: "type" }, typeWords(content.schema, whole)));
  return made;
}

/** @param {Schema} responses @param {Schema} whole */
function refusals(responses, whole) {
  const rows = element("div", { class: "fields" });
  for (const [status, given] of Object.entries(responses)) {
    if (status.startsWith("2")) continue;
    const text = resolved(given, whole).description ?? "";
    rows.append(element("div", { class: "field" }, element("div", { class: "field-name" }, element("code", {}, status)), element("div", {}, ...paragraphs(text))));
  }
  const folded = element("details", { class: "refusals" }, element("summary", {}, `Refusals: ${Object.keys(responses).filter((one) => one > "3").join(", ")}`), rows);
  return responses[STATUS_WITH_KEY] ? folded : rows;
}

// -- messages

/** @param {Schema} whole @returns {Entry[]} */
function messages(whole) {
  return Object.entries(whole.components.messages).map(([key, message]) => {
    const sender = /** @type {"client" | "server"} */ (key.split(".")[0]);
    /** @type {Entry} */
    const entry = {
      id: key,
      group: SENDER_WORDS[sender],
      label: message.name,
      badge: sender === "client" ? "client" : message.payload.required.includes("seq") ? "event" : "server",
      tone: sender,
      roles: message["x-roles"],
      words: `${message.name} ${message.description}`,
      draw: () => messageCard(entry, message, whole),
    };
    return entry;
  });
}

/** @param {Entry} entry @param {Schema} message @param {Schema} whole */
function messageCard(entry, message, whole) {
  const made = card(entry, [element("h3", {}, element("code", {}, message.name))], ...paragraphs(message.description));
  made.append(section("data", fieldTable(message.payload.properties.data, whole)));
  if (message["x-answer"]) made.append(section("ack.value", fieldTable(message["x-answer"], whole)));
  else if (entry.tone === "client") made.append(section("ack.value", element("p", { class: "muted small" }, "It is not answered.")));
  for (const one of message.examples ?? []) {
    made.append(element("details", { class: "example" }, element("summary", {}, `Example: ${one.name}`), example(one.payload)));
  }
  return made;
}

// -- the page

/** @param {Schema} whole @param {Entry[]} entries @param {{role: string, search: string}} wanted */
function show(whole, entries, wanted) {
  const words = wanted.search.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = entries.filter((one) => {
    const text = one.words.toLowerCase();
    return (!wanted.role || one.roles.includes(wanted.role)) && words.every((word) => text.includes(word));
  });
  const contents = at("contents");
  const main = at("entries");
  contents.replaceChildren();
  main.replaceChildren(introduction(whole));
  let group = "";
  for (const entry of shown) {
    if (entry.group !== group) {
      group = entry.group;
      contents.append(element("h2", {}, group.split(/[:,]/)[0]));
      main.append(element("h2", { class: "group" }, prose(group)));
    }
    contents.append(element("a", { href: `#${entry.id}`, "data-tone": entry.tone }, element("small", {}, entry.badge), entry.label));
    main.append(entry.draw());
  }
  if (!shown.length) main.append(element("p", { class: "muted" }, "Nothing has these words."));
  document.body.dataset.state = "shown";
  document.body.dataset.count = String(shown.length);
}

/** @param {Schema} whole */
function introduction(whole) {
  const source = DOCUMENT_BY_TAB[currentTab()];
  const title = currentTab() === "rest" ? "REST" : "Messages of the WebSocket";
  const made = element("div", { class: "introduction" }, element("h1", {}, title), ...paragraphs(whole.info.description));
  const kind = whole.openapi ? `OpenAPI ${whole.openapi}` : `AsyncAPI ${whole.asyncapi}`;
  made.append(element("p", { class: "muted small" }, `${kind}: `, element("a", { href: source }, source)));
  return made;
}

async function start() {
  const tab = currentTab();
  for (const link of document.querySelectorAll("[data-tab]")) {
    if (link.getAttribute("data-tab") === tab) link.setAttribute("aria-current", "page");
  }
  const response = await fetch(DOCUMENT_BY_TAB[tab]);
  if (!response.ok) throw new Error(`${DOCUMENT_BY_TAB[tab]}: ${response.status}`);
  const whole = await response.json();
  const entries = tab === "rest" ? operations(whole) : messages(whole);
  const wanted = { role: "", search: "" };
  const search = /** @type {HTMLInputElement} */ (at("search"));
  const role = /** @type {HTMLSelectElement} */ (at("role"));
  search.addEventListener("input", () => show(whole, entries, Object.assign(wanted, { search: search.value })));
  role.addEventListener("change", () => show(whole, entries, Object.assign(wanted, { role: role.value })));
  show(whole, entries, wanted);
  // The entry that the address names was not there yet when the page was loaded.
  if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

start().catch((error) => {
  at("status").textContent = `The description could not be read: ${error.message}`;
  document.body.dataset.state = "failed";
});
