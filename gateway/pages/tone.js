// @ts-check
/**
 * A soft ring made by the browser itself: two falling notes every few seconds while a call rings.
 *
 * Rules: off until the agent turns it on (the click is what a browser asks for before it makes sound), remembered on this
 * device. The picture on the screen never depends on it.
 */

const STORAGE_KEY = "tellerhall.tone";
const EVERY_MS = 2_600;
const NOTES = [
  { hertz: 783.99, at_s: 0 },
  { hertz: 659.26, at_s: 0.28 },
];
const NOTE_S = 0.9;
const LOUDNESS = 0.12;

export class Tone {
  constructor() {
    this.isOn = localStorage.getItem(STORAGE_KEY) === "on";
    /** @type {AudioContext | null} */
    this.context = null;
    this.timer = 0;
  }

  /** @param {boolean} isOn */
  turn(isOn) {
    this.isOn = isOn;
    localStorage.setItem(STORAGE_KEY, isOn ? "on" : "off");
    if (isOn) this.#play();
  }

  /** Ring until told otherwise; saying the same twice changes nothing. @param {boolean} isRinging */
  ring(isRinging) {
    if (isRinging === (this.timer !== 0)) return;
    window.clearInterval(this.timer);
    this.timer = isRinging ? window.setInterval(() => this.#play(), EVERY_MS) : 0;
    if (isRinging) this.#play();
  }

  #play() {
    if (!this.isOn) return;
    this.context ??= new AudioContext();
    this.context.resume().catch(() => undefined); // not allowed before the first click: then it stays silent
    for (const note of NOTES) this.#strike(this.context, note);
  }

  /** @param {AudioContext} context @param {{hertz: number, at_s: number}} note */
  #strike(context, { hertz, at_s }) {
    const from_s = context.currentTime + at_s;
    const source = new OscillatorNode(context, { type: "sine", frequency: hertz });
    const loudness = new GainNode(context, { gain: 0 });
    loudness.gain.linearRampToValueAtTime(0, from_s);
    loudness.gain.linearRampToValueAtTime(LOUDNESS, from_s + 0.02);
    loudness.gain.exponentialRampToValueAtTime(0.0001, from_s + NOTE_S);
    source.connect(loudness).connect(context.destination);
    source.start(from_s);
    source.stop(from_s + NOTE_S);
  }
}
