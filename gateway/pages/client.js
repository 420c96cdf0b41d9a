// @ts-check
/**
 * The protocol client: one WebSocket that comes back by itself, and questions that get exactly one answer.
 *
 * Rules: nothing here knows what a call is. Every question has a deadline, the number of open ones is bounded, and so are the
 * attempts to connect. A question keeps its id over reconnects: the server answers a repeat with the first
 * answer and does nothing twice, so sending again is always safe. Each connection is opened with a one-use ticket; the token itself
 * goes nowhere but into the request for it.
 * Theory: a link is `connecting`, `online`, `waiting` (for the next attempt) or `stopped`. It is online once the server's
 * first session message came, not when the socket opened. The highest event number is kept, and the next
 * connection resumes from it; without one, or when the server has forgotten, a snapshot comes instead.
 * Not here: what the messages mean (`customer_state.js`, `agent_state.js`); tokens (`identity.js`).
 */

const SUBPROTOCOL = "tellerhall.v1.json";
const BACKOFF_FIRST_MS = 400;
const BACKOFF_MAX_MS = 15_000;
/** With the longest back-off this is about a quarter of an hour; then a person decides. */
const ATTEMPTS_MAX = 60;
const ASK_TIMEOUT_MS = 15_000;
const ASKS_MAX = 32;
/** Silence of so many ping intervals means that the path is dead, even if the browser has not noticed. */
const SILENT_PINGS_MAX = 2.5;
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** A link that held so long was a good one: the next loss starts from the first back-off again. */
const STABLE_MS = 5_000;

/** @typedef {"resume" | "resume_later" | "sign_in" | "stop"} Way */

/** What each close code asks for, and why it stopped where it stops. Any other code: resume.
 * @type {Record<number, [Way, string]>} */
const CLOSE_CODES = {
  1000: ["stop", "done"],
  1001: ["resume", ""],
  1009: ["stop", "client"],
  1011: ["resume", ""],
  4000: ["stop", "client"],
  4001: ["sign_in", "refused"],
  4002: ["sign_in", "expired"],
  4003: ["sign_in", "wrong_role"],
  4004: ["stop", "replaced"],
  4005: ["resume", ""], // the ticket was too old, or used by an attempt whose answer was lost: another one
  4008: ["resume_later", ""],
  4009: ["resume", ""],
};
const RESUME_LATER_MS = 5_000;

/** @typedef {{state: "connecting" | "online" | "waiting" | "stopped" | "sign_in", why: string}} Link */
/** @typedef {{v: number, id: string, type: string, data: any, re?: string, seq?: number, at_ms?: number}} Message */
/** @typedef {{text: string, resolve: (value: any) => void, reject: (reason: Refused) => void, timer: number}} Ask */

/** The server, or the way to it, said no. `reason` is one word of the protocol, or `timeout` or `offline`. */
export class Refused extends Error {
  /** @param {string} reason @param {string} [detail] */
  constructor(reason, detail = "") {
    super(`${reason} ${detail}`.trim());
    this.reason = reason;
    this.detail = detail;
  }
}

export class Client {
  /**
   * @param {object} options
   * @param {string} options.token
   * @param {string} [options.url]  of the hall, such as `https://calls.bank.example`; where the page itself came from unless given
   * @param {"customer" | "agent" | "supervisor" | "operator"} options.role  whom this page is for; anybody else is asked to sign in
   * @param {(message: Message) => void} options.onMessage  every message except answers and heartbeats, in order
   * @param {(link: Link) => void} options.onLink
   */
  constructor({ token, url = location.origin, role, onMessage, onLink }) {
    this.token = token;
    this.url = url.replace(/^http/, "ws").replace(/\/$/, "");
    this.role = role;
    this.onMessage = onMessage;
    this.onLink = onLink;
    /** @type {WebSocket | null} */
    this.socket = null;
    /** @type {number | null} */
    this.lastSeq = null;
    /** @type {Map<string, Ask>} in the order in which they were asked */
    this.asks = new Map();
    this.isOnline = false;
    this.attempts = 0;
    /** @type {object | null} the attempt that is under way, until its socket is opened */
    this.attempt = null;
    this.clockOffsetMs = 0;
    this.pingMs = 15_000;
    this.heardAt = 0;
    this.arrivedAt = 0;
    this.timer = 0;
    this.watch = 0;
    this.hurry = () => this.#hurryUp();
  }

  /** Connect now, and stay connected until `close()` or until the server says stop. */
  open() {
    window.addEventListener("online", this.hurry);
    document.addEventListener("visibilitychange", this.hurry);
    this.attempts = 0;
    this.#connect();
  }

  /** Leave for good; open questions are refused as `offline`. */
  close() {
    this.#stop({ state: "stopped", why: "done" });
  }

  /** @returns {number} the server's clock now, ms since the Unix epoch */
  now() {
    return Date.now() + this.clockOffsetMs;
  }

  /**
   * Ask the server and wait for its answer, over reconnects if need be.
   * @param {string} type
   * @param {Record<string, unknown>} data
   * @returns {Promise<any>} the value of the `ack`; rejects with `Refused`
   */
  ask(type, data) {
    if (this.asks.size >= ASKS_MAX) return Promise.reject(new Refused("offline", "too many open questions"));
    const id = newId();
    const text = JSON.stringify({ v: 1, id, type, data });
    return new Promise((resolve, reject) => {
      const timer = window.setTimeout(() => this.#settle(id, new Refused("timeout", type)), ASK_TIMEOUT_MS);
      this.asks.set(id, { text, resolve, reject, timer });
      if (this.isOnline) this.socket?.send(text);
    });
  }

  /** @param {string} id @param {Refused | null} refused @param {any} [value] */
  #settle(id, refused, value) {
    const ask = this.asks.get(id);
    if (!ask) return; // a late answer is normal: the deadline has spoken already
    this.asks.delete(id);
    window.clearTimeout(ask.timer);
    if (refused) ask.reject(refused);
    else ask.resolve(value);
  }

  async #connect() {
    this.#dropSocket();
    this.attempts += 1;
    this.onLink({ state: "connecting", why: "" });
    const attempt = this.attempt = {};
    const ticket = await this.#ticket();
    if (this.attempt !== attempt) return; // dropped or begun anew meanwhile
    this.attempt = null;
    if (typeof ticket === "number") return this.#closed(ticket);
    this.#openSocket(ticket);
  }

  /** What to offer beside the protocol; or the close code that says what the refusal asks for. @returns {Promise<string | number>} */
  async #ticket() {
    const http = this.url.replace(/^ws/, "http");
    const options = { method: "POST", headers: { Authorization: `Bearer ${this.token}` }, signal: AbortSignal.timeout(HANDSHAKE_TIMEOUT_MS) };
    try {
      const response = await fetch(`${http}/v1/tickets`, options);
      const answer = await response.json();
      if (response.ok) return `ticket.${answer.ticket}`;
      if (response.status === 401) return answer.reason === "token_expired" ? 4002 : 4001;
      if (response.status === 403) return 4003;
      return response.status === 429 ? 4008 : 1011;
    } catch {
      return 1006; // no way there, or an answer that was cut: as a connection that was lost
    }
  }

  /** @param {string} ticket */
  #openSocket(ticket) {
    const resume = this.lastSeq === null ? "" : `?resume=${this.lastSeq}`;
    const socket = new WebSocket(`${this.url}/v1/ws${resume}`, [SUBPROTOCOL, ticket]);
    this.socket = socket;
    this.heardAt = performance.now();
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = (event) => this.#closed(event.code);
    this.watch = window.setInterval(() => this.#checkSilence(), 1_000);
  }

  #dropSocket() {
    window.clearTimeout(this.timer);
    window.clearInterval(this.watch);
    this.isOnline = false;
    this.attempt = null;
    const socket = this.socket;
    this.socket = null;
    if (!socket) return;
    socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #checkSilence() {
    const allowed = this.isOnline ? this.pingMs * SILENT_PINGS_MAX : HANDSHAKE_TIMEOUT_MS;
    if (performance.now() - this.heardAt > allowed) this.#closed(1006);
  }

  /** @param {string} text */
  #receive(text) {
    this.heardAt = performance.now();
    /** @type {Message} */
    const message = JSON.parse(text);
    if (message.type === "ack" && message.re) return this.#settle(message.re, null, message.data.value);
    if (message.type === "error" && message.re) {
      return this.#settle(message.re, new Refused(message.data.reason, message.data.detail));
    }
    if (message.type.startsWith("session.")) {
      if (message.data.role && message.data.role !== this.role) return this.#stop({ state: "sign_in", why: "wrong_role" });
      this.#receiveSession(message);
    }
    if (message.seq !== undefined) {
      if (this.lastSeq !== null && message.seq <= this.lastSeq) return; // a repeat after a resume
      this.lastSeq = message.seq;
    }
    if (message.type === "call.handed_over") this.lastSeq = message.data.seq || null; // another division, other numbers
    this.onMessage(message);
  }

  /** @param {Message} message */
  #receiveSession({ type, data }) {
    if (data.server_ms) this.clockOffsetMs = data.server_ms - Date.now();
    if (type === "session.ping") this.#send("session.pong", {});
    if (type === "session.goaway") this.#leaveSoon(data.after_ms);
    if (type === "session.welcome" || type === "session.reset") this.lastSeq = data.seq;
    if (type === "session.welcome" || type === "session.reset" || type === "session.resumed") this.#arrived(data.ping_ms);
  }

  /** @param {number} ping_ms */
  #arrived(ping_ms) {
    this.pingMs = ping_ms;
    if (this.isOnline) return; // a reset within a session: nothing was lost on the way out
    this.isOnline = true;
    this.arrivedAt = performance.now();
    this.onLink({ state: "online", why: "" });
    for (const ask of this.asks.values()) this.socket?.send(ask.text);
  }

  /** @param {string} type @param {Record<string, unknown>} data */
  #send(type, data) {
    this.socket?.send(JSON.stringify({ v: 1, id: newId(), type, data }));
  }

  /** The gateway closes: all its clients spread their return over the time it gives. @param {number} after_ms */
  #leaveSoon(after_ms) {
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.#connect(), Math.random() * after_ms);
  }

  /** @param {number} code */
  #closed(code) {
    if (this.isOnline && performance.now() - this.arrivedAt > STABLE_MS) this.attempts = 0;
    this.#dropSocket();
    const [way, why] = CLOSE_CODES[code] ?? ["resume", ""];
    if (way === "stop" || way === "sign_in") return this.#stop({ state: way === "stop" ? "stopped" : way, why });
    this.#retry(way === "resume_later" ? RESUME_LATER_MS : 0);
  }

  /** @param {number} least_ms */
  #retry(least_ms) {
    if (this.attempts >= ATTEMPTS_MAX) return this.#stop({ state: "stopped", why: "gave_up" });
    const longest_ms = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(this.attempts, 10));
    this.onLink({ state: "waiting", why: "" });
    this.timer = window.setTimeout(() => this.#connect(), least_ms + longest_ms * (0.5 + Math.random() / 2));
  }

  /** The network or the person came back: no need to sit out the back-off. */
  #hurryUp() {
    const isWaiting = this.socket === null && this.attempt === null && document.visibilityState === "visible";
    if (isWaiting && this.attempts > 0 && this.attempts < ATTEMPTS_MAX) this.#connect();
  }

  /** @param {Link} link */
  #stop(link) {
    this.#dropSocket();
    window.removeEventListener("online", this.hurry);
    document.removeEventListener("visibilitychange", this.hurry);
    for (const id of [...this.asks.keys()]) this.#settle(id, new Refused("offline"));
    this.onLink(link);
  }
}

/** @returns {string} 32 hexadecimal digits; `crypto.randomUUID` is missing on plain HTTP, this is not */
function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
