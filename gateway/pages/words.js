// @ts-check
/**
 * Languages of the pages: which one speaks, and how a text, number or duration reads in it.
 *
 * Rules: no text for people stands in any other file; a page marks its elements with `data-words="key"` (text) or
 * `data-words-label="key"` (accessible name and tooltip), and asks `say(key, values)` for what changes.
 * Theory: both tables have the same keys. The first language is what was chosen here before, else the browser's, else English.
 * Not here: the tables themselves (`words_en.js`, `words_zh.js`).
 */

import { EN } from "./words_en.js";
import { ZH } from "./words_zh.js";

/** @typedef {"en" | "zh"} Language */
/** @typedef {Record<string, string | number>} Values */

const STORAGE_KEY = "tellerhall.language";
/** @type {Record<Language, Record<string, string>>} */
const TABLES = { en: EN, zh: ZH };
/** @type {Record<Language, string>} */
const TAGS = { en: "en", zh: "zh-CN" };

/** @returns {Language} */
function firstLanguage() {
  const chosen = localStorage.getItem(STORAGE_KEY);
  if (chosen === "en" || chosen === "zh") return chosen;
  return navigator.languages.some((tag) => tag.toLowerCase().startsWith("zh")) ? "zh" : "en";
}

/** @type {Language} */
let language = firstLanguage();

/** @returns {Language} the language that speaks now */
export function currentLanguage() {
  return language;
}

/**
 * Change the language and remember it on this device.
 * @param {Language} next
 */
export function chooseLanguage(next) {
  language = next;
  localStorage.setItem(STORAGE_KEY, next);
  translatePage();
}

/** Write every marked element of the page anew in the language that speaks now. */
export function translatePage() {
  document.documentElement.lang = TAGS[language];
  for (const element of document.querySelectorAll("[data-words]")) {
    element.textContent = say(element.getAttribute("data-words") ?? "");
  }
  for (const element of document.querySelectorAll("[data-words-label]")) {
    const label = say(element.getAttribute("data-words-label") ?? "");
    element.setAttribute("aria-label", label);
    element.setAttribute("title", label);
  }
  for (const element of document.querySelectorAll("[data-words-hint]")) {
    element.setAttribute("placeholder", say(element.getAttribute("data-words-hint") ?? ""));
  }
}

/**
 * @param {string} key
 * @returns {boolean} whether there is a text for `key`; reasons of newer servers may be unknown here
 */
export function isKnown(key) {
  return key in TABLES[language];
}

/**
 * The text for `key`, with `{name}` replaced by `values.name`. An unknown key comes back as it is, so it shows.
 * @param {string} key
 * @param {Values} [values]
 * @returns {string}
 */
export function say(key, values = {}) {
  const text = TABLES[language][key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/**
 * The text for the reason a server gave, or a general one that still names it.
 * @param {string} family  prefix of the keys: `refused`, `ended`, `closed`
 * @param {string} reason
 * @returns {string}
 */
export function sayReason(family, reason) {
  const key = `${family}.${reason}`;
  return isKnown(key) ? say(key) : say(`${family}.other`, { reason });
}

/**
 * A name given in several languages, in the one that speaks now; else English, else any, else `fallback`.
 * @param {Record<string, string> | string | undefined} names
 * @param {string} fallback
 * @returns {string}
 */
export function sayName(names, fallback) {
  if (typeof names === "string") return names || fallback;
  return names?.[language] || names?.en || Object.values(names ?? {})[0] || fallback;
}

/**
 * A clock reading such as 4:07 or 1:02:09 for a duration of `duration_ms` (negative counts as none).
 * @param {number} duration_ms
 * @returns {string}
 */
export function clock(duration_ms) {
  const seconds = Math.max(0, Math.floor(duration_ms / 1000));
  const two = (/** @type {number} */ value) => String(value).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

/**
 * A wait in words a person would use: "less than a minute", "about 3 minutes".
 * @param {number} duration_ms
 * @returns {string}
 */
export function roughly(duration_ms) {
  const minutes = Math.round(duration_ms / 60_000);
  if (duration_ms < 45_000) return say("time.less_than_a_minute");
  return minutes <= 1 ? say("time.about_a_minute") : say("time.about_minutes", { minutes });
}
