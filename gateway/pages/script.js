// @ts-check
/**
 * The step of a script on both pages' stage: the customer reads it and answers with a button, agents see both.
 *
 * Rules: what may be answered comes with the step; an answer counts once the server has said so. A button is pressed for the
 * step that it was made for, so a step that takes its place meanwhile is never answered by mistake.
 */

import { announce, at, write } from "./page.js";
import { say } from "./words.js";

/** @typedef {import("./call_state.js").Call} Call */

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
  drawn = wanted;
  announce(step.text);
  at("script-answers").replaceChildren(...(isOpen && onAnswer ? buttons(step, onAnswer) : []));
}

/** @param {import("./call_state.js").Script} step @param {(number: number, answer: string) => void} onAnswer @returns {HTMLElement[]} */
function buttons({ number, answers }, onAnswer) {
  return answers.map((answer, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = index ? "plain" : "primary";
    button.dataset.testid = `script-answer-${index + 1}`;
    button.textContent = answer;
    button.addEventListener("click", () => onAnswer(number, answer));
    return button;
  });
}
