// @ts-check
/**
 * The customer page's one state, and what each thing that happens does to it. Pure.
 *
 * Theory: `phaseOf(state)` names what is shown; the page draws from state and phase alone, so a snapshot after a reload
 * draws the very page that was there before.
 */

import { callFrom, reduceCall } from "./call_state.js";

/** @typedef {import("./call_state.js").Call} Call */
/** @typedef {import("./bank.js").Queue} Queue */
/** @typedef {{reason: string, waited_ms: number, talked_ms: number, queue_id: string, business_reference: string}} Ended */
/** @typedef {"signed_out" | "joining" | "choosing" | "requesting" | "waiting" | "ringing" | "connecting" | "connected" | "ended" | "stopped"} Phase */

/**
 * @typedef {object} CustomerState
 * @property {import("./client.js").Link} link
 * @property {boolean} hasSession  a snapshot has come, so it is known whether there is a call
 * @property {Queue[] | null} queues  null: not read yet
 * @property {boolean} isRequesting
 * @property {Call | null} call
 * @property {Ended | null} ended
 */

/**
 * @typedef {{type: "link", link: import("./client.js").Link}
 *   | {type: "message", message: import("./client.js").Message}
 *   | {type: "queues", queues: Queue[]}
 *   | {type: "request"} | {type: "refused"} | {type: "again"} | {type: "signed_out"}} Action
 */

/** @type {Readonly<CustomerState>} */
export const FIRST = {
  link: { state: "sign_in", why: "" },
  hasSession: false,
  queues: null,
  isRequesting: false,
  call: null,
  ended: null,
};

/** @type {Record<string, Phase>} */
const PHASE_BY_CALL_STATE = {
  waiting: "waiting",
  reserved: "ringing",
  connecting: "connecting",
  connected: "connected",
};

/** @param {CustomerState} state @returns {Phase} */
export function phaseOf(state) {
  if (state.link.state === "sign_in") return "signed_out";
  if (state.link.state === "stopped") return "stopped";
  if (state.ended) return "ended";
  if (state.call) return PHASE_BY_CALL_STATE[state.call.state] ?? "waiting";
  if (!state.hasSession || !state.queues) return "joining";
  return state.isRequesting ? "requesting" : "choosing";
}

/** @param {CustomerState} state @param {Action} action @returns {CustomerState} */
export function reduce(state, action) {
  switch (action.type) {
    case "link":
      return { ...state, link: action.link };
    case "message":
      return reduceMessage(state, action.message);
    case "queues":
      return { ...state, queues: action.queues };
    case "request":
      return { ...state, isRequesting: true };
    case "refused":
      return { ...state, isRequesting: false };
    case "again":
      return { ...state, ended: null };
    case "signed_out":
      return FIRST;
  }
}

/** @param {CustomerState} state @param {import("./client.js").Message} message @returns {CustomerState} */
function reduceMessage(state, message) {
  const { type, data } = message;
  if (type === "session.welcome" || type === "session.reset") return reduceSnapshot(state, data.session);
  if (type === "call.queued") return { ...state, isRequesting: false, ended: null, call: callFrom(data) };
  if (type === "invitation.accepted") return { ...state, ended: null, call: callFrom(data) };
  if (!state.call || data.call_id !== state.call.call_id) return state;
  if (type === "call.ended") return { ...state, call: null, ended: endedOf(state.call, data) };
  const call = reduceCall(state.call, message, "customer");
  return call === state.call ? state : { ...state, call };
}

/**
 * The snapshot is the truth: a call we knew and it does not is over, whatever ended it.
 * @param {CustomerState} state
 * @param {{call: Partial<Call> | null}} session
 * @returns {CustomerState}
 */
function reduceSnapshot(state, session) {
  const isLive = session.call !== null && session.call.state !== "ended";
  const call = isLive && session.call ? callFrom(session.call) : null;
  const known = { ...state, hasSession: true, isRequesting: state.isRequesting && !call, call };
  if (call) return { ...known, ended: null };
  return state.call ? { ...known, ended: endedOf(state.call, { reason: "unknown", waited_ms: 0, talked_ms: 0 }) } : known;
}

/** @param {Call} call @param {any} data @returns {Ended} */
function endedOf(call, { reason, waited_ms, talked_ms }) {
  const hasLeftLine = reason === "customer_hung_up" && !talked_ms;
  const { queue_id, business_reference } = call;
  return { reason: hasLeftLine ? "left" : reason, waited_ms, talked_ms, queue_id, business_reference };
}
