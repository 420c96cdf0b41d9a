// @ts-check
/** Draws the agent desktop from its state. Knows the document and the words, nothing of connections. */

import { isOwner, phaseOf } from "./agent_state.js";
import { queueOf } from "./bank.js";
import { announce, at, drawRing, monogram, notify, showLink, showState, write } from "./page.js";
import { clock, currentLanguage, isKnown, say, sayName, sayReason } from "./words.js";

/** @typedef {import("./agent_state.js").AgentState} AgentState */
/** @typedef {import("./bank.js").Queue} Queue */

/** @param {AgentState} state @param {number} now_ms */
export function drawAgent(state, now_ms) {
  const phase = phaseOf(state);
  showState(phase);
  showLink(state.link);
  document.title = titleOf(state, phase);
  if (phase === "signed_out") drawSignIn(state.link.why);
  if (phase === "stopped") write("stopped-reason", say(`stopped.${state.link.why}`));
  if (state.me) drawDesk(state, phase);
  if (state.reservation) drawReservation(state, state.reservation);
  if (state.call) drawCall(state, state.call);
  if (state.wrapUp) drawWrapUp(state, state.wrapUp);
  drawNotice(state);
  tickAgent(state, now_ms);
}

/** A call that rings must be seen in a tab behind others too. @param {AgentState} state @param {string} phase @returns {string} */
function titleOf({ reservation }, phase) {
  return phase === "ringing" ? `● ${say("agent.incoming")} · ${reservation?.customer ?? ""}` : say("agent.page");
}

/** @param {string} why */
function drawSignIn(why) {
  at("sign-in-fault").hidden = !why;
  write("sign-in-fault", why ? say(`sign_in.${why}`) : "");
}

/** @type {import("./agent_state.js").Notice | null} */
let drawnNotice = null;

/** @param {AgentState} state */
function drawNotice({ notice }) {
  if (notice && notice !== drawnNotice) notify(sayReason(notice.family, notice.reason));
  drawnNotice = notice;
}

/** @param {AgentState} state @param {string} phase */
function drawDesk(state, phase) {
  const { me, activity, reason } = state;
  const name = me?.name || me?.id || "";
  write("me-name", name);
  write("me-monogram", monogram(name));
  const occupied = phase === "connecting" || phase === "connected" ? "in_call" : phase;
  const why = phase === "not_ready" && reason ? ` · ${sayReasonOfAgent(reason)}` : "";
  write("activity", say(`agent.${occupied}`) + why);
  write("ready-text", say(activity === "ready" ? "agent.ready" : "agent.go_ready"));
  at("ready").setAttribute("aria-pressed", String(activity === "ready"));
  for (const button of at("reasons").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(activity === "not_ready" && button.dataset.reason === reason));
  }
  drawIdle(activity, reason);
  drawLists(state);
}

/** @param {string} reason @returns {string} */
function sayReasonOfAgent(reason) {
  const text = say(`reason.${reason}`);
  return text === `reason.${reason}` ? reason : text;
}

/** @param {string} activity @param {string} reason */
function drawIdle(activity, reason) {
  write("idle-title", say(`agent.idle_${activity}`));
  const isMissed = activity === "not_ready" && reason === "no_answer";
  const lead = activity === "ready" ? "agent.idle_ready_lead" : "agent.idle_not_ready_lead";
  write("idle-lead", say(isMissed ? "agent.idle_no_answer" : lead));
}

let drawnLists = "";

/** Lists are made anew only when they differ. @param {AgentState} state */
function drawLists({ me, queues, passed }) {
  const wanted = JSON.stringify([currentLanguage(), me, queues, passed]);
  if (wanted === drawnLists) return;
  drawnLists = wanted;
  at("skills").replaceChildren(...Object.entries(me?.skills ?? {}).map(([skill, level]) => skillChip(skill, level)));
  at("log-none").hidden = passed.length > 0;
  at("log").replaceChildren(...passed.map((call) => logRow(call, queues)));
  at("no-hall").hidden = Boolean(queues?.length);
  at("hall").hidden = !queues?.length;
  at("hall-rows").replaceChildren(...(queues ?? []).map(hallRow));
}

/** @param {string} skill @param {number} level @returns {HTMLElement} */
function skillChip(skill, level) {
  const chip = element("li", skill);
  chip.append(element("b", String(level)));
  chip.title = say("agent.level", { skill, level });
  return chip;
}

/** @param {import("./agent_state.js").Passed} call @param {Queue[] | null} queues @returns {HTMLElement} */
function logRow(call, queues) {
  const row = element("li", "");
  const words = element("span", call.customer || say("agent.customer"));
  words.append(element("small", sayName(queueOf(queues, call.queue_id)?.name, call.queue_id)));
  row.append(words, element("span", clock(call.talked_ms)));
  return row;
}

/** @param {Queue} queue @returns {HTMLElement} */
function hallRow(queue) {
  const row = element("tr", "");
  const name = element("th", sayName(queue.name, queue.queue_id));
  name.setAttribute("scope", "row");
  const longest = queue.waiting_count ? clock(queue.longest_wait_ms ?? 0) : "–";
  const cells = [queue.waiting_count, longest, queue.agents?.ready ?? "–"];
  row.append(name, ...cells.map((cell) => element("td", String(cell))));
  row.dataset.waiting = String(queue.waiting_count > 0);
  return row;
}

/** @param {string} name @param {string} text @returns {HTMLElement} */
function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

/** @param {AgentState} state @param {import("./agent_state.js").Reservation} reservation */
function drawReservation({ queues, isAnswering }, reservation) {
  const { attempt, queue_id, business_reference } = reservation;
  const customer = reservation.customer || say("agent.customer");
  const queue = sayName(queueOf(queues, queue_id)?.name, queue_id);
  write("ring-customer", customer);
  write("ring-queue", queue);
  write("ring-waited", clock(reservation.waited_ms));
  at("ring-reference-row").hidden = !business_reference;
  write("ring-reference", business_reference);
  const before = attempt - 1;
  const attempts = before === 1 ? "agent.attempt_once" : "agent.attempt_again";
  write("ring-attempt", before <= 0 ? say("agent.attempt_first") : say(attempts, { count: before }));
  write("ring-why", sayWhy(reservation));
  write("accept-text", say(isAnswering ? "agent.accepting" : "agent.accept"));
  for (const id of ["accept", "decline"]) /** @type {HTMLButtonElement} */ (at(id)).disabled = isAnswering;
  announce(`${say("agent.incoming")}: ${customer}, ${queue}`);
}

/** The engine's rule in words; one that has none, as a bank's own, is shown as it came. @param {import("./agent_state.js").Reservation} reservation @returns {string} */
function sayWhy({ why, key }) {
  return isKnown(`why.${why}`) ? say(`why.${why}`, { time: key ? timeOfDay(key) : "–" }) : why;
}

/** @param {number} at_ms @returns {string} */
function timeOfDay(at_ms) {
  return new Intl.DateTimeFormat(currentLanguage(), { hour: "2-digit", minute: "2-digit", hour12: false }).format(at_ms);
}

let drawnCallId = "";

/** @param {AgentState} state @param {import("./call_state.js").Call} call */
function drawCall(state, call) {
  if (call.call_id !== drawnCallId) {
    drawnCallId = call.call_id;
    // What was meant for one customer is not for the next.
    /** @type {HTMLFormElement} */ (at("script-form")).reset();
  }
  const { queues } = state;
  const customer = call.customer || say("agent.customer");
  write("other-name", customer);
  write("call-customer", customer);
  write("call-queue", sayName(queueOf(queues, call.queue_id)?.name, call.queue_id));
  at("call-reference-row").hidden = !call.business_reference;
  write("call-reference", call.business_reference);
  write("call-since", timeOfDay(call.queued_at_ms));
  at("external-go").hidden = call.media !== "external" || call.state === "connected";
  drawPass(state, call);
}

let drawnTargets = "";

/** What only the owner may do with a call that talks. @param {AgentState} state @param {import("./call_state.js").Call} call */
function drawPass(state, call) {
  at("pass").hidden = at("script-form").hidden = call.state !== "connected" || !isOwner(state);
  write("hold-text", say(call.on_hold_until_ms ? "agent.unhold" : "agent.hold"));
  at("hold").setAttribute("aria-pressed", String(Boolean(call.on_hold_until_ms)));
  const wanted = JSON.stringify([currentLanguage(), state.queues?.map((queue) => queue.name)]);
  if (wanted === drawnTargets) return;
  drawnTargets = wanted;
  at("transfer-queue").replaceChildren(...(state.queues ?? []).map(targetOf));
}

/** @param {Queue} queue @returns {HTMLElement} */
function targetOf(queue) {
  const option = document.createElement("option");
  option.value = queue.queue_id;
  option.textContent = sayName(queue.name, queue.queue_id);
  return option;
}

/** @param {AgentState} state @param {import("./agent_state.js").WrapUp} wrapUp */
function drawWrapUp({ passed, queues }, wrapUp) {
  const call = passed.find((one) => one.call_id === wrapUp.call_id);
  at("wrap-facts").hidden = !call;
  at("extend").hidden = wrapUp.kind !== "timed";
  write("wrap-caption", say(wrapUp.kind === "timed" ? "agent.wrap_up_left" : "agent.wrap_up_open"));
  announce(say("agent.wrap_up_title"));
  if (!call) return;
  write("wrap-customer", call.customer || say("agent.customer"));
  write("wrap-queue", sayName(queueOf(queues, call.queue_id)?.name, call.queue_id));
  write("wrap-talked", clock(call.talked_ms));
}

/** Draw what changes by itself. @param {AgentState} state @param {number} now_ms */
export function tickAgent({ reservation, wrapUp }, now_ms) {
  if (reservation) {
    const left_ms = Math.max(0, reservation.expires_at_ms - now_ms);
    write("ring-seconds", String(Math.ceil(left_ms / 1000)));
    drawRing("ring-left", left_ms / reservation.rings_ms);
  }
  if (wrapUp) {
    const isTimed = wrapUp.kind === "timed";
    const left_ms = Math.max(0, wrapUp.until_ms - now_ms);
    write("wrap-clock", isTimed ? clock(left_ms + 999) : clock(now_ms - wrapUp.since_ms));
    drawRing("wrap-left", isTimed ? left_ms / Math.max(1, wrapUp.until_ms - wrapUp.since_ms) : 1);
  }
}
