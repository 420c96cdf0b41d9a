// @ts-check
/**
 * The customer page: choose a business, wait, talk, part.
 *
 * Theory: messages and clicks become actions; `customer_state.js` makes the next state; `draw` shows it and `perform`
 * makes the world outside follow: the room that the call has, the camera while it is needed, a screen that stays awake.
 * Not here: drawing (`customer_view.js`, `stage.js`).
 */

import { queueOf, readQueues } from "./bank.js";
import { roomOf } from "./call_state.js";
import { Client, Refused } from "./client.js";
import { FIRST, phaseOf, reduce } from "./customer_state.js";
import { drawCustomer, tickCustomer } from "./customer_view.js";
import { rememberToken, takeToken } from "./identity.js";
import { at, makeStore, notify, startPage, startSignIn, stayAwake } from "./page.js";
import { Room } from "./room.js";
import { notifyFault, Stage } from "./stage.js";
import { drawScript } from "./script.js";
import { sayReason } from "./words.js";

const QUEUES_REFRESH_MS = 15_000;
const QUEUES_RETRY_MS = 2_000;
const TICK_MS = 500;

/** @type {Client | null} */
let client = null;
let token = "";
let queuesTimer = 0;

const store = makeStore(reduce, FIRST, redraw);
const room = new Room({ ask, onChange: redraw, now });
const stage = new Stage(room, (call_id, stats) => ask("rtc.stats", { call_id, stats }).catch(() => undefined));

/** @param {string} type @param {Record<string, unknown>} data @returns {Promise<any>} */
function ask(type, data) {
  return client ? client.ask(type, data) : Promise.reject(new Refused("offline"));
}

function redraw() {
  const state = store.state();
  drawCustomer(state, now());
  stage.draw(state.call, state.call?.agent_name ?? "");
  drawScript(state.call, answer);
  perform(state);
}

/** @returns {number} */
function now() {
  return client?.now() ?? Date.now();
}

/** Make the world follow the state; saying the same twice changes nothing. @param {import("./customer_state.js").CustomerState} state */
function perform(state) {
  const phase = phaseOf(state);
  const isLive = state.call !== null && phase !== "stopped";
  const needsCamera = (isLive && state.call?.media !== "external") || phase === "requesting";
  if (isLive) room.want(roomOf(state.call));
  if (needsCamera && isLive && !room.localStream && !room.fault) room.prepare();
  if (!needsCamera && (room.localStream || room.wanted)) room.release();
  stayAwake(isLive);
}

/** @param {string} given */
function signIn(given) {
  token = given;
  rememberToken("customer", token);
  client?.close();
  client = new Client({ token, role: "customer", onLink, onMessage });
  client.open();
}

/** @param {import("./client.js").Link} link */
function onLink(link) {
  if (link.state === "sign_in") rememberToken("customer", (token = ""));
  store.take({ type: "link", link });
  if (link.state === "online") refreshQueues();
}

/** @param {import("./client.js").Message} message */
function onMessage(message) {
  room.heed(message);
  store.take({ type: "message", message });
}

/** The list is read anew while somebody looks at it, since it shows how many wait. */
async function refreshQueues() {
  window.clearTimeout(queuesTimer);
  const { queues } = store.state();
  const isLookedAt = !queues || (phaseOf(store.state()) === "choosing" && document.visibilityState === "visible");
  const fresh = isLookedAt && token ? await readQueues(token) : null;
  if (fresh) store.take({ type: "queues", queues: fresh });
  const isKnown = store.state().queues !== null;
  queuesTimer = window.setTimeout(refreshQueues, isKnown ? QUEUES_REFRESH_MS : QUEUES_RETRY_MS);
}

/** The camera comes first: nobody shall wait in a line and then find that it is blocked. @param {SubmitEvent} event */
async function request(event) {
  event.preventDefault();
  const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
  const queue_id = String(form.get("queue") ?? "");
  if (phaseOf(store.state()) !== "choosing" || !queueOf(store.state().queues, queue_id)) return;
  notify("");
  store.take({ type: "request" });
  if (!(await room.prepare())) {
    notifyFault(room.fault);
    return store.take({ type: "refused" });
  }
  try {
    await ask("call.request", { queue_id, is_consented: true, ...details() });
  } catch (error) {
    tell(error);
    store.take({ type: "refused" });
  }
}

/** @returns {Record<string, string>} what the person wrote, if anything */
function details() {
  const read = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (at(id)).value.trim();
  return { display_name: read("display-name"), business_reference: read("business-reference") };
}

async function hangUp() {
  const { call } = store.state();
  if (!call) return;
  try {
    await ask("call.hang_up", { call_id: call.call_id });
  } catch (error) {
    tell(error);
  }
}

/** @param {number} number @param {string} given */
async function answer(number, given) {
  const { call } = store.state();
  if (!call) return;
  try {
    await ask("script.answer", { call_id: call.call_id, number, answer: given });
  } catch (error) {
    tell(error);
  }
}

/** @param {unknown} error */
function tell(error) {
  notify(sayReason("refused", error instanceof Refused ? error.reason : "internal"), "warning");
}

startPage(redraw);
startSignIn(signIn);
at("request-form").addEventListener("submit", request);
at("hang-up").addEventListener("click", hangUp);
at("cancel").addEventListener("click", hangUp);
at("again").addEventListener("click", () => {
  // Consent is given for one call and no more.
  /** @type {HTMLFormElement} */ (at("request-form")).reset();
  store.take({ type: "again" });
  refreshQueues();
});
at("continue").addEventListener("click", () => signIn(token));
document.addEventListener("visibilitychange", redraw);
window.setInterval(() => {
  tickCustomer(store.state(), now());
  stage.tick(now());
}, TICK_MS);

redraw();
const given = takeToken("customer");
if (given) signIn(given);
