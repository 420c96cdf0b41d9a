// @ts-check
/**
 * A live call as a client knows it, and what each message of the server does to it. Pure: no document, no clock.
 *
 * Rules: a message about another call than ours changes nothing; a late one is normal. States are the server's own:
 * waiting, reserved, connecting, connected. The end of a call is the page's matter, since each role ends it differently.
 */

/**
 * @typedef {object} Call
 * @property {string} call_id
 * @property {string} state
 * @property {string} queue_id
 * @property {number} queued_at_ms
 * @property {string} business_reference
 * @property {{attempt: number, is_open: boolean} | null} room
 * @property {string} media  `room`, or `external`: another system carries it
 * @property {boolean} is_recording
 * @property {boolean} is_other_away  the other party was there and has dropped out
 * @property {number} position  0: not known
 * @property {number | null} estimate_ms
 * @property {string} agent_name
 * @property {string} customer  masked; known to agents only
 * @property {number} connected_at_ms  0: not yet
 * @property {boolean} is_back  returned to its old place after an agent did not take it
 * @property {number} on_hold_until_ms  0: not on hold
 * @property {string} agent_id  who owns it; known to agents only
 * @property {Script | null} script  what the customer is shown
 */

/**
 * @typedef {object} Script
 * @property {number} number
 * @property {string} step_id
 * @property {string} text
 * @property {string[]} answers
 * @property {string} [answer]
 */

/** @type {Readonly<Call>} */
const BLANK = Object.freeze({
  call_id: "",
  state: "waiting",
  queue_id: "",
  queued_at_ms: 0,
  business_reference: "",
  room: null,
  media: "",
  is_recording: false,
  is_other_away: false,
  position: 0,
  estimate_ms: null,
  agent_name: "",
  customer: "",
  connected_at_ms: 0,
  is_back: false,
  on_hold_until_ms: 0,
  agent_id: "",
  script: null,
});

/** @param {Partial<Call>} known  a snapshot's call, or the first facts of a new one @returns {Call} */
export function callFrom(known) {
  return { ...BLANK, ...known };
}

/** @type {Record<string, (call: Call, data: any, at_ms: number) => Partial<Call>>} */
const CHANGES = {
  "call.ringing": () => ({ state: "reserved", is_back: false }),
  "call.waiting": () => ({ state: "waiting", is_back: true, ...LEFT_ROOM }),
  "call.moved": (_call, data) => ({ queue_id: data.queue_id, position: 0 }),
  "call.matched": (_call, data) => ({ state: "connecting", agent_name: data.agent_name }),
  "call.hold": (_call, data) => ({ on_hold_until_ms: data.is_held ? data.until_ms : 0 }),
  "script.step": (_call, { number, step_id, text, answers }) => ({ script: { number, step_id, text, answers } }),
  "script.answer": (call, data) => (call.script && call.script.number === data.number ? { script: { ...call.script, answer: data.answer } } : {}),
  "call.owner": (call, data) => ({ agent_name: data.agent_name ?? call.agent_name, on_hold_until_ms: 0 }),
  "call.transferred": (_call, { queue_id, queued_at_ms }) => ({ state: "waiting", is_back: false, queue_id, queued_at_ms, position: 0, ...LEFT_ROOM }),
  "call.connected": (_call, _data, at_ms) => ({ state: "connected", connected_at_ms: at_ms }),
  "queue.update": (_call, data) => ({ position: data.position, estimate_ms: data.estimate_ms }),
  "rtc.room": (call, data) => (data.attempt < (call.room?.attempt ?? 0) ? {} : { room: openRoom(data.attempt) }),
  "rtc.room_lost": (call, data) => (data.attempt < (call.room?.attempt ?? 0) ? {} : { room: null, is_recording: false }),
};

const LEFT_ROOM = { room: null, is_recording: false, is_other_away: false, agent_name: "", connected_at_ms: 0, on_hold_until_ms: 0, script: null };

/** @param {number} attempt */
function openRoom(attempt) {
  return { attempt, is_open: true };
}

/**
 * The call after a message; the very same object where nothing changed.
 * @param {Call} call
 * @param {import("./client.js").Message} message
 * @param {"customer" | "agent"} ownParty
 * @returns {Call}
 */
export function reduceCall(call, { type, data, at_ms }, ownParty) {
  if (data.call_id !== call.call_id) return call;
  if (type === "call.party") return data.party === ownParty ? call : { ...call, is_other_away: !data.is_joined };
  if (type === "record.state") return reduceRecording(call, data.state);
  const change = CHANGES[type];
  return change ? { ...call, ...change(call, data, at_ms ?? 0) } : call;
}

/** @param {Call} call @param {string} state @returns {Call} */
function reduceRecording(call, state) {
  if (state === "started") return { ...call, is_recording: true };
  return state === "failed" ? { ...call, is_recording: false } : call;
}

/** The room to be in for this call, or null. @param {Call | null} call @returns {import("./room.js").Wanted | null} */
export function roomOf(call) {
  return call?.room?.is_open ? { call_id: call.call_id, attempt: call.room.attempt } : null;
}
