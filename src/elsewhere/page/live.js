import { start } from "./main.js";
import { Live } from "./source.js";

start(new Live());
