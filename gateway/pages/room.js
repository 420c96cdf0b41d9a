// @ts-check
/**
 * The room as this page's party sees it: own picture and sound out, the other party's in.
 *
 * Rules: the page says which room it wants (`want`), again and again if it likes, and the room makes it so; the page never
 * gives orders about single connections. A lost connection, a changed network and a newer attempt are all the same
 * thing: a new peer connection with a new offer, since the newest offer of a party counts. Trying again is bounded.
 * Theory: `phase` goes idle -> opening -> connected, from there to reconnecting and back, or to failed. Each
 * peer connection carries the number of its round; whatever arrives from an older round is dropped. The old
 * connection lives until the new one has its answer, so the last picture stays on the screen. The offer leaves before any
 * address is gathered; the addresses follow it (trickle ICE), and where they are lost the worker finds us by our checks.
 * Not here: the devices (`devices.js`), the protocol's link (`client.js`), reading numbers (`quality.js`).
 */

import { closeDevices, DeviceError, openDevices } from "./devices.js";
import { Refused } from "./client.js";

const CONNECTING_TIMEOUT_MS = 10_000;
/** A `disconnected` connection often heals by itself; one that does not is replaced. */
const DISCONNECTED_GRACE_MS = 3_000;
/** Rounds in a row without a picture, before a person is asked; the waits between them are below. */
const ROUNDS_MAX = 7;
const BACKOFF_MS = [0, 500, 1_000, 2_000, 4_000, 8_000, 8_000];
/** Credentials for TURN that end sooner are renewed before they are used. */
const CREDENTIALS_LEFT_MS = 60_000;
/** A connection that held so long was a good one: the next loss starts with a full number of rounds. */
const STABLE_MS = 10_000;
/** Refusals that another offer for the same attempt cannot mend: a new `rtc.room` or the call's end follows. */
const FINAL_REFUSALS = new Set(["stale_attempt", "unknown_call", "not_yours", "unknown_party", "wrong_state"]);

/** @typedef {{call_id: string, attempt: number}} Wanted */
/** @typedef {import("./client.js").Message} Message */
/** @typedef {"idle" | "opening" | "connected" | "reconnecting" | "failed"} Phase */

export class Room {
  /**
   * @param {object} options
   * @param {(type: string, data: Record<string, unknown>) => Promise<any>} options.ask  puts a question to the server
   * @param {() => void} options.onChange  something that shows has changed: phase, fault, streams
   * @param {() => number} [options.now]  the server's clock, ms: `client.now()`
   */
  constructor({ ask, onChange, now = Date.now }) {
    this.ask = ask;
    this.onChange = onChange;
    this.now = now;
    /** Only what the server says, never a browser's or a public default. @type {RTCConfiguration} */
    this.configuration = { iceServers: [] };
    this.credentialsUntilMs = 0;
    /** @type {Wanted | null} */
    this.wanted = null;
    /** @type {Phase} */
    this.phase = "idle";
    this.fault = "";
    /** @type {MediaStream | null} */
    this.localStream = null;
    /** @type {MediaStream | null} */
    this.remoteStream = null;
    this.isMuted = false;
    this.isCameraOff = false;
    this.isHeld = false;
    /** @type {RTCPeerConnection | null} */
    this.peer = null;
    this.round = 0;
    this.failures = 0;
    this.connectedAt = 0;
    this.timer = 0;
    /** @type {Promise<void> | null} */
    this.opening = null;
    window.addEventListener("online", () => this.#networkChanged());
  }

  /**
   * Open camera and microphone unless they are open; two callers at once share one question to the person.
   * @returns {Promise<boolean>} false: `fault` says why
   */
  async prepare() {
    if (this.localStream) return true;
    this.opening ??= this.#openDevices().finally(() => (this.opening = null));
    await this.opening;
    return this.localStream !== null;
  }

  async #openDevices() {
    this.fault = "";
    try {
      this.localStream = await openDevices();
      for (const track of this.localStream.getTracks()) track.onended = () => this.#deviceGone();
      this.#applySwitches();
    } catch (error) {
      this.fault = error instanceof DeviceError ? error.fault : "failed";
    }
    this.onChange();
  }

  /** Unplugged, or taken back by the person: what was open is worth nothing now. */
  #deviceGone() {
    closeDevices(this.localStream);
    this.localStream = null;
    this.fault = "missing";
    this.onChange();
  }

  /** Give camera and microphone back, and leave the room if there is one. */
  release() {
    this.want(null);
    closeDevices(this.localStream);
    this.localStream = null;
    this.fault = "";
    this.isMuted = this.isCameraOff = this.isHeld = false;
    this.onChange();
  }

  /** Take what any message says of rooms: ICE servers, or that our media do not arrive. @param {Message} message */
  heed({ type, data }) {
    if (data.ice_servers) this.#configure(data);
    const isOurs = data.call_id === this.wanted?.call_id && data.attempt === this.wanted?.attempt;
    // While a round is under way, its own end decides.
    if (type === "rtc.restart" && isOurs && this.phase === "connected") this.#start("reconnecting");
  }

  /** @param {{ice_servers: RTCIceServer[], ice_transport_policy: RTCIceTransportPolicy, ice_until_ms: number}} told */
  #configure({ ice_servers, ice_transport_policy, ice_until_ms }) {
    this.configuration = { iceServers: ice_servers, iceTransportPolicy: ice_transport_policy };
    this.credentialsUntilMs = ice_until_ms;
  }

  /** Be in this room and in no other. Saying the same again changes nothing. @param {Wanted | null} wanted */
  want(wanted) {
    const isSame = wanted?.call_id === this.wanted?.call_id && wanted?.attempt === this.wanted?.attempt;
    if (isSame) return;
    const isOtherCall = wanted?.call_id !== this.wanted?.call_id;
    this.wanted = wanted;
    this.failures = 0;
    if (isOtherCall) this.#leave();
    if (wanted) this.#start(this.peer ? "reconnecting" : "opening");
  }

  /** A person asks for another try, after `failed` or after a fault of the devices. */
  retry() {
    this.failures = 0;
    if (this.wanted) this.#start("reconnecting");
    else this.prepare();
  }

  /** @param {boolean} isMuted */
  mute(isMuted) {
    this.isMuted = isMuted;
    this.#applySwitches();
    this.onChange();
  }

  /** @param {boolean} isCameraOff */
  darken(isCameraOff) {
    this.isCameraOff = isCameraOff;
    this.#applySwitches();
    this.onChange();
  }

  /** While on hold nothing is heard or seen, whatever the switches say. @param {boolean} isHeld */
  hold(isHeld) {
    if (isHeld === this.isHeld) return;
    this.isHeld = isHeld;
    this.#applySwitches();
  }

  #applySwitches() {
    for (const track of this.localStream?.getAudioTracks() ?? []) track.enabled = !this.isMuted && !this.isHeld;
    for (const track of this.localStream?.getVideoTracks() ?? []) track.enabled = !this.isCameraOff && !this.isHeld;
  }

  #leave() {
    window.clearTimeout(this.timer);
    this.round += 1;
    this.peer?.close();
    this.peer = null;
    this.remoteStream = null;
    this.#become("idle");
  }

  /** @param {Phase} phase */
  #become(phase) {
    this.phase = phase;
    this.onChange();
  }

  /** Begin a new round now. @param {Phase} phase */
  async #start(phase) {
    window.clearTimeout(this.timer);
    const round = ++this.round;
    this.#become(phase);
    if (!(await this.prepare()) || round !== this.round || !this.wanted || !this.localStream) return;
    this.timer = window.setTimeout(() => this.#failed(round), CONNECTING_TIMEOUT_MS);
    try {
      await this.#negotiate(round, this.wanted, this.localStream);
    } catch (error) {
      if (error instanceof Refused && FINAL_REFUSALS.has(error.reason)) window.clearTimeout(this.timer);
      else this.#failed(round);
    }
  }

  /** @param {number} round @param {Wanted} wanted @param {MediaStream} localStream */
  async #negotiate(round, wanted, localStream) {
    if (this.credentialsUntilMs && this.credentialsUntilMs - this.now() < CREDENTIALS_LEFT_MS) {
      this.#configure(await this.ask("rtc.config", {}));
      if (round !== this.round) return;
    }
    const peer = this.#makePeer(round, localStream);
    const trickle = this.#trickle(peer, wanted);
    try {
      await peer.setLocalDescription(await peer.createOffer());
      this.#heedGoodbye(round, peer);
      const answer = await this.ask("rtc.sdp_offer", { ...wanted, sdp: peer.localDescription?.sdp });
      if (round !== this.round) return peer.close();
      await peer.setRemoteDescription({ type: "answer", sdp: answer.sdp_answer });
      trickle();
      this.peer?.close();
      this.peer = peer;
    } catch (error) {
      peer.close();
      throw error;
    }
  }

  /**
   * Tell the worker our addresses as they are found; those that come before its answer wait for it.
   * @param {RTCPeerConnection} peer @param {Wanted} wanted @returns {() => void} to call when the answer is there
   */
  #trickle(peer, wanted) {
    /** @type {RTCIceCandidate[]} */
    const waiting = [];
    let isAnswered = false;
    const tell = (/** @type {RTCIceCandidate} */ { candidate, sdpMid }) => {
      // A name of this browser's own (mDNS) means nothing to the worker. A refusal is no harm: our checks arrive all the same.
      if (!candidate || candidate.includes(".local ")) return;
      this.ask("rtc.candidate", { ...wanted, candidate, sdp_mid: sdpMid ?? "" }).catch(() => {});
    };
    peer.onicecandidate = ({ candidate }) => {
      if (!candidate) return; // The worker waits for no end.
      if (isAnswered) tell(candidate);
      else waiting.push(candidate);
    };
    return () => {
      isAnswered = true;
      for (const candidate of waiting.splice(0)) tell(candidate);
    };
  }

  /** @param {number} round @param {MediaStream} localStream @returns {RTCPeerConnection} */
  #makePeer(round, localStream) {
    const peer = new RTCPeerConnection({ ...this.configuration, bundlePolicy: "max-bundle" });
    // Sound first, then picture: the order in which the worker expects the two sections.
    for (const track of [...localStream.getAudioTracks(), ...localStream.getVideoTracks()]) {
      peer.addTransceiver(track, { direction: "sendrecv", streams: [localStream] });
    }
    const remoteStream = new MediaStream();
    peer.ontrack = ({ track }) => remoteStream.addTrack(track);
    peer.onconnectionstatechange = () => this.#peerChanged(round, peer, remoteStream);
    return peer;
  }

  /** @param {number} round @param {RTCPeerConnection} peer @param {MediaStream} remoteStream */
  #peerChanged(round, peer, remoteStream) {
    if (round !== this.round) return;
    const state = peer.connectionState;
    if (state === "connected") {
      window.clearTimeout(this.timer);
      this.connectedAt = performance.now();
      this.remoteStream = remoteStream;
      this.#become("connected");
    } else if (state === "disconnected") {
      window.clearTimeout(this.timer);
      this.timer = window.setTimeout(() => this.#failed(round), DISCONNECTED_GRACE_MS);
    } else if (state === "failed") {
      this.#failed(round);
    }
  }

  /** A worker that leaves in order closes DTLS at once; ICE alone would notice seconds later. @param {number} round @param {RTCPeerConnection} peer */
  #heedGoodbye(round, peer) {
    const transport = peer.getSenders()[0]?.transport;
    if (!transport) return;
    transport.onstatechange = () => {
      if (transport.state === "closed" || transport.state === "failed") this.#failed(round);
    };
  }

  /** This round came to nothing: the next one follows after its wait, unless there were too many. @param {number} round */
  #failed(round) {
    if (round !== this.round || !this.wanted) return;
    window.clearTimeout(this.timer);
    const wasStable = this.phase === "connected" && performance.now() - this.connectedAt > STABLE_MS;
    this.failures = wasStable ? 0 : this.failures + 1;
    this.round += 1;
    if (this.failures >= ROUNDS_MAX) return this.#become("failed");
    this.#become("reconnecting");
    this.timer = window.setTimeout(() => this.#start("reconnecting"), BACKOFF_MS[this.failures]);
  }

  /** Another network has other addresses: do not wait until the old path is found dead. */
  #networkChanged() {
    if (!this.wanted || this.phase === "idle") return;
    this.failures = 0;
    this.#start("reconnecting");
  }
}
