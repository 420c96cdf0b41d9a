// @ts-check
/** The front page: two doors. */

import { startPage } from "./page.js";
import { say } from "./words.js";

function draw() {
  document.title = say("index.page");
}

startPage(draw);
draw();
