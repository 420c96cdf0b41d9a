// @ts-check
/**
 * Draws JSON schemas for people: a table of fields, each with its type in words, and what lies inside one folded below it.
 *
 * Rules: everything is text; nothing of a document is ever read as HTML.
 * Not here: operations and messages (`docs.js`).
 */

/** @typedef {{[key: string]: any}} Schema */

const DEPTH_MAX = 6;

/**
 * An element with attributes and content.
 * @param {string} name
 * @param {{[key: string]: string}} [attributes]
 * @param {...(Node | string)} content
 * @returns {HTMLElement}
 */
export function element(name, attributes = {}, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...content);
  return made;
}

/** Text whose `code` and **emphasis** are shown as such. @param {string} text @returns {DocumentFragment} */
export function prose(text) {
  const shown = document.createDocumentFragment();
  for (const part of text.split(/(`[^`]+`)/)) {
    shown.append(part.startsWith("`") && part.length > 2 ? element("code", {}, part.slice(1, -1)) : part);
  }
  return shown;
}

/** Paragraphs of prose. @param {string} text @param {string} [kind] @returns {HTMLElement[]} */
export function paragraphs(text, kind = "") {
  const found = text.split(/\n\s*\n/).map((one) => one.trim()).filter(Boolean);
  return found.map((one) => element("p", kind ? { class: kind } : {}, prose(one.replace(/\s+/g, " "))));
}

/** Follow references. @param {Schema} schema @param {Schema} whole  the document @returns {Schema} */
export function resolved(schema, whole) {
  if (Array.isArray(schema.allOf) && schema.allOf.length === 1) {
    const inner = resolved(schema.allOf[0], whole);
    return { ...inner, description: schema.description ?? inner.description };
  }
  if (typeof schema.$ref !== "string") return schema;
  let found = whole;
  for (const step of schema.$ref.replace(/^#\//, "").split("/")) found = found?.[step];
  return found ? resolved(found, whole) : {};
}

/** A type in a few words: `list of Party`, `text, at most 200`. @param {Schema} given @param {Schema} whole @returns {string} */
export function typeWords(given, whole) {
  const schema = resolved(given, whole);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((/** @type {any} */ one) => JSON.stringify(one)).join(" | ");
  if (schema.anyOf) {
    const options = schema.anyOf.map((/** @type {Schema} */ one) => typeWords(one, whole));
    return options.length > 6 ? `one of ${options.length} kinds` : [...new Set(options)].join(" | ");
  }
  if (schema.type === "array") return schema.items ? `list of ${typeWords(schema.items, whole)}` : "list";
  if (schema.type === "object") {
    if (schema.properties) return schema.title ?? "object";
    const values = schema.additionalProperties;
    return values && typeof values === "object" ? `map of ${typeWords(values, whole)}` : "object";
  }
  const words = { string: "text", integer: "whole number", number: "number", boolean: "yes or no", null: "null" };
  return words[/** @type {keyof typeof words} */ (schema.type)] ?? "anything";
}

/** Bounds of a value in words. @param {Schema} given @param {Schema} whole @returns {string[]} */
function bounds(given, whole) {
  const schema = resolved(given, whole);
  const found = [];
  if (schema.minimum !== undefined) found.push(`≥ ${schema.minimum}`);
  if (schema.maximum !== undefined) found.push(`≤ ${schema.maximum}`);
  if (schema.minLength !== undefined) found.push(`at least ${schema.minLength} long`);
  if (schema.maxLength !== undefined) found.push(`at most ${schema.maxLength} long`);
  if (schema.maxItems !== undefined) found.push(`at most ${schema.maxItems}`);
  if (schema.maxProperties !== undefined) found.push(`at most ${schema.maxProperties}`);
  if (schema.pattern) found.push(patternWords(schema.pattern));
  return found;
}

/** The patterns that most texts have, in words. @param {string} pattern @returns {string} */
function patternWords(pattern) {
  const [, least, most] = pattern.match(/^\^\[\^\\x00-\\x1f\\x7f\]\{(\d+),(\d+)\}\$$/) ?? [];
  if (most) return least === "0" ? `at most ${most} long` : `${least} to ${most} long`;
  return pattern === "^[^\\x00-\\x1f\\x7f]*$" ? "without control characters" : pattern;
}

/** Schemas that lie inside one and have fields of their own. @param {Schema} given @param {Schema} whole @returns {Schema[]} */
function inside(given, whole) {
  const schema = resolved(given, whole);
  if (schema.properties) return [schema];
  if (schema.anyOf) return schema.anyOf.flatMap((/** @type {Schema} */ one) => inside(one, whole));
  if (schema.type === "array" && schema.items) return inside(schema.items, whole);
  if (schema.additionalProperties && typeof schema.additionalProperties === "object") {
    return inside(schema.additionalProperties, whole);
  }
  return [];
}

/**
 * A table of a struct's fields; what is inside a field is folded below it.
 * @param {Schema} given
 * @param {Schema} whole
 * @param {number} [depth]
 * @returns {HTMLElement}
 */
export function fieldTable(given, whole, depth = 0) {
  const schema = resolved(given, whole);
  const fields = Object.entries(schema.properties ?? {});
  if (!fields.length) return element("p", { class: "muted small" }, "Nothing.");
  const table = element("div", { class: "fields" });
  for (const [name, field] of fields) {
    table.append(fieldRow(name, field, (schema.required ?? []).includes(name), whole, depth));
  }
  return table;
}

/**
 * @param {string} name
 * @param {Schema} field
 * @param {boolean} isRequired
 * @param {Schema} whole
 * @param {number} depth
 */
function fieldRow(name, field, isRequired, whole, depth) {
  const head = element("div", { class: "field-name" }, element("code", {}, name));
  if (!isRequired) head.append(element("small", { class: "muted" }, "optional"));
  const facts = [typeWords(field, whole), ...bounds(field, whole)];
  if (field.default !== undefined && field.default !== "" && !isRequired) {
    facts.push(`without it ${JSON.stringify(field.default)}`);
  }
  const body = element("div", {}, element("p", { class: "type" }, facts.join(" · ")));
  // A described reference has its own words; what the type says of itself stands where the type is unfolded.
  if (field.description) body.append(...paragraphs(field.description));
  const nested = depth < DEPTH_MAX ? inside(field, whole) : [];
  for (const one of nested) {
    const folded = element("details", { class: "nested" }, element("summary", {}, one.title ?? "its fields"));
    folded.addEventListener("toggle", () => {
      if (folded.childElementCount > 1) return;
      folded.append(...paragraphs(one.description ?? "", "muted small"), fieldTable(one, whole, depth + 1));
    });
    body.append(folded);
  }
  return element("div", { class: "field" }, head, body);
}
