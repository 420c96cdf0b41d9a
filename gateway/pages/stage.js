// @ts-check
/**
 * The stage of a call on both pages: the two pictures, the switches below them, and what there is to say about the line.
 *
 * Rules: the stage draws what the room and the call are; it decides nothing. Its markup is the same on both pages.
 * Theory: each `SAMPLE_MS` the peer connection's numbers are read once and serve the hint on the screen and, more
 * rarely, the bank's own measures. `window.tellerhall.stats()` gives the same numbers to tests and support.
 */

import { at, notify, write } from "./page.js";
import { judge, readStats } from "./quality.js";
import { clock, say } from "./words.js";

const SAMPLE_MS = 2_000;
/** How many samples pass between two reports to the bank. */
const REPORT_EVERY = 5;

/** @typedef {import("./room.js").Room} Room */
/** @typedef {import("./call_state.js").Call} Call */

export class Stage {
  /** @param {Room} room @param {(call_id: string, stats: import("./quality.js").Reading) => void} report */
  constructor(room, report) {
    this.room = room;
    this.report = report;
    /** @type {Call | null} */
    this.call = null;
    this.samples = 0;
    /** @type {import("./quality.js").Reading | null} */
    this.before = null;
    at("mute").addEventListener("click", () => room.mute(!room.isMuted));
    at("camera").addEventListener("click", () => room.darken(!room.isCameraOff));
    at("media-retry").addEventListener("click", () => room.retry());
    at("play").addEventListener("click", () => this.#play());
    window.setInterval(() => this.#sample(), SAMPLE_MS);
    Object.assign(window, { tellerhall: Object.freeze({ stats: () => readStats(room.peer) }) });
  }

  /** @param {Call | null} call @param {string} other  how the other party is called */
  draw(call, other) {
    this.call = call;
    const { room } = this;
    document.body.dataset.media = room.phase;
    const isHeld = Boolean(call?.on_hold_until_ms);
    room.hold(isHeld);
    /** @type {HTMLVideoElement} */ (at("remote")).muted = isHeld;
    show("local", room.localStream);
    at("self").hidden = !room.localStream;
    for (const id of ["mute", "camera"]) at(id).hidden = call?.media === "external";
    if (show("remote", room.remoteStream)) this.#play();
    at("local").classList.toggle("is-dark", room.isCameraOff);
    drawSwitch("mute", room.isMuted, "mic", room.isMuted ? "call.unmute" : "call.mute");
    drawSwitch("camera", room.isCameraOff, "camera", room.isCameraOff ? "call.camera_on" : "call.camera_off");
    at("self-muted").hidden = !room.isMuted;
    drawRecording(call);
    this.#drawVeil(call, other);
  }

  /** What lies over the picture while there is none. @param {Call | null} call @param {string} other */
  #drawVeil(call, other) {
    const { phase, fault } = this.room;
    const text = fault || (call ? veilOf(call, phase) : "");
    at("veil").hidden = !text;
    at("veil").dataset.tone = fault || text === "lost" || text === "external" || text === "on_hold" ? "still" : "busy";
    write("veil-text", text ? say(`media.${text}`, { name: other }) : "");
    at("media-retry").hidden = !fault && phase !== "failed";
    if (phase !== "connected") at("quality").hidden = true;
  }

  /** Draw what changes by itself. @param {number} now_ms  the server's clock */
  tick(now_ms) {
    const since = this.call?.connected_at_ms;
    write("duration", since ? clock(now_ms - since) : "");
  }

  /** A browser may refuse sound until a person has touched the page, above all after a reload. */
  async #play() {
    /** @type {HTMLVideoElement} */
    const remote = at("remote");
    try {
      await remote.play();
      at("play").hidden = true;
    } catch (error) {
      if (error instanceof Error && error.name === "NotAllowedError") at("play").hidden = false;
    }
  }

  async #sample() {
    const { room, call } = this;
    if (room.phase !== "connected" || !call) {
      this.before = null;
      return;
    }
    const now = await readStats(room.peer);
    if (this.before && room.phase === "connected") {
      const verdict = judge(this.before, now);
      at("quality").hidden = false;
      at("quality").dataset.verdict = verdict;
      write("quality-text", say(`quality.${verdict}`));
    }
    this.before = now;
    this.samples += 1;
    if (this.samples % REPORT_EVERY === 0) this.report(call.call_id, now);
  }
}

/**
 * Why there is no picture of the other party: the last part of a `media.` key, or empty while there is one.
 * @param {Call} call
 * @param {import("./room.js").Phase} phase
 * @returns {string}
 */
function veilOf(call, phase) {
  const isLive = call.state === "connecting" || call.state === "connected";
  if (!isLive) return "";
  if (call.on_hold_until_ms) return "on_hold";
  if (call.media === "external") return "external";
  if (phase === "failed") return "lost";
  if (phase === "connected") return call.is_other_away ? "peer_away" : call.state === "connected" ? "" : "waiting";
  return phase === "reconnecting" || call.connected_at_ms ? "reconnecting" : "connecting";
}

/** @param {string} id @param {MediaStream | null} stream @returns {boolean} whether another picture was put there */
function show(id, stream) {
  /** @type {HTMLVideoElement} */
  const video = at(id);
  if (video.srcObject === stream) return false;
  video.srcObject = stream;
  return stream !== null;
}

/** @param {string} id @param {boolean} isOff @param {string} icon @param {string} label */
function drawSwitch(id, isOff, icon, label) {
  const button = at(id);
  button.setAttribute("aria-pressed", String(isOff));
  button.setAttribute("aria-label", say(label));
  button.setAttribute("title", say(label));
  button.querySelector("use")?.setAttribute("href", `/pages/icons.svg#${icon}${isOff ? "-off" : ""}`);
}

/** @param {Call | null} call */
function drawRecording(call) {
  const isRecording = call?.is_recording ?? false;
  at("recording").dataset.on = String(isRecording);
  write("recording-text", say(isRecording ? "call.recording" : "call.not_recording"));
}

/** Tell a person why the devices cannot be had. @param {string} fault */
export function notifyFault(fault) {
  if (fault) notify(say(`media.${fault}`), "warning");
}
