// @ts-check
/**
 * The agent desktop: say that you are ready, take what rings, talk, finish your notes.
 *
 * Theory: messages and clicks become actions; `agent_state.js` makes the next state; `drawAgent` shows it and `perform` makes the
 * world outside follow: the room that the call has, the camera while it is needed, the ring tone.
 * Not here: drawing (`agent_view.js`, `stage.js`).
 */

import { FIRST, isOwner, phaseOf, reduce } from "./agent_state.js";
import { drawAgent, tickAgent } from "./agent_view.js";
import { readQueues } from "./bank.js";
import { roomOf } from "./call_state.js";
import { Client, Refused } from "./client.js";
import { closeDevices, DeviceError, openDevices } from "./devices.js";
import { rememberToken, takeToken } from "./identity.js";
import { at, makeStore, notify, startPage, startSignIn, stayAwake } from "./page.js";
import { Room } from "./room.js";
import { Stage } from "./stage.js";
import { Tone } from "./tone.js";
import { drawScript } from "./script.js";
import { say, sayReason } from "./words.js";

const HALL_REFRESH_MS = 5_000;
const TICK_MS = 200;
const EXTENSION_MS = 30_000;

/** @type {Client | null} */
let client = null;
let token = "";
let hallTimer = 0;
let areDevicesChecked = false;

const store = makeStore(reduce, FIRST, redraw);
const tone = new Tone();
const room = new Room({ ask, onChange: redraw, now });
const stage = new Stage(room, (call_id, stats) => ask("rtc.stats", { call_id, stats }).catch(() => undefined));

/** @param {string} type @param {Record<string, unknown>} data @returns {Promise<any>} */
function ask(type, data) {
  return client ? client.ask(type, data) : Promise.reject(new Refused("offline"));
}

function redraw() {
  const state = store.state();
  drawAgent(state, now());
  stage.draw(state.call, state.call?.customer || say("agent.customer"));
  drawScript(state.call, null);
  perform(state);
}

/** @returns {number} */
function now() {
  return client?.now() ?? Date.now();
}

/** Make the world follow the state; saying the same twice changes nothing. @param {import("./agent_state.js").AgentState} state */
function perform(state) {
  const phase = phaseOf(state);
  const isLive = state.call !== null && state.call.media !== "external" && phase !== "stopped";
  if (isLive) room.want(roomOf(state.call));
  if (isLive && !room.localStream && !room.fault) room.prepare();
  if (!isLive && (room.localStream || room.wanted || room.fault)) room.release();
  tone.ring(phase === "ringing" && !state.isAnswering);
  stayAwake(phase !== "signed_out" && phase !== "stopped");
}

/** @param {string} given */
function signIn(given) {
  token = given;
  rememberToken("agent", token);
  client?.close();
  client = new Client({ token, role: "agent", onLink, onMessage });
  client.open();
}

/** @param {import("./client.js").Link} link */
function onLink(link) {
  if (link.state === "sign_in") rememberToken("agent", (token = ""));
  store.take({ type: "link", link });
  if (link.state === "online") refreshHall();
}

/** @param {import("./client.js").Message} message */
function onMessage(message) {
  room.heed(message);
  store.take({ type: "message", message, now_ms: now() });
}

/** The names of the queues are needed at once, their figures while somebody looks at them. */
async function refreshHall() {
  window.clearTimeout(hallTimer);
  const isIdle = ["ready", "not_ready", "offline"].includes(phaseOf(store.state()));
  const isLookedAt = isIdle && document.visibilityState === "visible";
  if (token && (isLookedAt || !store.state().queues)) {
    const queues = await readQueues(token);
    if (queues) store.take({ type: "queues", queues });
  }
  hallTimer = window.setTimeout(refreshHall, HALL_REFRESH_MS);
}

/**
 * Ask and tell the agent if it was refused.
 * @param {string} type
 * @param {Record<string, unknown>} data
 * @returns {Promise<string>} the reason of a refusal, or empty
 */
async function wish(type, data) {
  try {
    await ask(type, data);
    return "";
  } catch (error) {
    const reason = error instanceof Refused ? error.reason : "internal";
    notify(sayReason("refused", reason), "warning");
    return reason;
  }
}

/** @param {string} activity @param {string} [reason] */
async function setActivity(activity, reason = "") {
  if (activity === "ready") checkDevices();
  await wish("agent.state", { activity, reason });
}

/** Once, before the first call: better to learn now that the camera is blocked than while a customer looks at a black picture. */
async function checkDevices() {
  if (areDevicesChecked || room.localStream) return;
  areDevicesChecked = true;
  try {
    closeDevices(await openDevices());
  } catch (error) {
    areDevicesChecked = false;
    const fault = error instanceof DeviceError ? error.fault : "failed";
    notify(say("agent.camera_warning") + say(`media.${fault}`), "warning");
  }
}

/** @param {"reservation.accept" | "reservation.decline"} type */
async function answer(type) {
  const { reservation, isAnswering } = store.state();
  if (!reservation || isAnswering) return;
  store.take({ type: "answering" });
  const reason = await wish(type, { reservation_id: reservation.reservation_id });
  if (reason) store.take({ type: "answer_refused", reason });
}

/** @param {string} type @param {Record<string, unknown>} [more] */
function wishForCall(type, more = {}) {
  const { call, wrapUp } = store.state();
  const call_id = call?.call_id ?? wrapUp?.call_id;
  if (call_id) wish(type, { call_id, ...more });
}

function transfer() {
  const to_queue_id = /** @type {HTMLSelectElement} */ (at("transfer-queue")).value;
  if (to_queue_id) wishForCall("call.transfer", { to_queue_id });
}

const ANSWERS_MAX = 8;
const ANSWER_LENGTH_MAX = 64;

/** What the agent has written, word for word; a bank's own desk would take it from its catalogue, with an id. @param {SubmitEvent} event */
async function showStep(event) {
  event.preventDefault();
  /** @type {HTMLInputElement} */
  const field = at("script-say");
  const written = field.value;
  const text = oneLine(written);
  const answers = [...new Set(/** @type {HTMLInputElement} */ (at("script-may")).value.split(/[,，、]/).map(oneLine).filter(Boolean))];
  const call_id = store.state().call?.call_id;
  if (!call_id || !text) return;
  if (answers.length > ANSWERS_MAX || answers.some((one) => one.length > ANSWER_LENGTH_MAX)) {
    notify(say("script.answers_bound", { count: ANSWERS_MAX, length: ANSWER_LENGTH_MAX }), "warning");
    return;
  }
  const reason = await wish("script.step", { call_id, step_id: "written", text, answers });
  if (!reason && field.value === written) field.value = "";
}

/** What was pasted may have tabs and breaks. @param {string} text @returns {string} */
function oneLine(text) {
  return text.trim().replace(/\s+/g, " ");
}

async function signOut() {
  await wish("agent.state", { activity: "offline" });
  client?.close();
  client = null;
  token = "";
  rememberToken("agent", "");
  store.take({ type: "signed_out" });
}

function startButtons() {
  at("ready").addEventListener("click", () => {
    const isReady = store.state().activity === "ready";
    setActivity(isReady ? "not_ready" : "ready", isReady ? "other" : "");
  });
  at("reasons").addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest("button") : null;
    if (button?.dataset.reason) setActivity("not_ready", button.dataset.reason);
  });
  at("accept").addEventListener("click", () => answer("reservation.accept"));
  at("decline").addEventListener("click", () => answer("reservation.decline"));
  // A further agent ends no call of others, but leaves it.
  at("hang-up").addEventListener("click", () => wishForCall(isOwner(store.state()) ? "call.hang_up" : "party.remove"));
  at("hold").addEventListener("click", () => wishForCall("call.hold", { is_held: !store.state().call?.on_hold_until_ms }));
  at("transfer").addEventListener("click", transfer);
  at("script-form").addEventListener("submit", showStep);
  at("external-go").addEventListener("click", () => wishForCall("call.connected"));
  at("done").addEventListener("click", () => wishForCall("wrapup.done"));
  at("extend").addEventListener("click", () => wishForCall("wrapup.extend", { extra_ms: EXTENSION_MS }));
  at("sign-out").addEventListener("click", signOut);
  at("continue").addEventListener("click", () => signIn(token));
}

function startTone() {
  /** @type {HTMLInputElement} */
  const box = at("tone");
  box.checked = tone.isOn;
  box.addEventListener("change", () => tone.turn(box.checked));
}

startPage(redraw);
startSignIn(signIn);
startButtons();
startTone();
window.setInterval(() => {
  tickAgent(store.state(), now());
  stage.tick(now());
}, TICK_MS);

redraw();
const given = takeToken("agent");
if (given) signIn(given);
