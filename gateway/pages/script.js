// @ts-check
/**
 * The step of a script on both pages' stage: the customer reads it and answers with a button, agents see both.
 *
 * Rules: what may be answered comes with the step; an answer counts once the server has said so. A button is pressed for the
 * step that it was made for, and one that takes the place of another cannot be pressed for a moment: a finger that comes down for the
 * step before must not agree to one that nobody has read.
 */

import { announce, at, write } from "./page.js";
import { say } from "./words.js";

/** @typedef {import("./call_state.js").Call} Call */

const READING_MS = 1_000;

/** What is drawn now: buttons are made anew only for another step, so that focus stays. */
let drawn = "";

/**
 * @param {Call | null} call
 * @param {((number: number, answer: string) => void) | null} onAnswer  null: for who only watches
 */
export function drawScript(call, onAnswer) {
  const step = call?.state === "connected" ? call.script : null;
  at("script").hidden = !step;
  if (!step) {
    drawn = "";
    return;
  }
  const isOpen = !step.answer && step.answers.length > 0;
  write("script-text", step.text);
  write("script-answer", step.answer ? say("script.answered", { answer: step.answer }) : "");
  if (!onAnswer && isOpen) write("script-answer", say("script.open"));
  const wanted = isOpen && onAnswer ? `${call?.call_id} ${step.number}` : `read ${step.number}`;
  if (wanted === drawn) return;
  const isInPlaceOfOne = drawn !== "";
  drawn = wanted;
  announce(step.answer ? say("script.answered", { answer: step.answer }) : step.text);
  at("script-answers").replaceChildren(...(isOpen && onAnswer ? buttons(step, onAnswer, isInPlaceOfOne) : []));
}

/**
 * @param {import("./call_state.js").Script} step
 * @param {(number: number, answer: string) => void} onAnswer
 * @param {boolean} isInPlaceOfOne
 * @returns {HTMLElement[]}
 */
function buttons({ number, answers }, onAnswer, isInPlaceOfOne) {
  return answers.map((answer, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = index ? "plain" : "primary";
    button.dataset.testid = `script-answer-${index + 1}`;
    button.textContent = answer;
    if (isInPlaceOfOne) {
      button.disabled = true;
      window.setTimeout(() => (button.disabled = false), READING_MS);
    }
    button.addEventListener("click", () => onAnswer(number, answer));
    return button;
  });
}
