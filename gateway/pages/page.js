// @ts-check
/**
 * What every page does with its document: show one state, speak one language, answer to keys, keep the screen awake.
 *
 * Rules of the markup: an element with `data-show="a b"` is there in these states only; one with `data-key="m"` is pressed
 * by that key; `data-testid` and `body[data-state]`, `[data-link]`, `[data-media]` are stable for tests.
 * Theory: a page is `state -> view`: a store holds one state, a pure reducer makes the next, and the page
 * draws it. Nothing is read back from the document except what people type.
 * Not here: what the states mean.
 */

import { chooseLanguage, currentLanguage, say, translatePage } from "./words.js";

const KEYS_STORAGE_KEY = "tellerhall.keys";
const NOTICE_MS = 6_000;

/**
 * The element with this id. A missing one is a mistake in the page, and is named.
 * @template {Element} [T=HTMLElement]
 * @param {string} id
 * @returns {T}
 */
export function at(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return /** @type {T} */ (/** @type {unknown} */ (element));
}

/**
 * @template S, A
 * @param {(state: S, action: A) => S} reduce
 * @param {S} first
 * @param {(state: S, before: S) => void} draw
 * @returns {{state: () => S, take: (action: A) => void}}
 */
export function makeStore(reduce, first, draw) {
  let state = first;
  return {
    state: () => state,
    take(action) {
      const before = state;
      state = reduce(state, action);
      if (state !== before) draw(state, before);
    },
  };
}

/** Write text only when it differs, so that screen readers are not told the same twice. @param {string} id @param {string} text */
export function write(id, text) {
  const element = at(id);
  if (element.textContent !== text) element.textContent = text;
}

/** @param {string} state */
export function showState(state) {
  const hasChanged = document.body.dataset.state !== state;
  document.body.dataset.state = state;
  for (const element of document.querySelectorAll("[data-show]")) {
    const states = element.getAttribute("data-show")?.split(" ") ?? [];
    /** @type {HTMLElement} */ (element).hidden = !states.includes(state);
  }
  if (hasChanged) keepFocus();
}

/** Focus that vanished with its element goes to the heading of what is shown now, and never away from where somebody types. */
function keepFocus() {
  const active = document.activeElement;
  if (active && active !== document.body && isVisible(active)) return;
  for (const heading of document.querySelectorAll("[data-focus]")) {
    if (isVisible(heading)) return /** @type {HTMLElement} */ (heading).focus({ preventScroll: true });
  }
}

/** @param {Element} element @returns {boolean} */
function isVisible(element) {
  return element.getClientRects().length > 0;
}

/** Say it to screen readers. @param {string} text */
export function announce(text) {
  write("announcement", text);
}

let noticeTimer = 0;

/** Show a passing notice; empty text takes it away. @param {string} text @param {"plain" | "warning"} [tone] */
export function notify(text, tone = "plain") {
  window.clearTimeout(noticeTimer);
  const notice = at("notice");
  notice.dataset.tone = tone;
  notice.hidden = !text;
  write("notice-text", text);
  if (text) noticeTimer = window.setTimeout(() => notify(""), NOTICE_MS);
}

/** @param {{state: string}} link  of `client.js`, or `signed_out` */
export function showLink(link) {
  document.body.dataset.link = link.state;
  const name = link.state === "sign_in" ? "signed_out" : link.state;
  write("link-text", say(`link.${name}`));
}

/**
 * A letter or two that stand for a name: 李 for 李经理, LM for Li Mei.
 * @param {string} name
 * @returns {string}
 */
export function monogram(name) {
  const words = name.trim().split(/[\s.·_-]+/u).filter(Boolean);
  if (!words.length) return "·";
  if (/\p{Script=Han}/u.test(words[0])) return [...words[0]][0];
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : [words[0]];
  return letters.map((word) => [...word][0].toUpperCase()).join("");
}

/** How much of a count-down ring is left. @param {string} id @param {number} ratio  1 full, 0 over */
export function drawRing(id, ratio) {
  const left = Math.min(1, Math.max(0, ratio));
  at(id).setAttribute("stroke-dashoffset", String(100 - 100 * left));
}

/** Make the parts that all pages have work: language, keys, help. @param {() => void} redraw  after a change of language */
export function startPage(redraw) {
  translatePage();
  at("language").addEventListener("click", () => {
    chooseLanguage(currentLanguage() === "zh" ? "en" : "zh");
    redraw();
  });
  document.getElementById("notice-close")?.addEventListener("click", () => notify(""));
  startKeys();
}

function startKeys() {
  /** @type {HTMLDialogElement | null} */
  const help = document.querySelector("dialog#keys");
  if (!help) return;
  /** @type {HTMLInputElement} */
  const enabled = at("keys-enabled");
  enabled.checked = localStorage.getItem(KEYS_STORAGE_KEY) !== "off";
  enabled.addEventListener("change", () => localStorage.setItem(KEYS_STORAGE_KEY, enabled.checked ? "on" : "off"));
  at("keys-open").addEventListener("click", () => help.showModal());
  document.addEventListener("keydown", (event) => {
    if (enabled.checked && !help.open && !isTyping(event)) pressByKey(event);
  });
}

/** @param {KeyboardEvent} event @returns {boolean} the key belongs to a field, or to the browser */
function isTyping(event) {
  const target = event.target instanceof HTMLElement ? event.target : null;
  const isField = target?.matches("input:not([type=radio], [type=checkbox]), textarea, select") ?? false;
  return isField || event.ctrlKey || event.metaKey || event.altKey || event.repeat;
}

/** @param {KeyboardEvent} event */
function pressByKey(event) {
  for (const element of document.querySelectorAll(`[data-key="${CSS.escape(event.key)}"]`)) {
    const button = /** @type {HTMLButtonElement} */ (element);
    if (!isVisible(button) || button.disabled) continue;
    event.preventDefault();
    return button.click();
  }
}

/**
 * Let a person sign in by hand.
 * @param {(token: string) => void} signIn
 */
export function startSignIn(signIn) {
  at("sign-in-form").addEventListener("submit", (event) => {
    event.preventDefault();
    /** @type {HTMLInputElement} */
    const field = at("token");
    const token = field.value.trim();
    field.value = "";
    if (token) signIn(token);
  });
}

/** @type {WakeLockSentinel | null} */
let wakeLock = null;

/** A phone that falls asleep in the line or in a call would lose both. @param {boolean} isWanted */
export async function stayAwake(isWanted) {
  if (!isWanted) {
    await wakeLock?.release();
    wakeLock = null;
  } else if (navigator.wakeLock && !wakeLock && document.visibilityState === "visible") {
    // Refused on low battery: then the phone sleeps, and the call comes back when it wakes.
    wakeLock = await navigator.wakeLock.request("screen").catch(() => null);
    wakeLock?.addEventListener("release", () => (wakeLock = null));
  }
}
