// @ts-check
/** Draws the customer page from its state. Knows the document and the words, nothing of connections. */

import { queueOf } from "./bank.js";
import { phaseOf } from "./customer_state.js";
import { announce, at, monogram, showLink, showState, write } from "./page.js";
import { clock, currentLanguage, roughly, say, sayName, sayReason } from "./words.js";

/** @typedef {import("./customer_state.js").CustomerState} CustomerState */
/** @typedef {import("./bank.js").Queue} Queue */

/** @param {CustomerState} state @param {number} now_ms */
export function drawCustomer(state, now_ms) {
  const phase = phaseOf(state);
  showState(phase);
  showLink(state.link);
  document.title = titleOf(state, phase);
  if (phase === "signed_out") drawSignIn(state.link.why);
  if (phase === "stopped") write("stopped-reason", say(`stopped.${state.link.why}`));
  if (phase === "choosing" || phase === "requesting") drawChoice(state);
  if (state.call) drawProgress(state, state.call, phase);
  if (state.ended) drawEnded(state, state.ended);
  tickCustomer(state, now_ms);
}

/** @param {CustomerState} state @param {string} phase @returns {string} */
function titleOf(state, phase) {
  if (phase === "waiting" && state.call?.position) return `${state.call.position} · ${say("customer.page")}`;
  return say("customer.page");
}

/** @param {string} why */
function drawSignIn(why) {
  at("sign-in-fault").hidden = !why;
  write("sign-in-fault", why ? say(`sign_in.${why}`) : "");
}

let drawnQueues = "";

/** Cards are made anew only when they differ, so that a choice and its focus stay. @param {CustomerState} state */
function drawChoice({ queues, isRequesting }) {
  const wanted = JSON.stringify([currentLanguage(), queues]);
  if (wanted !== drawnQueues) {
    drawnQueues = wanted;
    drawCards(queues ?? []);
  }
  /** @type {HTMLButtonElement} */
  const button = at("request");
  button.disabled = isRequesting || !queues?.length;
  write("request-text", say(isRequesting ? "customer.requesting" : "customer.request"));
}

/** @param {Queue[]} queues */
function drawCards(queues) {
  const chosen = document.querySelector("input[name=queue]:checked")?.getAttribute("value");
  const hadFocus = document.activeElement?.getAttribute("name") === "queue";
  at("queues").replaceChildren(...queues.map((queue) => cardOf(queue, queue.queue_id === chosen)));
  at("no-queues").hidden = queues.length > 0;
  if (hadFocus) /** @type {HTMLElement | null} */ (document.querySelector("input[name=queue]:checked"))?.focus();
}

/** @param {Queue} queue @param {boolean} isChosen @returns {HTMLElement} */
function cardOf(queue, isChosen) {
  const name = sayName(queue.name, queue.queue_id);
  const card = element("label", "queue-card");
  card.dataset.testid = `queue-${queue.queue_id}`;
  const radio = document.createElement("input");
  Object.assign(radio, { type: "radio", name: "queue", value: queue.queue_id, required: true, checked: isChosen });
  const words = element("span", "queue-words");
  words.append(element("b", "", name), element("small", "", waitingText(queue.waiting_count)));
  card.append(radio, element("span", "monogram", monogram(name)), words, element("i", "tick"));
  card.querySelector(".monogram")?.setAttribute("aria-hidden", "true");
  return card;
}

/** @param {number} count @returns {string} */
function waitingText(count) {
  if (!count) return say("customer.nobody");
  return count === 1 ? say("customer.one") : say("customer.many", { count });
}

/** @param {string} name @param {string} className @param {string} [text] @returns {HTMLElement} */
function element(name, className, text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

/** @param {CustomerState} state @param {import("./call_state.js").Call} call @param {string} phase */
function drawProgress({ queues }, call, phase) {
  const name = call.agent_name || say("customer.specialist");
  const [title, lead] = progressWords(call, phase, name);
  const place = phase === "waiting" && call.position ? String(call.position) : "";
  write("place", phase === "connecting" ? monogram(name) : place);
  write("progress-title", title);
  write("progress-lead", lead);
  write("progress-queue", sayName(queueOf(queues, call.queue_id)?.name, call.queue_id));
  write("estimate", call.estimate_ms === null ? say("customer.estimate_none") : roughly(call.estimate_ms));
  write("other-name", name);
  announce(place ? `${title}. ${say("customer.position")}: ${place}` : title);
}

/** @param {import("./call_state.js").Call} call @param {string} phase @param {string} name @returns {[string, string]} */
function progressWords(call, phase, name) {
  if (phase === "ringing") return [say("customer.ringing"), say("customer.ringing_lead")];
  if (phase === "connecting") return [say("customer.connecting", { name }), say("customer.connecting_lead")];
  if (phase === "connected") return [name, ""];
  const title = call.position === 1 ? say("customer.next") : say("customer.waiting");
  return [title, call.is_back ? say("customer.back") : ""];
}

/** @param {CustomerState} state @param {import("./customer_state.js").Ended} ended */
function drawEnded({ queues }, ended) {
  write("ended-title", ended.talked_ms ? say("customer.thanks") : say("customer.ended"));
  write("ended-reason", sayReason("ended", ended.reason));
  write("ended-queue", sayName(queueOf(queues, ended.queue_id)?.name, ended.queue_id));
  write("ended-reference", ended.business_reference);
  at("ended-reference-row").hidden = !ended.business_reference;
  write("ended-talked", clock(ended.talked_ms));
  at("ended-talked-row").hidden = !ended.talked_ms;
  announce(sayReason("ended", ended.reason));
}

/** Draw what changes by itself. @param {CustomerState} state @param {number} now_ms */
export function tickCustomer({ call }, now_ms) {
  if (call) write("waited", clock(now_ms - call.queued_at_ms));
}
