// @ts-check
/**
 * The agent desktop's one state, and what each thing that happens does to it. Pure.
 *
 * Rules: the server decides what occupies the agent; the page only remembers what it was told. What was ended or closed goes into
 * `passed`, a short list for the agent's own memory, and into `notice`, the last thing worth a word.
 */

import { callFrom, reduceCall } from "./call_state.js";

/** @typedef {import("./call_state.js").Call} Call */
/** @typedef {import("./bank.js").Queue} Queue */
/** @typedef {{reservation_id: string, call_id: string, queue_id: string, expires_at_ms: number, attempt: number, waited_ms: number, customer: string, business_reference: string, media: string, why: string, key?: number, rings_ms: number}} Reservation */
/** @typedef {{call_id: string, until_ms: number, kind: string, since_ms: number}} WrapUp */
/** @typedef {{call_id: string, customer: string, queue_id: string, talked_ms: number, business_reference: string}} Passed */
/** @typedef {{family: "closed" | "agent_ended", reason: string, at_ms: number}} Notice */
/** @typedef {"signed_out" | "joining" | "ready" | "not_ready" | "offline" | "ringing" | "connecting" | "connected" | "wrap_up" | "stopped"} Phase */

/**
 * @typedef {object} AgentState
 * @property {import("./client.js").Link} link
 * @property {{id: string, name: string, skills: Record<string, number>} | null} me  null: no snapshot yet
 * @property {string} activity
 * @property {string} reason
 * @property {Reservation | null} reservation
 * @property {boolean} isAnswering  accept or decline is on its way
 * @property {Call | null} call
 * @property {WrapUp | null} wrapUp
 * @property {Queue[] | null} queues
 * @property {Passed[]} passed  newest first
 * @property {Notice | null} notice
 */

/**
 * @typedef {{type: "link", link: import("./client.js").Link}
 *   | {type: "message", message: import("./client.js").Message, now_ms: number}
 *   | {type: "queues", queues: Queue[] | null}
 *   | {type: "answering"} | {type: "answer_refused", reason: string} | {type: "signed_out"}} Action
 */

const PASSED_MAX = 8;

/** @type {Readonly<AgentState>} */
export const FIRST = {
  link: { state: "sign_in", why: "" },
  me: null,
  activity: "offline",
  reason: "",
  reservation: null,
  isAnswering: false,
  call: null,
  wrapUp: null,
  queues: null,
  passed: [],
  notice: null,
};

/** @param {AgentState} state @returns {Phase} */
export function phaseOf(state) {
  if (state.link.state === "sign_in") return "signed_out";
  if (state.link.state === "stopped") return "stopped";
  if (!state.me) return "joining";
  if (state.call) return state.call.state === "connected" ? "connected" : "connecting";
  if (state.reservation) return "ringing";
  if (state.wrapUp) return "wrap_up";
  return state.activity === "ready" || state.activity === "not_ready" ? state.activity : "offline";
}

/** @param {AgentState} state @param {Action} action @returns {AgentState} */
export function reduce(state, action) {
  switch (action.type) {
    case "link":
      return { ...state, link: action.link };
    case "message":
      return reduceMessage(state, action.message, action.now_ms);
    case "queues":
      return { ...state, queues: action.queues };
    case "answering":
      return { ...state, isAnswering: true };
    case "answer_refused":
      return answerRefused(state, action.reason);
    case "signed_out":
      return FIRST;
  }
}

/** Too late is too late: what cannot be answered any more does not ring any more. @param {AgentState} state @param {string} reason @returns {AgentState} */
function answerRefused(state, reason) {
  const isGone = reason === "not_pending" || reason === "unknown_reservation" || reason === "not_yours";
  return { ...state, isAnswering: false, reservation: isGone ? null : state.reservation };
}

/** @type {Record<string, (state: AgentState, data: any, now_ms: number) => AgentState>} */
const ARMS = {
  "session.welcome": (state, data, now_ms) => reduceSnapshot(state, data.session, now_ms),
  "session.reset": (state, data, now_ms) => reduceSnapshot(state, data.session, now_ms),
  "agent.state": (state, data) => ({ ...state, activity: data.activity, reason: data.reason }),
  "reservation.new": (state, data, now_ms) => ({ ...state, reservation: ringing(data, now_ms), isAnswering: false, notice: null }),
  "reservation.accepted": accepted,
  "reservation.closed": closed,
  "party.added": partyAdded,
  "party.removed": partyRemoved,
  "call.owner": ownerMoved,
  "call.transferred": (state, data, now_ms) => leave(state, data, "transferred", now_ms),
  "call.requeued": requeued,
  "call.ended": ended,
  "wrapup.extended": extended,
  "wrapup.ended": (state, data) => (state.wrapUp?.call_id === data.call_id ? { ...state, wrapUp: null } : state),
};

/** @param {AgentState} state @param {import("./client.js").Message} message @param {number} now_ms @returns {AgentState} */
function reduceMessage(state, message, now_ms) {
  const arm = ARMS[message.type];
  if (arm) return arm(state, message.data, now_ms);
  if (!state.call) return state;
  const call = reduceCall(state.call, message, "agent");
  return call === state.call ? state : { ...state, call };
}

/** @param {AgentState} state @param {any} session @param {number} now_ms @returns {AgentState} */
function reduceSnapshot(state, session, now_ms) {
  const isLive = session.call !== null && session.call.state !== "ended" && session.call.state !== "reserved";
  return {
    ...state,
    me: session.agent,
    activity: session.activity,
    reason: session.reason,
    reservation: session.reservation && ringing(session.reservation, now_ms),
    isAnswering: false,
    call: isLive ? callOf(session) : null,
    wrapUp: session.wrap_up && { ...session.wrap_up, since_ms: now_ms },
  };
}

/** @param {any} session  with a call @returns {Call} */
function callOf({ call, agent }) {
  return isGuest(call.agent_id, agent.id) ? asGuest(callFrom(call)) : callFrom(call);
}

/** @param {string | undefined} owner_id @param {string} own_id @returns {boolean} */
function isGuest(owner_id, own_id) {
  return owner_id !== undefined && owner_id !== own_id;
}

/** May this agent hold it, give it away and end it? @param {AgentState} state @returns {boolean} */
export function isOwner({ call, me }) {
  return call !== null && me !== null && !isGuest(call.agent_id, me.id);
}

/** @param {any} data @param {number} now_ms @returns {Reservation} */
function ringing(data, now_ms) {
  return { ...data, rings_ms: Math.max(1, data.expires_at_ms - now_ms) };
}

/** @param {AgentState} state @param {any} data @param {number} now_ms @returns {AgentState} */
function accepted(state, data, now_ms) {
  const { reservation } = state;
  if (!reservation || reservation.reservation_id !== data.reservation_id) return state;
  return { ...taken(state, reservation, now_ms), reservation: null, isAnswering: false };
}

/** The call that rang is this agent's now. @param {AgentState} state @param {Reservation} reservation @param {number} now_ms @returns {AgentState} */
function taken(state, reservation, now_ms) {
  const { call_id, queue_id, business_reference, customer, media, waited_ms } = reservation;
  const known = { call_id, queue_id, business_reference, customer, media };
  const call = callFrom({ ...known, state: "connecting", queued_at_ms: now_ms - waited_ms, agent_id: state.me?.id });
  return { ...state, call };
}

/** Somebody is in a call: whoever rang here for another's call is, too. @param {AgentState} state @param {any} data @param {number} now_ms @returns {AgentState} */
function partyAdded(state, data, now_ms) {
  const { reservation } = state;
  if (data.agent_id !== state.me?.id || reservation?.call_id !== data.call_id) return state;
  const { call } = taken(state, /** @type {Reservation} */ (reservation), now_ms);
  if (!call) return state;
  return { ...state, reservation: null, isAnswering: false, call: asGuest({ ...call, state: "connected", agent_id: "", script: data.script ?? null }) };
}

/** Our room has no place for a further agent: that one's sound and picture are another system's. @param {Call} call @returns {Call} */
function asGuest(call) {
  return { ...call, media: "external", room: null };
}

/** @param {AgentState} state @param {any} data @param {number} now_ms @returns {AgentState} */
function partyRemoved(state, data, now_ms) {
  return data.agent_id === state.me?.id ? leave(state, data, data.reason, now_ms) : state;
}

/** @param {AgentState} state @param {any} data @param {number} now_ms @returns {AgentState} */
function ownerMoved(state, data, now_ms) {
  if (data.from_agent_id === state.me?.id) return leave(state, data, data.reason, now_ms);
  if (data.to_agent_id !== state.me?.id) return state;
  const known = data.call ?? { ...state.call, call_id: data.call_id, state: "connected" };
  return { ...state, call: callFrom({ ...known, agent_id: data.to_agent_id }) };
}

/** @param {AgentState} state @param {any} data @param {number} now_ms @returns {AgentState} */
function closed(state, data, now_ms) {
  if (state.reservation?.reservation_id !== data.reservation_id) return state;
  return { ...state, reservation: null, isAnswering: false, notice: { family: "closed", reason: data.outcome, at_ms: now_ms } };
}

/** @param {AgentState} state @param {any} data @param {number} now_ms @returns {AgentState} */
function ended(state, data, now_ms) {
  return leave(state, data, data.reason, now_ms);
}

/** This agent is out of the call; what follows stands in the message. @param {AgentState} state @param {any} data @param {string} reason @param {number} now_ms @returns {AgentState} */
function leave(state, data, reason, now_ms) {
  if (!state.call || !isOurs(state, data)) return state;
  const { call_id, customer, queue_id, business_reference } = state.call;
  const talked_ms = data.talked_ms ?? (state.call.connected_at_ms ? Math.max(0, now_ms - state.call.connected_at_ms) : 0);
  const passed = [{ call_id, customer, queue_id, business_reference, talked_ms }, ...state.passed];
  const hasWrapUp = data.wrap_up === "timed" || data.wrap_up === "until_done";
  return {
    ...state,
    call: null,
    wrapUp: hasWrapUp ? { call_id, until_ms: data.wrap_up_until_ms, kind: data.wrap_up, since_ms: now_ms } : null,
    passed: passed.slice(0, PASSED_MAX),
    notice: { family: "agent_ended", reason, at_ms: now_ms },
  };
}

/** @param {AgentState} state @param {any} data @param {number} now_ms @returns {AgentState} */
function requeued(state, data, now_ms) {
  if (!isOurs(state, data)) return state;
  return { ...state, call: null, notice: { family: "closed", reason: "requeued", at_ms: now_ms } };
}

/** @param {AgentState} state @param {any} data @returns {AgentState} */
function extended(state, data) {
  const { wrapUp } = state;
  if (!wrapUp || wrapUp.call_id !== data.call_id) return state;
  return { ...state, wrapUp: { ...wrapUp, until_ms: data.until_ms } };
}

/** @param {AgentState} state @param {any} data @returns {boolean} */
function isOurs(state, data) {
  return state.call?.call_id === data.call_id;
}
