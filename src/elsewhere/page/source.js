/** Status of an answer when too many questions of this page are still open, how often a question is then sent again, and after how many milliseconds. */
const BUSY = 429, MOST_TRIES = 60, WAIT = 500;

/** Answers of a running server.
 *
 * `ask(kind, question, onmessage, signal)` sends a question and calls `onmessage` with every message as it comes. It
 * resolves when the answer is complete and rejects with an Error in words; aborting the signal cancels the work.
 */
export class Live {
  constructor(base = ".") {
    this.base = base;
    this.client = String(crypto.getRandomValues(new Uint32Array(1))[0]);
    this.recorded = false;
  }

  async ask(kind, question, onmessage, signal = undefined) {
    await readLines(await accepted(await this.send(`ask/${kind}`, question, signal)), onmessage);
  }

  /** Send a question; while the studio ends earlier work of this page, it is sent again. */
  async send(path, content, signal) {
    for (let tries = 0; ; tries++) {
      const response = await this.post(path, content, signal);
      if (response.status !== BUSY || tries === MOST_TRIES) return response;
      await new Promise((done) => setTimeout(done, WAIT));
      signal?.throwIfAborted();
    }
  }

  async post(path, content, signal) {
    try {
      return await fetch(`${this.base}/${path}`, {
        method: "POST",
        headers: { "content-type": "application/json", "x-elsewhere-client": this.client },
        body: JSON.stringify(content),
        signal,
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The studio does not answer: is `elsewhere studio` still running?");
    }
  }

  /** Add pictures (see own.py) and return the name of their set; it is kept while this page is open. */
  async addOwn(pictures) {
    this.own?.abort();
    this.own = new AbortController();
    const body = await accepted(await this.send("own", pictures, this.own.signal));
    return new Promise((done, fail) => readLines(body, (message) => message.subject && done(message.subject)).catch(fail));
  }
}

/** Answers that were written by `elsewhere studio --export`: question -> messages. */
export class Recorded {
  /** @param {Object<string, object[]>} answers key (see `keyOf`) -> messages. */
  constructor(answers) {
    this.answers = answers;
    this.recorded = true;
  }

  has(kind, question) {
    return keyOf(kind, question) in this.answers;
  }

  async ask(kind, question, onmessage, signal = undefined) {
    const messages = this.answers[keyOf(kind, question)];
    if (!messages) throw new Error("This was not recorded: run `elsewhere studio` to draw anything you like.");
    for (const message of messages) {
      if (signal?.aborted) throw new DOMException("cancelled", "AbortError");
      onmessage(message);
      await new Promise((done) => setTimeout(done, 0));
    }
  }
}

/** Asks one question at a time: a new one cancels the one before. */
export class Latest {
  constructor(source) {
    this.source = source;
    this.current = null;
  }

  /** Whether a question is being answered. */
  get busy() {
    return this.current !== null;
  }

  /** Ask. Resolves to true when the answer is complete, and to false when the question was cancelled. */
  async ask(kind, question, onmessage) {
    this.cancel();
    const mine = (this.current = new AbortController());
    const latest = () => mine === this.current;
    try {
      await this.source.ask(kind, question, (message) => latest() && onmessage(message), mine.signal);
      return latest();
    } catch (error) {
      if (!latest()) return false;
      throw error;
    } finally {
      if (latest()) this.current = null;
    }
  }

  cancel() {
    this.current?.abort();
    this.current = null;
  }
}

/** Text that is equal for equal questions: fields sorted, missing and null ones left out. */
export function keyOf(kind, question) {
  const sorted = (value) => {
    if (Array.isArray(value)) return value.map(sorted);
    if (value === null || typeof value !== "object") return value;
    const names = Object.keys(value).sort().filter((name) => value[name] !== null && value[name] !== undefined);
    return Object.fromEntries(names.map((name) => [name, sorted(value[name])]));
  };
  return `${kind} ${JSON.stringify(sorted(question))}`;
}

/** The body of a response; an error in words where the studio refused. */
async function accepted(response) {
  if (response.ok) return response.body;
  const told = await response.json().catch(() => ({}));
  throw new Error(told.error || `The studio refused the question (${response.status}).`);
}

async function readLines(body, onmessage) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    text += value || "";
    const lines = text.split("\n");
    text = lines.pop();
    for (const line of lines) {
      const message = JSON.parse(line);
      if (message.error) throw new Error(message.error);
      if (message.done) return;
      onmessage(message);
    }
    if (done) throw new Error("The answer ended early: the studio may have been stopped.");
  }
}
