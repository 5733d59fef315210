import { start } from "./main.js";
import { Recorded } from "./source.js";

/** Start an exported page with the answers that were written beside it. */
export function startRecorded(answers) {
  return start(new Recorded(answers));
}
